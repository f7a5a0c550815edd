//! The record layer of this process: RFC 8446 section 5 for TLS 1.3; RFC 5246 section 6.2, RFC 5288
//! and RFC 7905 for TLS 1.2.

mod content_type;
mod incoming;
mod key;
mod material;
mod open;
mod outgoing;

pub(crate) use content_type::ContentType;
pub(crate) use incoming::Incoming;
pub(crate) use key::{GCM_RECORD_LIMIT, KeyError, MAX_PLAIN, Opened, TrafficKey};
pub(crate) use material::KeyMaterial;
pub(crate) use open::{HEADER_LEN, Header};
pub(crate) use outgoing::Outgoing;

#[cfg(test)]
mod tests;
