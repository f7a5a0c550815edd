//! Asks an interface whether it can gather: the `ETHTOOL_GSG` question of the `SIOCETHTOOL` ioctl (<linux/ethtool.h>).

use rustix::ioctl::{Updater, ioctl};

use super::{Fd, Result};

const SIOCETHTOOL: rustix::ioctl::Opcode = 0x8946;
const ETHTOOL_GSG: u32 = 0x18;

/// `struct ethtool_value`
#[repr(C)]
struct Value {
    cmd: u32,
    data: u32,
}

/// `struct ifreq` with the member that SIOCETHTOOL uses; the union is 24 bytes on 64-bit machines, 16 on 32-bit ones.
#[repr(C)]
struct Request {
    name: [u8; 16],
    data: *mut Value,
    _rest: [usize; 2],
}

/// Whether scatter-gather is on for `interface`, asked through any `socket` of its network namespace.
///
/// # Errors
/// ENODEV for an unknown name, EOPNOTSUPP where the driver does not say.
pub(crate) fn scatter_gather(socket: Fd, interface: &str) -> Result<bool> {
    let mut value = Value {
        cmd: ETHTOOL_GSG,
        data: 0,
    };
    let mut request = Request {
        name: [0; 16],
        data: &raw mut value,
        _rest: [0; 2],
    };
    let name = interface.as_bytes();
    // The last byte stays 0: the name is a C string.
    let len = name.len().min(request.name.len() - 1);
    request.name[..len].copy_from_slice(&name[..len]);
    // SAFETY: SIOCETHTOOL takes a pointer to an `ifreq` whose data points to an `ethtool_value` for ETHTOOL_GSG; both
    // live across the call.
    unsafe {
        let update = Updater::<SIOCETHTOOL, Request>::new(&mut request);
        ioctl(socket, update)?;
    }
    Ok(value.data != 0)
}
