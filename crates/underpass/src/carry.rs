//! What relays and fan-outs carry bytes by: what is held between two calls, the rule by which it is copied or spliced, and how
//! that is told.

#[cfg(feature = "tokio")]
pub(crate) mod draining;
pub(crate) mod held;
#[cfg(test)]
pub(crate) mod rig;
pub(crate) mod rule;
pub(crate) mod told;
