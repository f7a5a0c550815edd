//! The kernel's state of a connection: tcp(7) `TCP_INFO` and `TCP_ULP`, and `SIOCOUTQ`.

use std::mem::offset_of;

use rustix::ioctl::{Getter, ioctl};
use rustix::net::AddressFamily;
use rustix::net::sockopt::socket_domain;

use super::{Fd, Result, sockopt};

/// The beginning of `struct tcp_info` in <linux/tcp.h>, as far as it is read here. The kernel fills
/// in as much as is asked for.
#[repr(C)]
#[derive(Clone, Copy)]
struct RawInfo {
    _state: [u8; 8],
    _counters: [u32; 24],
    _pacing_rate: [u64; 2],
    bytes_acked: u64,
}
const _: () = assert!(offset_of!(RawInfo, bytes_acked) == 120);

/// Bytes the peer acknowledged (RFC 4898 tcpEStatsAppHCThruOctetsAcked), SYN and FIN counted:
/// `TCP_INFO`, Linux 4.1.
pub(crate) fn acknowledged(fd: Fd) -> Result<u64> {
    // SAFETY: `RawInfo` is plain data.
    let raw = unsafe { sockopt::get::<RawInfo>(fd, libc::IPPROTO_TCP, libc::TCP_INFO) }?;
    Ok(raw.bytes_acked)
}

/// Whether the socket has an upper-layer protocol such as `tls`: `TCP_ULP`.
///
/// # Errors
///
/// ENOPROTOOPT or EOPNOTSUPP if the socket is not one of TCP, or the kernel is older than 4.13.
pub(crate) fn has_ulp(fd: Fd) -> Result<bool> {
    // SAFETY: an array of bytes is plain data.
    let name = unsafe { sockopt::get::<[u8; 16]>(fd, libc::IPPROTO_TCP, libc::TCP_ULP) };
    name.map(|name| name[0] != 0)
}

/// Bytes the peer has not taken yet: `SIOCOUTQ` of tcp(7) and unix(7).
pub(crate) fn untaken(fd: Fd) -> Result<u64> {
    const SIOCOUTQ: rustix::ioctl::Opcode = 0x5411;
    // SAFETY: SIOCOUTQ writes one `int`.
    let count = unsafe { ioctl(fd, Getter::<SIOCOUTQ, i32>::new())? };
    Ok(count.max(0) as u64)
}

/// Whether the next byte to read is the urgent byte: `SIOCATMARK`.
pub(super) fn at_mark(fd: Fd) -> Result<bool> {
    const SIOCATMARK: rustix::ioctl::Opcode = 0x8905;
    // SAFETY: SIOCATMARK writes one `int`.
    let at = unsafe { ioctl(fd, Getter::<SIOCATMARK, i32>::new())? };
    Ok(at != 0)
}

/// Bytes sent that have not arrived at the peer's machine. TCP: those not acknowledged, where an
/// end (FIN) counts as one. Unix socket: none, since what was written is with the peer.
pub(crate) fn unacknowledged(fd: Fd) -> Result<u64> {
    match untaken(fd)? {
        0 => Ok(0),
        _ if socket_domain(fd)? == AddressFamily::UNIX => Ok(0),
        bytes => Ok(bytes),
    }
}
