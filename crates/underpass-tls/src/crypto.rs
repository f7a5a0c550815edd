//! Where the cryptography comes from: AWS-LC, or ring.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::ProducesTickets;

#[cfg(feature = "aws-lc-rs")]
pub(crate) use aws_lc_rs::{aead, digest};
#[cfg(feature = "aws-lc-rs")]
use rustls::crypto::aws_lc_rs as chosen;

#[cfg(not(feature = "aws-lc-rs"))]
pub(crate) use ring::{aead, digest};
#[cfg(not(feature = "aws-lc-rs"))]
use rustls::crypto::ring as chosen;

/// The cryptography that rustls is given. The process's default provider is not used.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(chosen::default_provider())
}

/// Makes session tickets that contain the whole session, encrypted, so that the server stores
/// nothing. Its keys change every few hours.
pub(crate) fn ticketer() -> Result<Arc<dyn ProducesTickets>, rustls::Error> {
    chosen::Ticketer::new()
}

/// The key has the wrong length, or the bytes were not sealed with this key and this nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rejected;

/// The length of a tag, the same for all ciphers.
pub(crate) const TAG_LEN: usize = 16;

/// Encrypts `plain` and `extra` into `out`, and puts the tag behind them. AWS-LC reads and writes
/// every byte once; ring can only encrypt in place, so there they are copied first.
pub(crate) fn seal(
    key: &aead::LessSafeKey,
    nonce: [u8; aead::NONCE_LEN],
    aad: &[u8],
    plain: &[u8],
    extra: &[u8],
    out: &mut [u8],
) -> Result<(), Rejected> {
    #[cfg(feature = "aws-lc-rs")]
    {
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        let (out, rest) = out.split_at_mut_checked(plain.len()).ok_or(Rejected)?;
        key.seal_out_of_place_scatter(nonce, aead::Aad::from(aad), plain, out, extra, rest)
            .map_err(|_| Rejected)
    }
    #[cfg(not(feature = "aws-lc-rs"))]
    {
        let plain_len = plain.len() + extra.len();
        let out = out.get_mut(..plain_len + TAG_LEN).ok_or(Rejected)?;
        out[..plain.len()].copy_from_slice(plain);
        out[plain.len()..plain_len].copy_from_slice(extra);
        seal_in_place(key, nonce, aad, out)
    }
}

/// Encrypts all of `in_out` but its last 16 bytes, where the tag is put.
pub(crate) fn seal_in_place(
    key: &aead::LessSafeKey,
    nonce: [u8; aead::NONCE_LEN],
    aad: &[u8],
    in_out: &mut [u8],
) -> Result<(), Rejected> {
    let len = in_out.len().checked_sub(TAG_LEN).ok_or(Rejected)?;
    let (plain, tag_out) = in_out.split_at_mut(len);
    let nonce = aead::Nonce::assume_unique_for_key(nonce);
    let tag = key.seal_in_place_separate_tag(nonce, aead::Aad::from(aad), plain);
    tag_out.copy_from_slice(tag.map_err(|_| Rejected)?.as_ref());
    Ok(())
}

/// Decrypts `sealed`, a ciphertext and its tag, into `out`, which is 16 bytes shorter.
pub(crate) fn open(
    key: &aead::LessSafeKey,
    nonce: [u8; aead::NONCE_LEN],
    aad: &[u8],
    sealed: &mut [u8],
    out: &mut [u8],
) -> Result<(), Rejected> {
    #[cfg(feature = "aws-lc-rs")]
    {
        let len = sealed.len().checked_sub(TAG_LEN).ok_or(Rejected)?;
        let (cipher, tag) = sealed.split_at(len);
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        key.open_separate_gather(nonce, aead::Aad::from(aad), cipher, tag, out)
            .map_err(|_| Rejected)
    }
    #[cfg(not(feature = "aws-lc-rs"))]
    {
        let plain = open_in_place(key, nonce, aad, sealed)?;
        out.copy_from_slice(plain);
        Ok(())
    }
}

/// Decrypts `sealed` where it is; the plain text is at its beginning.
pub(crate) fn open_in_place<'a>(
    key: &aead::LessSafeKey,
    nonce: [u8; aead::NONCE_LEN],
    aad: &[u8],
    sealed: &'a mut [u8],
) -> Result<&'a mut [u8], Rejected> {
    let nonce = aead::Nonce::assume_unique_for_key(nonce);
    key.open_in_place(nonce, aead::Aad::from(aad), sealed)
        .map_err(|_| Rejected)
}
