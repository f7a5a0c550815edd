//! File bodies that leave by sendfile(2) from hyper, axum and tower.
#![cfg_attr(not(test), warn(clippy::unwrap_used))]

#[cfg_attr(not(any(test, fuzzing)), expect(dead_code))]
mod semantics;
