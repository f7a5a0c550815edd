//! Switches an interface's scatter-gather: `ETHTOOL_SSG` of the `SIOCETHTOOL` ioctl
//! (<linux/ethtool.h>).

use std::io;
use std::os::fd::AsFd;

use rustix::ioctl::{Opcode, Updater, ioctl};

const SIOCETHTOOL: Opcode = 0x8946;
const ETHTOOL_SSG: u32 = 0x19;

/// `struct ethtool_value`
#[repr(C)]
struct Value {
    cmd: u32,
    data: u32,
}

/// `struct ifreq` with the member that SIOCETHTOOL uses; the union is 24 bytes on 64-bit machines,
/// 16 on 32-bit ones.
#[repr(C)]
struct Request {
    name: [u8; 16],
    data: *mut Value,
    _rest: [usize; 2],
}

/// Switches scatter-gather of `interface`, found in the network namespace of `socket`; its name is
/// at most 15 bytes.
pub(crate) fn set_scatter_gather(socket: impl AsFd, interface: &str, on: bool) -> io::Result<()> {
    let mut value = Value {
        cmd: ETHTOOL_SSG,
        data: u32::from(on),
    };
    let mut request = Request {
        name: [0; 16],
        data: &raw mut value,
        _rest: [0; 2],
    };
    request.name[..interface.len()].copy_from_slice(interface.as_bytes());
    // SAFETY: SIOCETHTOOL takes a pointer to an `ifreq` whose data points to an `ethtool_value` for
    // ETHTOOL_SSG; both live across the call.
    unsafe { ioctl(socket, Updater::<SIOCETHTOOL, Request>::new(&mut request)) }?;
    Ok(())
}
