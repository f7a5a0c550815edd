//! TLS in the kernel: what it supports, and the structures by which it is given keys.

mod crypto_info;
mod support;

pub(crate) use crypto_info::CryptoInfo;
pub(crate) use support::support;
