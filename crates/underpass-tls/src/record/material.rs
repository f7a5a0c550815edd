//! The parts of a key.

use rustls::ConnectionTrafficSecrets;
use underpass::TlsCipher;

/// The length of the IV, the same for all ciphers.
pub(crate) const IV_LEN: usize = 12;

/// The parts of a key, for the kernel or for this process.
#[derive(Clone, Copy)]
pub(crate) struct KeyMaterial<'a> {
    pub(crate) cipher: TlsCipher,
    /// The secret key; its length is that of the cipher's keys.
    pub(crate) key: &'a [u8],
    pub(crate) iv: &'a [u8; IV_LEN],
}

impl<'a> KeyMaterial<'a> {
    /// `None` for a cipher that this crate does not have; no handshake chooses one.
    pub(crate) fn of(secrets: &'a ConnectionTrafficSecrets) -> Option<Self> {
        use ConnectionTrafficSecrets as Secrets;
        let (cipher, key, iv) = match secrets {
            Secrets::Aes128Gcm { key, iv } => (TlsCipher::Aes128Gcm, key, iv),
            Secrets::Aes256Gcm { key, iv } => (TlsCipher::Aes256Gcm, key, iv),
            Secrets::Chacha20Poly1305 { key, iv } => (TlsCipher::ChaCha20Poly1305, key, iv),
            _ => return None,
        };
        Some(Self {
            cipher,
            key: key.as_ref(),
            iv: iv.as_ref().first_chunk()?,
        })
    }
}
