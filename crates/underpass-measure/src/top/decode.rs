//! The numbers by which the programs in the kernel say what a call was.

use super::{CallFamily, CopyHop, End};

pub(super) const FAMILIES: [CallFamily; 16] = [
    CallFamily::Read,
    CallFamily::Write,
    CallFamily::Recv,
    CallFamily::Send,
    CallFamily::ZerocopySend,
    CallFamily::Sendfile,
    CallFamily::Splice,
    CallFamily::Tee,
    CallFamily::Vmsplice,
    CallFamily::CopyFileRange,
    CallFamily::ProcessVm,
    CallFamily::MmapFault,
    CallFamily::UringIn,
    CallFamily::UringOut,
    CallFamily::UringZerocopySend,
    CallFamily::UringSplice,
];

pub(super) const ENDS: [End; 15] = [
    End::Memory,
    End::Process,
    End::File,
    End::DirectFile,
    End::KernelFile,
    End::Tcp,
    End::KernelTls,
    End::ProgramTls,
    End::Unix,
    End::Udp,
    End::OtherSocket,
    End::Pipe,
    End::Terminal,
    End::Other,
    End::Unknown,
];

const HOPS: [CopyHop; 11] = [
    CopyHop::FileToUser,
    CopyHop::UserToFile,
    CopyHop::SocketToUser,
    CopyHop::UserToSocket,
    CopyHop::PipeToUser,
    CopyHop::UserToPipe,
    CopyHop::KernelToFile,
    CopyHop::KernelToSocket,
    CopyHop::KernelToPipe,
    CopyHop::ProcessToProcess,
    CopyHop::Other,
];

/// The family and the two ends of a call.
pub(super) fn call(what: u32) -> Option<(CallFamily, End, End)> {
    let [family, from, to, _] = what.to_le_bytes().map(usize::from);
    Some((*FAMILIES.get(family)?, *ENDS.get(from)?, *ENDS.get(to)?))
}

pub(super) fn hop(what: u32) -> Option<CopyHop> {
    HOPS.get(what as usize).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_means_what_the_programs_write() {
        let families = FAMILIES.iter().map(|family| *family as usize);
        assert!(families.eq(0..FAMILIES.len()));
        assert!(ENDS.iter().map(|end| *end as usize).eq(0..ENDS.len()));
        assert!(HOPS.iter().map(|hop| *hop as usize).eq(0..HOPS.len()));
        assert_eq!(
            call(0x0e_02_0c),
            Some((CallFamily::UringIn, End::File, End::Unknown))
        );
        assert_eq!((call(0xff), hop(99)), (None, None));
    }
}
