//! The network functions that transfers, relays and fan-outs share.

pub(crate) mod close;
pub mod connect;
pub(crate) mod delivery;
pub(crate) mod discard;
pub(crate) mod egress;
pub(crate) mod farewell;
pub(crate) mod pacing;
#[cfg(feature = "tokio")]
pub(crate) mod socket;
pub mod witness;

/// The Internet address in `any`, if it is one.
pub(crate) fn ip_address(any: rustix::net::SocketAddrAny) -> Option<std::net::SocketAddr> {
    any.try_into().ok()
}
