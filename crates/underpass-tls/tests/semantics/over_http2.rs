//! The tests of what HTTP means, which `underpass-http` has, over TLS by HTTP/2.

#[path = "../../../underpass-http/tests/http/archives.rs"]
mod archives;
#[path = "../../../underpass-http/tests/http/changing.rs"]
mod changing;
#[path = "../../../underpass-http/tests/http/conditions.rs"]
mod conditions;
#[path = "../../../underpass-http/tests/http/directories.rs"]
mod directories;
#[path = "../../../underpass-http/tests/http/file_response.rs"]
mod file_response;
#[path = "../../../underpass-http/tests/http/methods.rs"]
mod methods;
#[path = "../../../underpass-http/tests/http/missing.rs"]
mod missing;
#[path = "../../../underpass-http/tests/http/objects.rs"]
mod objects;
#[path = "../../../underpass-http/tests/http/paths.rs"]
mod paths;
#[path = "../../../underpass-http/tests/http/precompressed.rs"]
mod precompressed;
#[path = "../../../underpass-http/tests/http/ranges.rs"]
mod ranges;
#[allow(dead_code, reason = "some helpers are for tests that are not here")]
#[path = "../../../underpass-http/tests/http/support/mod.rs"]
mod support;
#[path = "../../../underpass-http/tests/http/uploads.rs"]
mod uploads;
mod wire;

/// What requests are made over, unless a test makes its own.
const TRANSPORT: support::Transport = support::Transport::Https2;
