//! Helpers that the tests share: trees of files, servers, and clients of several kinds.

mod client;
pub(crate) mod curl;
mod http2;
pub(crate) mod python;
mod reply;
mod server;
pub(crate) mod store;
mod transport;
mod tree;

#[allow(unused_imports, reason = "some binaries do without")]
pub(crate) use client::{Client, request};
pub(crate) use reply::Reply;
pub(crate) use server::{Server, Settings};
pub(crate) use transport::Transport;
#[allow(unused_imports, reason = "some binaries do without")]
pub(crate) use tree::{Tree, set_modified};
pub(crate) use underpass_testing::{bytes, needs};

/// Files larger than this are sent by sendfile(2).
pub(crate) const IN_MEMORY: usize = 8 << 10;

/// Far more than the buffers of a connection hold: a server that has to send this much has to wait
/// for a reader.
pub(crate) const MORE_THAN_BUFFERS: usize = 32 << 20;

/// Tries until `is_as_expected` says so, as [`eventually`]. Each upload invalidates what the caches
/// of this process have, also one of another test.
#[track_caller]
pub(crate) fn between_uploads(is_as_expected: impl FnMut() -> bool) {
    eventually(is_as_expected);
}

/// Waits until `is_so` is true, but not for ever.
#[track_caller]
pub(crate) fn eventually(mut is_so: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !is_so() {
        assert!(begun.elapsed().as_secs() < 20, "it never comes");
        std::thread::yield_now();
    }
}
