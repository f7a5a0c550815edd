//! The server as its clients see it: sends bytes and requests by curl and Python, and checks bytes,
//! files and counters.

mod support;

mod archives;
mod bad_input;
mod changing;
mod conditions;
mod connections;
mod directories;
mod file_response;
mod hot;
mod methods;
mod missing;
mod objects;
mod path_rules;
mod paths;
mod precompressed;
mod ranges;
mod real_clients;
mod slow;
mod stopping;
mod uploads;
mod wire;

/// What requests are made over, unless a test makes its own.
const TRANSPORT: support::Transport = support::Transport::Http1;
