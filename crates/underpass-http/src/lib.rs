//! File bodies that leave by sendfile(2) from hyper, axum and tower.
#![cfg_attr(not(test), warn(clippy::unwrap_used))]

mod account;
mod body;
mod file;
pub mod serve;
mod socket;
mod stats;
mod sys;
mod transport;

pub use body::FileBody;
pub use serve::serve;
pub use socket::Socket;
pub use stats::{Count, Stats};
