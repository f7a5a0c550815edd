//! The tests of semantics again, over HTTP/2. Those that send bytes of HTTP/1.1 do that here, too:
//! the server speaks both.

#[allow(dead_code, reason = "some helpers are for HTTP/1.1")]
mod support;

mod archives;
mod changing;
mod conditions;
mod directories;
mod file_response;
mod methods;
mod missing;
mod objects;
mod path_rules;
mod paths;
mod precompressed;
mod ranges;
mod uploads;
mod wire;

/// What requests are made over, unless a test makes its own.
const TRANSPORT: support::Transport = support::Transport::Http2;
