//! The network functions that transfers, relays and fan-outs share.

pub(crate) mod address;
pub(crate) mod close;
pub mod connect;
pub(crate) mod delivery;
pub(crate) mod discard;
pub(crate) mod egress;
pub(crate) mod pacing;
#[cfg(feature = "tokio")]
pub(crate) mod socket;
pub mod witness;
