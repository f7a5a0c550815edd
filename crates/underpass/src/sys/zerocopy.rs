//! `MSG_ZEROCOPY` and its notifications (kernel document networking/msg_zerocopy.rst), which rustix
//! does not wrap.

use std::mem::{MaybeUninit, zeroed};
use std::os::fd::AsRawFd;

use rustix::io::Errno;
use rustix::net::SendFlags;

use super::sockopt::last_errno;
use super::{Fd, Result};

pub(super) const MSG_ZEROCOPY: SendFlags =
    SendFlags::from_bits_retain(libc::MSG_ZEROCOPY.cast_unsigned());

/// `SO_EE_ORIGIN_ZEROCOPY` and `SO_EE_CODE_ZEROCOPY_COPIED` of <linux/errqueue.h>.
const ORIGIN_ZEROCOPY: u8 = 5;
const CODE_COPIED: u8 = 1;

/// The kernel no longer refers to the buffers of sends `first..=last`. The numbers are 32-bit and
/// wrap; each successful send takes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Notification {
    pub(crate) first: u32,
    pub(crate) last: u32,
    /// The bytes were copied after all (`SO_EE_CODE_ZEROCOPY_COPIED`).
    pub(crate) copied: bool,
}

/// Sets `SO_ZEROCOPY`. Without it, `MSG_ZEROCOPY` is ignored.
pub(crate) fn enable(fd: Fd) -> Result<()> {
    const SO_ZEROCOPY: libc::c_int = 60;
    let on: libc::c_int = 1;
    // SAFETY: the option takes a pointer to one `int` and its size.
    let ok = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_ZEROCOPY,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if ok < 0 { Err(last_errno()) } else { Ok(()) }
}

/// Takes one message from the error queue.
pub(super) fn receive(fd: Fd) -> Result<Notification> {
    // Room for a `sock_extended_err` followed by the offender's address, aligned as `cmsghdr` needs
    // it.
    let mut control = [0_u64; 16];
    // SAFETY: all-zero is a valid `msghdr`; `control` outlives the call and its length is given.
    let message = unsafe {
        let mut message: libc::msghdr = zeroed();
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control) as _;
        if libc::recvmsg(fd.as_raw_fd(), &raw mut message, libc::MSG_ERRQUEUE) < 0 {
            return Err(last_errno());
        }
        message
    };
    // SAFETY: `message` was filled by recvmsg and points into `control`, which is still alive; a
    // header is read only where CMSG_FIRSTHDR found one, its data only when the length says it is
    // there.
    let error = unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        let need = libc::CMSG_LEN(size_of::<libc::sock_extended_err>() as u32) as usize;
        if header.is_null() || ((*header).cmsg_len as usize) < need {
            return Err(Errno::BADMSG);
        }
        let mut error = MaybeUninit::<libc::sock_extended_err>::uninit();
        std::ptr::copy_nonoverlapping(
            libc::CMSG_DATA(header),
            error.as_mut_ptr().cast(),
            size_of::<libc::sock_extended_err>(),
        );
        error.assume_init()
    };
    decode(&error)
}

/// A message of another origin (ICMP, timestamps) is skipped.
fn decode(error: &libc::sock_extended_err) -> Result<Notification> {
    if error.ee_errno != 0 || error.ee_origin != ORIGIN_ZEROCOPY {
        return Err(Errno::NOMSG);
    }
    Ok(Notification {
        first: error.ee_info,
        last: error.ee_data,
        copied: error.ee_code & CODE_COPIED != 0,
    })
}
