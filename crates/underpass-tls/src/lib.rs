//! TLS for connections whose bytes should not be copied.
//!
//! [rustls] shakes hands, and nothing else. When it is done, it gives its secrets away, and
//! the records are sealed and opened
//! - by the kernel (kTLS), so that sendfile(2) and splice(2) work on the socket as on plain TCP, or
//! - by a small record layer in this process, where the kernel cannot: it encrypts from the memory
//!   that it is given, such as the mapping of a file, straight into the outgoing buffer.
//!
//! Which of the two it is, and why, is in [`TlsInfo`]; everything else is the same in both.
//!
//! - [`Identity`] is a certificate chain and its key; [`ServerConfig`] and [`ClientConfig`] say
//!   what is offered and who is believed.
//! - [`Handshake`] and [`Session`] know no runtime: they make steps on a descriptor that does not
//!   block.
//! - `Acceptor`, `Connector` and `TlsStream` (feature `tokio`) wrap them for tokio.
//! - `TlsListener` (feature `http`) makes an HTTPS server of `underpass_http::serve`.
//!
//! # What can go wrong
//! A stream that ends without `close_notify` was cut: reading it gives
//! [`UnexpectedEof`](std::io::ErrorKind::UnexpectedEof), never an end. Once the secrets are out,
//! nothing falls back to plain text, whatever fails.
//!
//! # Features
//! - `aws-lc-rs` (default) or `ring`: where the cryptography comes from. With both, AWS-LC is used.
//! - `tokio`: streams, an acceptor and a connector.
//! - `http`: a listener for `underpass-http`.
#![cfg_attr(not(test), warn(clippy::unwrap_used))]
// On docs.rs, each item says which feature it needs.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(missing_debug_implementations)]

#[cfg(not(any(feature = "aws-lc-rs", feature = "ring")))]
compile_error!("underpass-tls needs one of the features `aws-lc-rs` and `ring`");

mod acme;
mod client;
mod crypto;
mod error;
#[cfg(test)]
mod faults;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod handshake;
#[cfg(feature = "http")]
mod http;
mod identity;
mod info;
mod kernel;
mod record;
mod server;
mod session;
mod socket_calls;
mod stats;
#[cfg(feature = "tokio")]
mod stream;
mod sys;

pub use client::ClientConfig;
pub use error::{FailureReason, HandshakeError};
pub use handshake::{Handshake, Progress};
#[cfg(feature = "http")]
pub use http::TlsListener;
pub use identity::{Fingerprint, Identity, IdentityError, Validity};
pub use info::{Mode, TlsInfo, UserReason};
pub use server::ServerConfig;
pub use session::Session;
pub use stats::TlsStats;
#[cfg(feature = "tokio")]
pub use stream::{Acceptor, Connector, TlsStream};
pub use underpass::{LayerError, Tls, TlsCipher, TlsMode, TlsVersion};
