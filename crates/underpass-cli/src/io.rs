//! The ends of a transfer: files, standard streams, inherited descriptors, and sockets.

pub(crate) mod connection;
pub(crate) mod files;
pub(crate) mod interfaces;
pub(crate) mod listen;
mod peer_stream;
mod standard_stream;
pub(crate) mod tls;
pub(crate) mod wait;

pub(crate) use peer_stream::PeerStream;
pub(crate) use standard_stream::StandardStream;
