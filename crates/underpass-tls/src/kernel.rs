//! TLS in the kernel: what it can, and giving it keys.

mod crypto_info;
mod support;

pub(crate) use crypto_info::CryptoInfo;
pub(crate) use support::support;
