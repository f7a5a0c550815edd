//! What a TLS connection does, against rustls as the peer, over TCP on loopback.
//!
//! The same tests run in both modes. Where the kernel has TLS it seals the records; with
//! `UNDERPASS_TESTS_KERNEL_TLS=1` it must. `lab` runs them so under other kernels.

mod axum_app;
mod clients;
mod closing;
mod control;
mod data;
mod handshakes;
mod http;
mod http2;
mod http_ends;
mod policies;
mod refusals;
mod support;
