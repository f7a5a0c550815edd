//! File bodies that leave by sendfile(2) from hyper, axum and tower.
#![cfg_attr(not(test), warn(clippy::unwrap_used))]

#[cfg_attr(not(test), expect(dead_code, unused_imports))]
mod listing;
mod semantics;
