//! Where the kernel copies file data on its way to a TCP socket, and how many bytes each place
//! handles.
//!
//! Read off Linux 6.1 (mm/filemap.c, mm/shmem.c, fs/splice.c, net/ipv4/tcp.c, net/core/skbuff.c)
//! and 6.12, and seen to count right on both.

use crate::report::HopKind;
use crate::report::HopKind::{KernelToSocket, KernelToUser, SocketToUser, UserToSocket};

/// A kernel's version: major and minor.
pub(super) type Version = (u32, u32);

/// One term of a hop's sum.
#[derive(Debug, PartialEq)]
pub(super) struct Function {
    pub(super) hop: HopKind,
    pub(super) symbol: &'static str,
    pub(super) bytes: Bytes,
    /// Or takes away.
    pub(super) adds: bool,
    /// Runs on the sender's behalf and on its thread; else also where acknowledgements are handled,
    /// on any.
    pub(super) by_sender: bool,
    /// Without it the sum would be wrong, on the kernels that have it.
    pub(super) needed: bool,
    /// The first kernel that has it.
    from: Version,
    /// The first that no longer has it.
    until: Option<Version>,
}

/// Where a function tells how many bytes it handled.
#[derive(Debug, PartialEq)]
pub(super) enum Bytes {
    /// What it returns, a `ssize_t`, unless that is an error.
    Returned,
    /// The same as an `int`: the upper half of the register is not part of it.
    ReturnedInt,
    /// An argument, counted from 1.
    Argument(u8),
    /// A field of the `sk_buff` that is its first argument.
    PacketField(&'static str),
}

const ANY: Function = Function {
    hop: KernelToUser,
    symbol: "",
    bytes: Bytes::Returned,
    adds: true,
    by_sender: true,
    needed: true,
    from: (0, 0),
    until: None,
};

pub(super) const FUNCTIONS: &[Function] = &[
    // read(2) of most file systems, tmpfs's own, and, taken away, the splice that went through them
    // without copying.
    Function {
        symbol: "filemap_read",
        ..ANY
    },
    Function {
        symbol: "shmem_file_read_iter",
        needed: false,
        ..ANY
    },
    Function {
        symbol: "generic_file_splice_read",
        adds: false,
        until: Some((6, 5)),
        ..ANY
    },
    // read(2) of a socket.
    Function {
        hop: SocketToUser,
        symbol: "skb_copy_datagram_iter",
        bytes: Bytes::Argument(4),
        ..ANY
    },
    // All that is sent, less what is sent by reference.
    Function {
        hop: UserToSocket,
        symbol: "tcp_sendmsg_locked",
        bytes: Bytes::ReturnedInt,
        ..ANY
    },
    Function {
        hop: UserToSocket,
        symbol: "skb_splice_from_iter",
        adds: false,
        from: (6, 5),
        ..ANY
    },
    Function {
        hop: UserToSocket,
        symbol: "skb_zerocopy_iter_stream",
        bytes: Bytes::ReturnedInt,
        adds: false,
        ..ANY
    },
    // Pages that packets only referred to, made contiguous for an interface that cannot gather, or
    // copied because a packet sent by reference is looped back.
    Function {
        hop: KernelToSocket,
        symbol: "skb_copy_bits",
        bytes: Bytes::Argument(4),
        by_sender: false,
        ..ANY
    },
    Function {
        hop: KernelToSocket,
        symbol: "skb_copy_and_csum_bits",
        bytes: Bytes::Argument(4),
        by_sender: false,
        needed: false,
        ..ANY
    },
    Function {
        hop: KernelToSocket,
        symbol: "skb_copy_ubufs",
        bytes: Bytes::PacketField("data_len"),
        by_sender: false,
        ..ANY
    },
];

impl Function {
    pub(super) fn is_in(&self, kernel: Version) -> bool {
        kernel >= self.from && self.until.is_none_or(|until| kernel < until)
    }
}

/// The version of the running kernel; what cannot be read counts as new.
pub(super) fn running_kernel() -> Version {
    let uname = rustix::system::uname();
    version(&uname.release().to_string_lossy())
}

fn version(release: &str) -> Version {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    let mut next = || numbers.next().and_then(Result::ok).unwrap_or(u32::MAX);
    (next(), next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_releases() {
        assert_eq!(version("6.1.0-50-cloud-amd64"), (6, 1));
        assert_eq!(version("6.12.9+bpo-amd64"), (6, 12));
        assert_eq!(version("unreadable"), (u32::MAX, u32::MAX));
    }

    #[test]
    fn each_kernel_is_asked_for_what_it_has() {
        let asked = |kernel| -> Vec<_> {
            let those = FUNCTIONS.iter().filter(|f| f.is_in(kernel));
            those.filter(|f| !f.adds).map(|f| f.symbol).collect()
        };
        let old = ["generic_file_splice_read", "skb_zerocopy_iter_stream"];
        let new = ["skb_splice_from_iter", "skb_zerocopy_iter_stream"];
        assert_eq!((asked((6, 1)), asked((6, 5))), (old.to_vec(), new.to_vec()));
    }
}
