//! The functions in which copies are counted: those that `measure` knows, and more, because other
//! programs do more than move files to TCP sockets.
//!
//! The additions come from the source of Linux 6.1 and 6.12 (mm/filemap.c, fs/splice.c, fs/pipe.c,
//! fs/iomap/buffered-io.c, fs/btrfs/file.c, net/core/skbuff.c, net/unix/af_unix.c, net/ipv4/udp.c,
//! net/ipv6/udp.c).

use crate::btf::KernelFunction;
use crate::probe::Work;
use crate::probe::functions::{Bytes, FUNCTIONS, Function, running_kernel};
use crate::report::HopKind;
use crate::sys::bpf;
use crate::top::CopyHop::{self, FileToUser, KernelToFile, KernelToPipe, KernelToSocket};
use crate::top::CopyHop::{PipeToUser, SocketToUser, UserToFile, UserToPipe, UserToSocket};

/// One term of the sum for a hop.
#[derive(Debug)]
pub(super) struct Term {
    pub(super) hop: CopyHop,
    pub(super) symbol: &'static str,
    pub(super) bytes: Amount,
    pub(super) adds: bool,
    /// Without it, nothing of the hop is counted.
    pub(super) needed: bool,
    /// The hop to which another function has added these bytes already.
    pub(super) instead_of: Option<CopyHop>,
}

/// How many bytes a function copied.
#[derive(Clone, Copy, Debug)]
pub(super) enum Amount {
    /// What it handled.
    All(&'static Bytes),
    /// Of what `skb_splice_bits` spliced, the part that lay in the packet's head, if that is memory
    /// that a pipe cannot refer to. The packets behind the first one of a list are left out: their
    /// heads are empty where the driver puts data into pages.
    Head,
}

impl Term {
    /// Whether the program runs at the function's entry or at its exit.
    pub(super) fn place(&self) -> u32 {
        match self.bytes {
            Amount::All(Bytes::Returned | Bytes::ReturnedInt) | Amount::Head => bpf::EXIT,
            Amount::All(Bytes::Argument(_) | Bytes::Field { .. }) => bpf::ENTRY,
        }
    }
}

const fn more(hop: CopyHop, symbol: &'static str, bytes: &'static Bytes) -> Term {
    Term {
        hop,
        symbol,
        bytes: Amount::All(bytes),
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
    Term {
        bytes: Amount::Head,
        needed: true,
        ..more(KernelToPipe, "skb_splice_bits", &Bytes::ReturnedInt)
    },
];

/// The hops that can be counted.
pub(super) const HOPS: [CopyHop; 9] = [
    FileToUser,
    UserToFile,
    SocketToUser,
    UserToSocket,
    PipeToUser,
    UserToPipe,
    KernelToFile,
    KernelToSocket,
    KernelToPipe,
];

/// The terms of a hop's sum that a kernel can count, each with its function, which `find` finds by
/// its name. If one of them is needed and not found, nothing of the hop can be counted.
///
/// # Errors
///
/// The names that were not found.
pub(super) fn resolve(
    hop: CopyHop,
    find: impl Fn(&str) -> Option<KernelFunction>,
) -> Result<Vec<(Term, KernelFunction)>, String> {
    let mut found = Vec::new();
    let mut missing = Vec::new();
    for term in terms(hop) {
        match find(term.symbol) {
            Some(function) => found.push((term, function)),
            None if term.needed => {
                let symbol = term.symbol;
                return Err(format!("this kernel describes no function {symbol}"));
            }
            None => missing.push(term.symbol),
        }
    }
    if found.is_empty() {
        let names = missing.join(" or ");
        return Err(format!("this kernel describes no function {names}"));
    }
    Ok(found)
}

/// The terms of a hop's sum in the running kernel.
fn terms(hop: CopyHop) -> Vec<Term> {
    let kernel = running_kernel();
    let known = FUNCTIONS
        .iter()
        .filter(|function| function.is_in(kernel) && hop_of(function) == Some(hop))
        .map(|function| Term {
            hop,
            symbol: function.symbol,
            bytes: Amount::All(&function.bytes),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A kernel that has all functions but these.
    fn without(names: &'static [&'static str]) -> impl Fn(&str) -> Option<KernelFunction> {
        let function = KernelFunction {
            number: 1,
            parameters: 4,
        };
        move |name| (!names.contains(&name)).then_some(function)
    }

    fn symbols(found: &[(Term, KernelFunction)]) -> Vec<&'static str> {
        found.iter().map(|(term, _)| term.symbol).collect()
    }

    #[test]
    fn a_function_that_is_needed_and_called_otherwise_is_named() {
        let refused = |hop, missing| resolve(hop, without(missing)).unwrap_err();
        let all: Vec<_> = HOPS.map(|hop| resolve(hop, without(&[])).unwrap()).into();
        assert!(all.iter().all(|terms| !terms.is_empty()));
        for (hop, missing) in [
            (FileToUser, "filemap_read"),
            (SocketToUser, "skb_copy_datagram_iter"),
            (UserToSocket, "tcp_sendmsg_locked"),
            (UserToFile, "generic_perform_write"),
            (KernelToFile, "iter_file_splice_write"),
            (KernelToPipe, "skb_splice_bits"),
        ] {
            let why = resolve(hop, |name| (name != missing).then_some(all[0][0].1)).unwrap_err();
            assert_eq!(why, format!("this kernel describes no function {missing}"));
        }
        let why = refused(PipeToUser, &["pipe_read", "anon_pipe_read"]);
        assert_eq!(
            why,
            "this kernel describes no function pipe_read or anon_pipe_read"
        );
    }

    #[test]
    fn one_of_two_names_is_enough_and_what_is_not_there_is_left_out() {
        let newer = resolve(UserToPipe, without(&["pipe_write"])).unwrap();
        assert_eq!(symbols(&newer), ["anon_pipe_write"]);
        let no_tmpfs = resolve(FileToUser, without(&["shmem_file_read_iter"])).unwrap();
        assert!(!symbols(&no_tmpfs).contains(&"shmem_file_read_iter"));
    }
}
