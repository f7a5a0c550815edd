//! What relays and fan-outs carry bytes by: what is held between two calls, the rule by which it is
//! copied or spliced, and how that is told.

#[cfg(feature = "tokio")]
pub(crate) mod draining;
pub(crate) mod error;
pub(crate) mod in_flight;
pub(crate) mod report;
pub(crate) mod splice_policy;
#[cfg(test)]
pub(crate) mod test_sender;
