//! An interface's scatter-gather setting: `ETHTOOL_GSG` and `ETHTOOL_SSG` of the `SIOCETHTOOL`
//! ioctl (<linux/ethtool.h>).

use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, ioctl};

use super::{Fd, Result};

const SIOCETHTOOL: Opcode = 0x8946;
const ETHTOOL_GSG: u32 = 0x18;
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

/// Whether scatter-gather is on for `interface`, asked through any `socket` of its network
/// namespace.
///
/// # Errors
///
/// ENODEV for an unknown name, EOPNOTSUPP if the driver does not say.
pub(crate) fn scatter_gather(socket: Fd, interface: &str) -> Result<bool> {
    let mut value = Value {
        cmd: ETHTOOL_GSG,
        data: 0,
    };
    call(socket, interface, &mut value)?;
    Ok(value.data != 0)
}

/// Switches scatter-gather of `interface`, in the network namespace of `socket`.
///
/// # Errors
///
/// EPERM without CAP_NET_ADMIN, ENODEV for an unknown name, EOPNOTSUPP if the driver cannot.
pub(crate) fn set_scatter_gather(socket: Fd, interface: &str, on: bool) -> Result<()> {
    let mut value = Value {
        cmd: ETHTOOL_SSG,
        data: u32::from(on),
    };
    call(socket, interface, &mut value)
}

fn call(socket: Fd, interface: &str, value: &mut Value) -> Result<()> {
    let mut request = Request {
        name: [0; 16],
        data: value,
        _rest: [0; 2],
    };
    let name = interface.as_bytes();
    // The last byte stays 0: the name is a C string.
    if name.len() >= request.name.len() {
        return Err(Errno::NODEV);
    }
    request.name[..name.len()].copy_from_slice(name);
    // SAFETY: SIOCETHTOOL takes a pointer to an `ifreq` whose data points to an `ethtool_value` for
    // both commands; both live across the call.
    unsafe { ioctl(socket, Updater::<SIOCETHTOOL, Request>::new(&mut request)) }
}
