//! The functions in which copies are counted: those that `measure` knows, and more, because other
//! programs do more than move files to TCP sockets.
//!
//! The additions come from the source of Linux 6.1 and 6.12 (mm/filemap.c, fs/splice.c, fs/pipe.c,
//! fs/iomap/buffered-io.c, fs/btrfs/file.c, net/unix/af_unix.c, net/ipv4/udp.c, net/ipv6/udp.c).

use crate::probe::Work;
use crate::probe::functions::{Bytes, FUNCTIONS, Function, running_kernel};
use crate::report::HopKind;
use crate::sys::bpf;
use crate::top::CopyHop::{self, FileToUser, KernelToFile, KernelToSocket, PipeToUser};
use crate::top::CopyHop::{SocketToUser, UserToFile, UserToPipe, UserToSocket};

/// One term of the sum for a hop.
#[derive(Debug)]
pub(super) struct Term {
    pub(super) hop: CopyHop,
    pub(super) symbol: &'static str,
    pub(super) bytes: &'static Bytes,
    pub(super) adds: bool,
    /// Without it, nothing of the hop is counted.
    pub(super) needed: bool,
    /// The hop to which another function has added these bytes already.
    pub(super) instead_of: Option<CopyHop>,
}

impl Term {
    /// Whether the program runs at the function's entry or at its exit.
    pub(super) fn place(&self) -> u32 {
        match self.bytes {
            Bytes::Returned | Bytes::ReturnedInt => bpf::EXIT,
            Bytes::Argument(_) | Bytes::Field { .. } => bpf::ENTRY,
        }
    }
}

const fn more(hop: CopyHop, symbol: &'static str, bytes: &'static Bytes) -> Term {
    Term {
        hop,
        symbol,
        bytes,
        adds: true,
        needed: false,
        instead_of: None,
    }
}

const MORE: &[Term] = &[
    // write(2) of most file systems, of XFS, and of btrfs.
    Term {
        needed: true,
        ..more(UserToFile, "generic_perform_write", &Bytes::Returned)
    },
    more(UserToFile, "iomap_file_buffered_write", &Bytes::Returned),
    more(UserToFile, "btrfs_buffered_write", &Bytes::Returned),
    // Splices into files go through the same functions.
    Term {
        needed: true,
        instead_of: Some(UserToFile),
        ..more(KernelToFile, "iter_file_splice_write", &Bytes::Returned)
    },
    // One of each pair: a newer kernel has other names.
    more(PipeToUser, "pipe_read", &Bytes::Returned),
    more(PipeToUser, "anon_pipe_read", &Bytes::Returned),
    more(UserToPipe, "pipe_write", &Bytes::Returned),
    more(UserToPipe, "anon_pipe_write", &Bytes::Returned),
    more(UserToSocket, "unix_stream_sendmsg", &Bytes::ReturnedInt),
    more(UserToSocket, "unix_dgram_sendmsg", &Bytes::ReturnedInt),
    more(UserToSocket, "udp_sendmsg", &Bytes::ReturnedInt),
    more(UserToSocket, "udpv6_sendmsg", &Bytes::ReturnedInt),
];

/// The hops that can be counted.
pub(super) const HOPS: [CopyHop; 8] = [
    FileToUser,
    UserToFile,
    SocketToUser,
    UserToSocket,
    PipeToUser,
    UserToPipe,
    KernelToFile,
    KernelToSocket,
];

/// The terms of a hop's sum in the running kernel.
pub(super) fn terms(hop: CopyHop) -> Vec<Term> {
    let kernel = running_kernel();
    let known = FUNCTIONS
        .iter()
        .filter(|function| function.is_in(kernel) && hop_of(function) == Some(hop))
        .map(|function| Term {
            hop,
            symbol: function.symbol,
            bytes: &function.bytes,
            adds: function.adds,
            needed: function.needed,
            instead_of: None,
        });
    let more = MORE.iter().filter(|term| term.hop == hop);
    known.chain(more.map(|term| Term { ..*term })).collect()
}

fn hop_of(function: &Function) -> Option<CopyHop> {
    match function.work {
        Work::Copy(HopKind::KernelToUser) => Some(FileToUser),
        Work::Copy(HopKind::SocketToUser) => Some(SocketToUser),
        Work::Copy(HopKind::UserToSocket) => Some(UserToSocket),
        Work::Copy(HopKind::KernelToSocket) => Some(KernelToSocket),
        _ => None,
    }
}
