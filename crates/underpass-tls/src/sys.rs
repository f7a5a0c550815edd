//! TLS in the kernel: the calls that rustix does not have. All `unsafe` code of this crate is here.
//!
//! See the kernel documents networking/tls.rst and <linux/tls.h>.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;
use zeroize::Zeroize as _;

use crate::record::ContentType;

/// `IPPROTO_TCP` level: which upper protocol a socket has.
const TCP_ULP: c_int = 31;

/// The direction of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Sending = libc::TLS_TX as isize,
    Receiving = libc::TLS_RX as isize,
}

/// What recvmsg(2) gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) count: usize,
    /// The type of the record that the bytes are from. `None` at the end of the stream.
    pub(crate) content_type: Option<ContentType>,
    /// Whether they are the last of a record that is not data (`MSG_EOR`).
    pub(crate) is_end: bool,
}

/// Puts TLS on a TCP connection. It changes nothing until there are keys.
///
/// `ENOENT` if the kernel has no TLS, `ENOTCONN` if the connection is not established (any more),
/// `EEXIST` if it was done before.
pub(crate) fn set_ulp(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    set_option(socket, libc::IPPROTO_TCP, TCP_ULP, b"tls")
}

/// Gives a key to the kernel: the bytes of one of the `tls12_crypto_info_…` structures.
///
/// `ENOENT` if the kernel lacks the cipher, `EINVAL` if it lacks the version, `EBUSY` if there is a
/// key and the kernel cannot replace it (before Linux 6.14).
pub(crate) fn set_key(
    socket: BorrowedFd<'_>,
    direction: Direction,
    info: &[u8],
) -> Result<(), Errno> {
    set_option(socket, libc::SOL_TLS, direction as c_int, info)
}

/// The number of the next record, which the kernel gives back with the key.
pub(crate) fn sequence(socket: BorrowedFd<'_>, direction: Direction) -> Result<u64, Errno> {
    /// The lengths of the structures that `set_key` takes.
    const LENGTHS: [usize; 2] = [40, 56];
    let mut info = [0_u8; 64];
    let mut result = Err(Errno::INVAL);
    for len in LENGTHS {
        let mut len = len as libc::socklen_t;
        // SAFETY: the pointers are to `info`, which is longer than `len`, and to that length.
        let told = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_TLS,
                direction as c_int,
                info.as_mut_ptr().cast(),
                &raw mut len,
            )
        };
        result = check(told as isize).map(|_| {
            let end = info[..len as usize].last_chunk();
            end.map_or(0, |bytes| u64::from_be_bytes(*bytes))
        });
        if result != Err(Errno::INVAL) {
            break;
        }
    }
    info.zeroize();
    result
}

fn set_option(
    socket: BorrowedFd<'_>,
    level: c_int,
    name: c_int,
    value: &[u8],
) -> Result<(), Errno> {
    // SAFETY: the pointer and the length are those of `value`, which the kernel only reads.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            value.as_ptr().cast(),
            value.len() as libc::socklen_t,
        )
    };
    check(result as isize).map(|_| ())
}

/// Room for one control message with a byte in it, aligned as `cmsghdr` needs it.
type ControlBuffer = [u64; 4];

/// Receives from one record, of whatever type.
pub(crate) fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    peek: bool,
) -> Result<Received, Errno> {
    let mut control = ControlBuffer::default();
    let mut slices = [IoSliceMut::new(buffer)];
    let flags = if peek { libc::MSG_PEEK } else { 0 };
    // SAFETY: all-zero is a valid `msghdr`; `slices` and `control` outlive the call, and their
    // lengths are given. `IoSliceMut` has the layout of `iovec`.
    let (count, message) = unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = slices.as_mut_ptr().cast();
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast::<c_void>();
        message.msg_controllen = size_of_val(&control) as _;
        let count = libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags);
        (check(count)?, message)
    };
    // SAFETY: `message` was filled by recvmsg(2) and points into `control`, which is alive; a
    // header is read only where CMSG_FIRSTHDR found one, and its data only if it is of the type
    // whose data is one byte.
    let content_type = unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        let is_type = !header.is_null()
            && (*header).cmsg_level == libc::SOL_TLS
            && (*header).cmsg_type == TLS_GET_RECORD_TYPE;
        is_type.then(|| ContentType(*libc::CMSG_DATA(header)))
    };
    Ok(Received {
        count,
        // Without TLS_RX's message there are bytes only before the keys are set.
        content_type: content_type.or((count > 0).then_some(ContentType::APPLICATION_DATA)),
        is_end: message.msg_flags & libc::MSG_EOR != 0,
    })
}

/// Sends one record of this type. With an empty `content` and the type of data, it only ends the
/// record that `MSG_MORE` has left open.
pub(crate) fn send_record(
    socket: BorrowedFd<'_>,
    content_type: ContentType,
    content: &[u8],
) -> Result<usize, Errno> {
    let mut control = ControlBuffer::default();
    let slice = libc::iovec {
        iov_base: content.as_ptr().cast_mut().cast(),
        iov_len: content.len(),
    };
    // SAFETY: all-zero is a valid `msghdr`; `slice` and `control` outlive the call, and the control
    // buffer has room for the header and the byte that are written into it. The kernel only reads.
    let result = unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = (&raw const slice).cast_mut();
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast::<c_void>();
        message.msg_controllen = libc::CMSG_SPACE(1) as _;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_TLS;
        (*header).cmsg_type = TLS_SET_RECORD_TYPE;
        (*header).cmsg_len = libc::CMSG_LEN(1) as _;
        *libc::CMSG_DATA(header) = content_type.0;
        libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL)
    };
    check(result)
}

const TLS_SET_RECORD_TYPE: c_int = 1;
const TLS_GET_RECORD_TYPE: c_int = 2;

fn check(result: isize) -> Result<usize, Errno> {
    usize::try_from(result).map_err(|_| {
        let error = std::io::Error::last_os_error();
        Errno::from_io_error(&error).unwrap_or(Errno::IO)
    })
}
