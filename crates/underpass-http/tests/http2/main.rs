//! HTTP/2 frame by frame: what clients must not send, floods, timeouts, and ends.

mod floods;
mod frames;
mod streams;
#[allow(dead_code, reason = "some helpers are for other tests")]
#[path = "../http/support/mod.rs"]
mod support;
mod violations;
#[path = "../http/wire.rs"]
mod wire;

/// What the helpers' requests are made over.
const TRANSPORT: support::Transport = support::Transport::Http2;
