//! Socket addresses, from the kernel's form to the standard library's.

use rustix::net::SocketAddrAny;

/// The Internet address in `any`, if it is one.
pub(crate) fn ip_address(any: SocketAddrAny) -> Option<std::net::SocketAddr> {
    any.try_into().ok()
}
