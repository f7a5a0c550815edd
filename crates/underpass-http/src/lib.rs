//! File bodies that leave by sendfile(2) from hyper, axum and tower.
#![cfg_attr(not(test), warn(clippy::unwrap_used))]

#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
#[cfg_attr(not(test), expect(dead_code))]
mod semantics;
