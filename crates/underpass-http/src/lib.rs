//! File bodies that leave by sendfile(2) from hyper, axum and tower.
#![cfg_attr(not(test), warn(clippy::unwrap_used))]

mod account;
mod body;
mod clock;
mod connection;
mod exchange;
mod file;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod guard;
mod listing;
mod observe;
mod request_body;
mod semantics;
mod serve;
mod serve_dir;
mod shortcut;
mod socket;
mod stats;
mod sys;
mod transport;
mod turns;

pub use body::FileBody;
pub use file::Symlinks;
pub use observe::{Exchange, Failure, Observe, RequestHead};
pub use request_body::RequestBody;
pub use serve::{Limits, Listener, Serve, Timeouts, serve, serve_dir};
pub use serve_dir::{Cache, Fallback, NoFallback, ServeDir, ServeFile, Serving, Uploads};
pub use socket::Socket;
pub use stats::{Count, Stats};
