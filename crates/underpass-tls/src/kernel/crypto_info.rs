//! Keys as the kernel takes them: the structures of <linux/tls.h>.

use underpass::{TlsCipher, TlsVersion};
use zeroize::Zeroize as _;

use crate::record::KeyMaterial;

/// Room for the longest of the structures.
const MAX_LEN: usize = 64;

const SALT_LEN: usize = 4;

/// One of the `tls12_crypto_info_…` structures. Its bytes are erased when it is dropped.
pub(crate) struct CryptoInfo {
    bytes: [u8; MAX_LEN],
    len: usize,
}

impl CryptoInfo {
    /// The structure for a key that is used from record `sequence` on.
    pub(crate) fn new(version: TlsVersion, sequence: u64, material: &KeyMaterial<'_>) -> Self {
        let KeyMaterial { cipher, key, iv } = *material;
        let number = match version {
            TlsVersion::Tls12 => libc::TLS_1_2_VERSION,
            _ => libc::TLS_1_3_VERSION,
        };
        let kind = match cipher {
            TlsCipher::Aes128Gcm => libc::TLS_CIPHER_AES_GCM_128,
            TlsCipher::Aes256Gcm => libc::TLS_CIPHER_AES_GCM_256,
            _ => libc::TLS_CIPHER_CHACHA20_POLY1305,
        };
        let mut this = Self {
            bytes: [0; MAX_LEN],
            len: 0,
        };
        this.push(&number.to_ne_bytes());
        this.push(&kind.to_ne_bytes());
        if cipher == TlsCipher::ChaCha20Poly1305 {
            this.push(iv);
            this.push(key);
        } else {
            let (salt, explicit) = iv.split_at(SALT_LEN);
            let explicit = explicit.first_chunk().copied().unwrap_or_default();
            let mut explicit = u64::from_be_bytes(explicit);
            if version == TlsVersion::Tls12 {
                explicit = unused_nonce(explicit, sequence);
            }
            this.push(&explicit.to_be_bytes());
            this.push(key);
            this.push(salt);
        }
        this.push(&sequence.to_be_bytes());
        this
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..][..bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }
}

impl Drop for CryptoInfo {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

/// Where the kernel may begin to count the explicit nonces of TLS 1.2 with GCM.
///
/// rustls has sealed `sequence` records with the nonces `explicit ^ 0`, `explicit ^ 1`, and so on;
/// the kernel adds 1 to what it is given after each record. If it began at `explicit`, its first
/// record would have the nonce of rustls's Finished, and AES-GCM gives its key away when a nonce
/// comes twice. All that rustls has used are in a block whose size is a power of two: the kernel
/// begins behind it.
fn unused_nonce(explicit: u64, sequence: u64) -> u64 {
    match sequence {
        0 => explicit,
        used => (explicit | (used.next_power_of_two() - 1)).wrapping_add(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_uses_no_nonce_again() {
        for explicit in [
            0,
            1,
            2,
            3,
            6,
            7,
            u64::MAX,
            u64::MAX - 1,
            0x1234_5678_9abc_def0,
        ] {
            for sequence in 1..20 {
                let used: Vec<_> = (0..sequence).map(|number| explicit ^ number).collect();
                let start = unused_nonce(explicit, sequence);
                let next = (0..1000).map(|number| start.wrapping_add(number));
                assert!(next.into_iter().all(|nonce| !used.contains(&nonce)));
            }
        }
    }

    #[test]
    fn the_structures_are_as_long_as_the_kernel_says() {
        let mut material = KeyMaterial {
            cipher: TlsCipher::ChaCha20Poly1305,
            key: &[7; 32],
            iv: &[9; 12],
        };
        let info = CryptoInfo::new(TlsVersion::Tls13, 5, &material);
        let expected = size_of::<libc::tls12_crypto_info_chacha20_poly1305>();
        assert_eq!(info.bytes().len(), expected);
        assert!(info.bytes().ends_with(&[0, 5]));
        material.cipher = TlsCipher::Aes256Gcm;
        let info = CryptoInfo::new(TlsVersion::Tls12, 6, &material);
        assert_eq!(
            info.bytes().len(),
            size_of::<libc::tls12_crypto_info_aes_gcm_256>()
        );
        assert!(info.bytes().ends_with(&[0, 6]));
    }
}
