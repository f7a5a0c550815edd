//! What relays and fan-outs share: the bytes in flight between two system calls, the policy that
//! decides between copying and splicing, and the parts of their receipts.

#[cfg(feature = "tokio")]
pub(crate) mod draining;
pub(crate) mod error;
pub(crate) mod in_flight;
pub(crate) mod report;
pub(crate) mod splice_policy;
#[cfg(test)]
pub(crate) mod test_sender;
