//! What relays and fan-outs carry bytes by: what is held between two calls, and the rule by which it is copied or spliced.

pub(crate) mod held;
pub(crate) mod rule;
