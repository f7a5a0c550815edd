//! How often the CPU copies the bytes of a call, as it is documented: a pure function.

use super::{CallActivity, CallFamily, CopyHop, End};

/// The copies that a call makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) hop: CopyHop,
    /// `None` if it depends on what cannot be seen.
    pub(super) bytes: Option<u64>,
    /// Whether the functions in which copies are counted include those of this end.
    pub(super) countable: bool,
    pub(super) why: &'static str,
}

/// What the calls of one family between the same ends copied; `None` if they copy nothing.
pub(super) fn expected(call: &CallActivity) -> Option<Expected> {
    let (hop, copies, why) = hop(call)?;
    let known = (call.calls_of_unknown_bytes == 0 && copies != Copies::Unknown).then_some(());
    let bytes = known.map(|()| match copies {
        Copies::None | Copies::Unknown => 0,
        Copies::One => call.bytes,
    });
    let end = if call.from == End::Memory {
        call.to
    } else {
        call.from
    };
    Some(Expected {
        hop,
        bytes,
        countable: end != End::OtherSocket && end != End::Unknown && hop != CopyHop::Other,
        why,
    })
}

const DEVICE: &str = "a device need not copy: /dev/null takes nothing, /dev/zero only clears";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Copies {
    None,
    One,
    Unknown,
}

fn hop(call: &CallActivity) -> Option<(CopyHop, Copies, &'static str)> {
    use CallFamily as Calls;
    use Copies::{None as Nothing, One, Unknown};
    let sent_by_reference = (
        CopyHop::KernelToSocket,
        Nothing,
        "packets refer to the pages, unless an interface cannot gather",
    );
    let found = match call.family {
        Calls::Read | Calls::Recv | Calls::UringIn => into_memory(call.from)?,
        Calls::Write | Calls::Send | Calls::UringOut => out_of_memory(call.to)?,
        Calls::ZerocopySend | Calls::UringZerocopySend => (
            CopyHop::KernelToSocket,
            Nothing,
            "packets refer to the program's memory, unless the kernel copies after all",
        ),
        Calls::Sendfile | Calls::Splice | Calls::UringSplice => match call.to {
            End::File | End::DirectFile => (CopyHop::KernelToFile, One, "a file keeps a copy"),
            End::Pipe => return None,
            End::Terminal | End::KernelFile => (CopyHop::Other, One, "it takes a copy"),
            End::Other => (CopyHop::Other, Unknown, DEVICE),
            to if to.is_socket() => sent_by_reference,
            _ => (CopyHop::Other, Unknown, "it is not known where they went"),
        },
        Calls::Vmsplice if call.to == End::Memory => {
            (CopyHop::PipeToUser, One, "vmsplice(2) out of a pipe copies")
        }
        Calls::Vmsplice | Calls::Tee | Calls::MmapFault => return None,
        Calls::CopyFileRange => (
            CopyHop::KernelToFile,
            Unknown,
            "a file system that shares blocks copies nothing, others do",
        ),
        Calls::ProcessVm => (CopyHop::ProcessToProcess, One, "process_vm copies"),
    };
    Some(found)
}

fn into_memory(from: End) -> Option<(CopyHop, Copies, &'static str)> {
    let found = match from {
        End::File => (CopyHop::FileToUser, Copies::One, "read(2) of a file copies"),
        End::DirectFile => return None,
        End::KernelTls => (
            CopyHop::SocketToUser,
            Copies::Unknown,
            "the kernel decrypts into the program's memory, or copies after that",
        ),
        End::Pipe => (CopyHop::PipeToUser, Copies::One, "read(2) of a pipe copies"),
        from if from.is_socket() => (
            CopyHop::SocketToUser,
            Copies::One,
            "a read from a socket copies",
        ),
        End::Other => (CopyHop::Other, Copies::Unknown, DEVICE),
        _ => (CopyHop::Other, Copies::One, "read(2) copies"),
    };
    Some(found)
}

fn out_of_memory(to: End) -> Option<(CopyHop, Copies, &'static str)> {
    let found = match to {
        End::File => (
            CopyHop::UserToFile,
            Copies::One,
            "write(2) to a file copies",
        ),
        End::DirectFile => return None,
        End::KernelTls => (
            CopyHop::UserToSocket,
            Copies::Unknown,
            "the kernel encrypts out of the program's memory, or copies before that",
        ),
        End::Pipe => (
            CopyHop::UserToPipe,
            Copies::One,
            "write(2) to a pipe copies",
        ),
        to if to.is_socket() => (
            CopyHop::UserToSocket,
            Copies::One,
            "a write to a socket copies",
        ),
        End::Other => (CopyHop::Other, Copies::Unknown, DEVICE),
        _ => (CopyHop::Other, Copies::One, "write(2) copies"),
    };
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_call_copies_what_is_documented() {
        use CallFamily as F;
        use CopyHop as H;
        use End as E;
        let known = |hop| Some((hop, Some(100)));
        let free = |hop| Some((hop, Some(0)));
        let unknown = |hop| Some((hop, None));
        for (family, from, to, hop) in [
            (F::Read, E::File, E::Memory, known(H::FileToUser)),
            (F::Read, E::DirectFile, E::Memory, None),
            (F::Read, E::KernelFile, E::Memory, known(H::Other)),
            (F::Read, E::Pipe, E::Memory, known(H::PipeToUser)),
            (F::Recv, E::Unix, E::Memory, known(H::SocketToUser)),
            (F::Recv, E::KernelTls, E::Memory, unknown(H::SocketToUser)),
            (F::Write, E::Memory, E::Tcp, known(H::UserToSocket)),
            (F::Write, E::Memory, E::ProgramTls, known(H::UserToSocket)),
            (F::Write, E::Memory, E::File, known(H::UserToFile)),
            (F::Write, E::Memory, E::Terminal, known(H::Other)),
            (F::Write, E::Memory, E::Other, unknown(H::Other)),
            (F::Read, E::Other, E::Memory, unknown(H::Other)),
            (F::Sendfile, E::File, E::Other, unknown(H::Other)),
            (F::ZerocopySend, E::Memory, E::Tcp, free(H::KernelToSocket)),
            (F::Sendfile, E::File, E::Tcp, free(H::KernelToSocket)),
            (F::Sendfile, E::File, E::Pipe, None),
            (F::Sendfile, E::File, E::File, known(H::KernelToFile)),
            (F::Splice, E::Pipe, E::File, known(H::KernelToFile)),
            (F::Splice, E::Tcp, E::Pipe, None),
            (F::Splice, E::Pipe, E::Tcp, free(H::KernelToSocket)),
            (F::Tee, E::Pipe, E::Pipe, None),
            (F::Vmsplice, E::Memory, E::Pipe, None),
            (F::Vmsplice, E::Pipe, E::Memory, known(H::PipeToUser)),
            (F::CopyFileRange, E::File, E::File, unknown(H::KernelToFile)),
            (F::MmapFault, E::File, E::Memory, None),
            (
                F::ProcessVm,
                E::Process,
                E::Memory,
                known(H::ProcessToProcess),
            ),
        ] {
            let call = CallActivity {
                family,
                from,
                to,
                calls: 1,
                bytes: 100,
                calls_of_unknown_bytes: 0,
            };
            let found = expected(&call).map(|found| (found.hop, found.bytes));
            assert_eq!(found, hop, "{family} from {from} to {to}");
        }
    }
}
