//! The functions by which the kernel copies file data on its way to a TCP socket, and encrypts it
//! there, and how many bytes each handles.
//!
//! The list comes from the source of Linux 6.1 (mm/filemap.c, mm/shmem.c, fs/splice.c,
//! net/ipv4/tcp.c, net/core/skbuff.c, net/core/skmsg.c, net/tls/tls_sw.c, crypto/aead.c,
//! crypto/simd.c) and 6.12. On both kernels the counts were seen to be right.

use crate::probe::Work;
use crate::report::HopKind::{KernelToSocket, KernelToUser, SocketToUser, UserToSocket};

/// A kernel's version: major and minor.
pub(crate) type Version = (u32, u32);

/// One term of the sum for some work.
#[derive(Debug, PartialEq)]
pub(crate) struct Function {
    pub(crate) work: Work,
    pub(crate) symbol: &'static str,
    pub(crate) bytes: Bytes,
    /// Whether the term is added; otherwise it is subtracted.
    pub(crate) adds: bool,
    /// Whether the function always runs on the sender's thread. If not, it also runs where
    /// acknowledgements are handled, on any thread.
    pub(crate) by_sender: bool,
    /// Whether every kernel of these versions has it. One that lacks another function does not do
    /// what that function does.
    pub(crate) needed: bool,
    /// The first kernel that has the function.
    from: Version,
    /// The first kernel that no longer has it.
    until: Option<Version>,
}

/// Where a function tells how many bytes it handled.
#[derive(Debug, PartialEq)]
pub(crate) enum Bytes {
    /// Its return value, a `ssize_t`, unless that is an error.
    Returned,
    /// Its return value as an `int`: the upper half of the register does not belong to it.
    ReturnedInt,
    /// An argument, counted from 1.
    Argument(u8),
    /// A field of the structure that its first argument points to.
    Field {
        structure: &'static str,
        name: &'static str,
    },
}

const ANY: Function = Function {
    work: Work::Copy(KernelToUser),
    symbol: "",
    bytes: Bytes::Returned,
    adds: true,
    by_sender: true,
    needed: true,
    from: (0, 0),
    until: None,
};

pub(crate) const FUNCTIONS: &[Function] = &[
    // read(2) of most file systems, and of tmpfs; minus the splices that went through the same
    // functions without copying.
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
        work: Work::Copy(SocketToUser),
        symbol: "skb_copy_datagram_iter",
        bytes: Bytes::Argument(4),
        ..ANY
    },
    // Everything that is sent, minus what is sent by reference.
    Function {
        work: Work::Copy(UserToSocket),
        symbol: "tcp_sendmsg_locked",
        bytes: Bytes::ReturnedInt,
        ..ANY
    },
    Function {
        work: Work::Copy(UserToSocket),
        symbol: "skb_splice_from_iter",
        adds: false,
        from: (6, 5),
        ..ANY
    },
    Function {
        work: Work::Copy(UserToSocket),
        symbol: "skb_zerocopy_iter_stream",
        bytes: Bytes::ReturnedInt,
        adds: false,
        ..ANY
    },
    // What is sent through TLS in the kernel, and is copied before it is encrypted.
    Function {
        work: Work::Copy(UserToSocket),
        symbol: "sk_msg_memcopy_from_iter",
        bytes: Bytes::ReturnedInt,
        needed: false,
        ..ANY
    },
    // Pages to which packets only referred. They are copied to make packets contiguous for an
    // interface that cannot gather, or because a packet that was sent by reference is looped back.
    Function {
        work: Work::Copy(KernelToSocket),
        symbol: "skb_copy_bits",
        bytes: Bytes::Argument(4),
        by_sender: false,
        ..ANY
    },
    Function {
        work: Work::Copy(KernelToSocket),
        symbol: "skb_copy_and_csum_bits",
        bytes: Bytes::Argument(4),
        by_sender: false,
        needed: false,
        ..ANY
    },
    Function {
        work: Work::Copy(KernelToSocket),
        symbol: "skb_copy_ubufs",
        bytes: Bytes::Field {
            structure: "sk_buff",
            name: "data_len",
        },
        by_sender: false,
        ..ANY
    },
    // All that is encrypted, minus what a wrapper around a cipher passes on to it through the same
    // function: it was counted when it came to the wrapper. A record's type is encrypted with it,
    // one byte of 16 KiB.
    Function {
        work: Work::Encrypt,
        symbol: "crypto_aead_encrypt",
        bytes: REQUEST,
        ..ANY
    },
    Function {
        work: Work::Encrypt,
        symbol: "simd_aead_encrypt",
        bytes: REQUEST,
        adds: false,
        needed: false,
        ..ANY
    },
];

/// The length of the text that is to be encrypted.
const REQUEST: Bytes = Bytes::Field {
    structure: "aead_request",
    name: "cryptlen",
};

impl Function {
    pub(crate) fn is_in(&self, kernel: Version) -> bool {
        kernel >= self.from && self.until.is_none_or(|until| kernel < until)
    }
}

/// The version of the running kernel. A version that cannot be read counts as new.
pub(crate) fn running_kernel() -> Version {
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
            those
                .filter(|f| !f.adds && f.work != Work::Encrypt)
                .map(|f| f.symbol)
                .collect()
        };
        let old = ["generic_file_splice_read", "skb_zerocopy_iter_stream"];
        let new = ["skb_splice_from_iter", "skb_zerocopy_iter_stream"];
        assert_eq!((asked((6, 1)), asked((6, 5))), (old.to_vec(), new.to_vec()));
    }
}
