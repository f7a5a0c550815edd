//! The key of one direction: seals or opens one record after another.

use super::material::{IV_LEN, KeyMaterial};
use super::{ContentType, HEADER_LEN};
use crate::crypto::{self, TAG_LEN, aead};
use underpass::{TlsCipher, TlsVersion};

/// The plain text that fits into a record.
pub(crate) const MAX_PLAIN: usize = 16 << 10;

/// The most bytes that are sealed with a slice, behind it.
pub(crate) const MAX_BEHIND: usize = 512;

/// After so many records AES-GCM must have another key (RFC 8446 section 5.5 says 2^24.5).
pub(crate) const GCM_RECORD_LIMIT: u64 = 1 << 24;

/// The explicit part of a nonce, which TLS 1.2 with GCM sends along.
const EXPLICIT_NONCE_LEN: usize = 8;

/// The key, the nonces and the number of the next record.
pub(crate) struct TrafficKey {
    key: aead::LessSafeKey,
    iv: [u8; IV_LEN],
    sequence: u64,
    framing: Framing,
    limit: u64,
}

/// How a record is laid out around its ciphertext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// TLS 1.3: the type is encrypted, behind the content.
    Tls13,
    /// TLS 1.2 with GCM: half of the nonce is in front of the ciphertext.
    Tls12Gcm,
    /// TLS 1.2 with ChaCha20-Poly1305.
    Tls12Chacha,
}

/// Why a record was not sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyError {
    /// The record was not sealed with this key and this record number.
    Rejected,
    /// The key has sealed as many records as it may.
    UsedUp,
    /// The record is longer than the protocol allows.
    TooLong,
    /// A TLS 1.3 record with nothing but padding, so without a type.
    NoContentType,
}

impl From<crypto::Rejected> for KeyError {
    fn from(_: crypto::Rejected) -> Self {
        Self::Rejected
    }
}

impl TrafficKey {
    pub(crate) fn new(
        version: TlsVersion,
        sequence: u64,
        material: &KeyMaterial<'_>,
    ) -> Result<Self, KeyError> {
        let algorithm = match material.cipher {
            TlsCipher::Aes128Gcm => &aead::AES_128_GCM,
            TlsCipher::Aes256Gcm => &aead::AES_256_GCM,
            TlsCipher::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
            _ => return Err(KeyError::Rejected),
        };
        let key = aead::UnboundKey::new(algorithm, material.key).map_err(|_| KeyError::Rejected)?;
        let is_gcm = material.cipher != TlsCipher::ChaCha20Poly1305;
        Ok(Self {
            key: aead::LessSafeKey::new(key),
            iv: *material.iv,
            sequence,
            framing: match (version, is_gcm) {
                (TlsVersion::Tls12, true) => Framing::Tls12Gcm,
                (TlsVersion::Tls12, false) => Framing::Tls12Chacha,
                _ => Framing::Tls13,
            },
            limit: if is_gcm { GCM_RECORD_LIMIT } else { u64::MAX },
        })
    }

    /// How many records it may still seal.
    pub(crate) fn records_left(&self) -> u64 {
        self.limit.saturating_sub(self.sequence)
    }

    /// How much longer a record is than its content.
    pub(crate) fn overhead(&self) -> usize {
        HEADER_LEN + TAG_LEN + self.framing.prefix_len() + self.framing.suffix_len()
    }

    /// Where the content of a record is, from the record's beginning.
    pub(crate) fn content_at(&self) -> usize {
        HEADER_LEN + self.framing.prefix_len()
    }

    /// Seals `plain`, and at most [`MAX_BEHIND`] bytes behind it, into `out`, which has exactly the
    /// right length.
    pub(crate) fn seal(
        &mut self,
        content_type: ContentType,
        plain: &[u8],
        behind: &[u8],
        out: &mut [u8],
    ) -> Result<(), KeyError> {
        let (nonce, aad) = self.begin(content_type, plain.len() + behind.len(), out)?;
        if behind.len() > MAX_BEHIND {
            return Err(KeyError::TooLong);
        }
        let mut extra = [content_type.0; MAX_BEHIND + 1];
        extra[..behind.len()].copy_from_slice(behind);
        let extra = &extra[..behind.len() + self.framing.suffix_len()];
        let sealed = &mut out[self.content_at()..];
        crypto::seal(&self.key, nonce, aad.bytes(), plain, extra, sealed)?;
        self.sequence += 1;
        Ok(())
    }

    /// Seals the content that is already in `record`, at [`content_at`](Self::content_at).
    pub(crate) fn seal_in_place(
        &mut self,
        content_type: ContentType,
        record: &mut [u8],
    ) -> Result<(), KeyError> {
        let len = record.len().checked_sub(self.overhead());
        let len = len.ok_or(KeyError::TooLong)?;
        let (nonce, aad) = self.begin(content_type, len, record)?;
        if self.framing == Framing::Tls13 {
            record[HEADER_LEN + len] = content_type.0;
        }
        let at = self.content_at();
        crypto::seal_in_place(&self.key, nonce, aad.bytes(), &mut record[at..])?;
        self.sequence += 1;
        Ok(())
    }

    /// Writes the header. Returns the nonce and the additional authenticated data.
    fn begin(
        &self,
        content_type: ContentType,
        len: usize,
        out: &mut [u8],
    ) -> Result<([u8; IV_LEN], Aad), KeyError> {
        if self.sequence >= self.limit {
            return Err(KeyError::UsedUp);
        }
        if len > MAX_PLAIN || out.len() != len + self.overhead() {
            return Err(KeyError::TooLong);
        }
        let nonce = self.nonce();
        let outer = match self.framing {
            Framing::Tls13 => ContentType::APPLICATION_DATA,
            _ => content_type,
        };
        let header = header(outer, out.len() - HEADER_LEN);
        out[..HEADER_LEN].copy_from_slice(&header);
        if self.framing == Framing::Tls12Gcm {
            out[HEADER_LEN..][..EXPLICIT_NONCE_LEN].copy_from_slice(&nonce[4..]);
        }
        Ok((nonce, self.aad(header, len)))
    }

    /// Opens `record`, the body of a record behind its `header`. If the plain text fits into `out`,
    /// it is put there, and else it stays in `record`. Returns its type, length and place.
    pub(crate) fn open<'a>(
        &mut self,
        header: [u8; HEADER_LEN],
        record: &'a mut [u8],
        out: &'a mut [u8],
    ) -> Result<Opened, KeyError> {
        let prefix = self.framing.prefix_len();
        let len = record.len().checked_sub(prefix + TAG_LEN);
        let len = len.ok_or(KeyError::Rejected)?;
        if len > MAX_PLAIN + self.framing.suffix_len() {
            return Err(KeyError::TooLong);
        }
        if self.sequence == u64::MAX {
            return Err(KeyError::UsedUp);
        }
        let (explicit, sealed) = record.split_at_mut(prefix);
        let mut nonce = self.nonce();
        nonce[IV_LEN - prefix..].copy_from_slice(explicit);
        let aad = self.aad(header, len);
        let is_out = len <= out.len();
        let plain = if is_out {
            let out = &mut out[..len];
            crypto::open(&self.key, nonce, aad.bytes(), sealed, out)?;
            out
        } else {
            crypto::open_in_place(&self.key, nonce, aad.bytes(), sealed)?
        };
        self.sequence += 1;
        let (content_type, len) = match self.framing {
            Framing::Tls13 => content_of(plain).ok_or(KeyError::NoContentType)?,
            _ => (ContentType(header[0]), len),
        };
        Ok(Opened {
            content_type,
            len,
            at: (!is_out).then_some(prefix),
        })
    }

    /// The nonce of the next record.
    fn nonce(&self) -> [u8; IV_LEN] {
        let mut nonce = self.iv;
        for (byte, number) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= number;
        }
        nonce
    }

    fn aad(&self, header: [u8; HEADER_LEN], len: usize) -> Aad {
        let mut bytes = [0; 8 + HEADER_LEN];
        let start = match self.framing {
            Framing::Tls13 => 8,
            _ => 0,
        };
        bytes[..8].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[8..].copy_from_slice(&header);
        if start == 0 {
            bytes[11..].copy_from_slice(&(len as u16).to_be_bytes());
        }
        Aad { bytes, start }
    }
}

/// The content of an opened record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) content_type: ContentType,
    /// The length of the content.
    pub(crate) len: usize,
    /// Where in the record's body the content is; `None` if it is in the other buffer.
    pub(crate) at: Option<usize>,
}

impl std::fmt::Debug for TrafficKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrafficKey")
            .field("framing", &self.framing)
            .field("sequence", &self.sequence)
            .finish_non_exhaustive()
    }
}

/// The additional authenticated data of a record.
struct Aad {
    bytes: [u8; 8 + HEADER_LEN],
    start: usize,
}

impl Aad {
    fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

impl Framing {
    fn prefix_len(self) -> usize {
        match self {
            Self::Tls12Gcm => EXPLICIT_NONCE_LEN,
            Self::Tls13 | Self::Tls12Chacha => 0,
        }
    }

    fn suffix_len(self) -> usize {
        usize::from(self == Self::Tls13)
    }
}

fn header(content_type: ContentType, len: usize) -> [u8; HEADER_LEN] {
    let [high, low] = (len as u16).to_be_bytes();
    [content_type.0, 3, 3, high, low]
}

/// The type that ends the content of a TLS 1.3 record, before its padding; and where it is.
fn content_of(plain: &[u8]) -> Option<(ContentType, usize)> {
    let at = plain.iter().rposition(|byte| *byte != 0)?;
    Some((ContentType(plain[at]), at))
}
