//! How often the bytes were encrypted or decrypted on this machine, where, and by whom. A pass of
//! encryption reads and writes each byte as a copy does, but it is no copy: receipts count both.

use super::Evidence;
use crate::endpoint::Endpoint;

/// Passes of encryption and decryption by the CPU over the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Crypto {
    /// Bytes encrypted or decrypted, each pass over a byte counted.
    pub cpu_bytes: u64,
    /// Each pass, in the order in which a byte meets it; empty without TLS.
    pub passes: Vec<CryptoPass>,
    /// How that is known. The worst of the passes.
    pub evidence: Evidence,
}

/// One pass over the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct CryptoPass {
    /// What was done.
    pub work: CryptoWork,
    /// Where.
    pub place: CryptoPlace,
    /// To how many bytes.
    pub bytes: u64,
    /// How that is known.
    pub evidence: Evidence,
}

/// What a pass does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum CryptoWork {
    /// What the source sent was decrypted.
    Decrypt,
    /// What the sink got was encrypted.
    Encrypt,
}

/// Who does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum CryptoPlace {
    /// The kernel. Documented for TLS in the kernel, not counted: an interface with TLS offload
    /// may have done it in the kernel's stead.
    Kernel,
    /// This process, which counts what it encrypts.
    User,
}

impl Crypto {
    /// Adds the passes of another transfer of the same work.
    pub(crate) fn add(&mut self, other: &Self) {
        self.cpu_bytes += other.cpu_bytes;
        for pass in &other.passes {
            let same = |it: &&mut CryptoPass| (it.work, it.place) == (pass.work, pass.place);
            match self.passes.iter_mut().find(same) {
                Some(known) => {
                    known.bytes += pass.bytes;
                    known.evidence = known.evidence.min(pass.evidence);
                }
                None => self.passes.push(pass.clone()),
            }
        }
        if !other.passes.is_empty() {
            self.evidence = self.evidence.min(other.evidence);
        }
    }
}

impl CryptoPass {
    /// `encrypted by the kernel`
    pub fn phrase(&self) -> String {
        format!("{} {}", self.work.done(), self.place.as_phrase())
    }
}

impl CryptoWork {
    /// `decrypted` or `encrypted`.
    fn done(self) -> &'static str {
        match self {
            Self::Decrypt => "decrypted",
            Self::Encrypt => "encrypted",
        }
    }
}

impl CryptoPlace {
    /// `by the kernel` or `in user space`.
    fn as_phrase(self) -> &'static str {
        match self {
            Self::Kernel => "by the kernel",
            Self::User => "in user space",
        }
    }
}

impl Default for Crypto {
    /// No pass.
    fn default() -> Self {
        Self {
            cpu_bytes: 0,
            passes: Vec::new(),
            evidence: Evidence::Measured,
        }
    }
}

/// The passes over `bytes` that went from `source` to `sink`.
pub(crate) fn count(bytes: u64, source: &Endpoint, sink: &Endpoint) -> Crypto {
    of_ends(
        bytes,
        &[(CryptoWork::Decrypt, source), (CryptoWork::Encrypt, sink)],
    )
}

/// The same, for what was read from `source` and is kept.
pub(crate) fn of_source(bytes: u64, source: &Endpoint) -> Crypto {
    of_ends(bytes, &[(CryptoWork::Decrypt, source)])
}

/// The same, for what was kept and was sent to `sink`.
pub(crate) fn of_sink(bytes: u64, sink: &Endpoint) -> Crypto {
    of_ends(bytes, &[(CryptoWork::Encrypt, sink)])
}

fn of_ends(bytes: u64, ends: &[(CryptoWork, &Endpoint)]) -> Crypto {
    let passes = ends.iter().filter_map(|&(work, end)| {
        let tls = end.tls.as_ref()?;
        let (place, evidence) = if tls.is_in_kernel() {
            (CryptoPlace::Kernel, Evidence::Expected)
        } else {
            (CryptoPlace::User, Evidence::Measured)
        };
        Some(CryptoPass {
            work,
            place,
            bytes,
            evidence,
        })
    });
    let passes: Vec<_> = passes.collect();
    Crypto {
        cpu_bytes: passes.iter().map(|pass| pass.bytes).sum(),
        evidence: passes
            .iter()
            .map(|pass| pass.evidence)
            .min()
            .unwrap_or(Evidence::Measured),
        passes,
    }
}

/// The passes over each byte that goes from `source` to `sink`: [`Crypto::cpu_bytes`] for one byte.
/// Nothing was counted yet, so that all of it is [`Evidence::Expected`].
pub fn expected(source: &Endpoint, sink: &Endpoint) -> Crypto {
    let mut crypto = count(1, source, sink);
    crypto.evidence = Evidence::Expected;
    for pass in &mut crypto.passes {
        pass.evidence = Evidence::Expected;
    }
    crypto
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Kind;
    use crate::layer::{Tls, TlsCipher, TlsMode, TlsVersion};

    fn tls(mode: TlsMode) -> Endpoint {
        let tls = Tls::new(mode, TlsVersion::Tls13, TlsCipher::Aes128Gcm);
        Endpoint::assumed(Kind::Tcp).with_tls(tls)
    }

    #[test]
    fn each_end_with_tls_is_a_pass() {
        let plain = Endpoint::assumed(Kind::File);
        let kernel = tls(TlsMode::Kernel);
        let reason = String::new();
        let user = tls(TlsMode::User { reason });
        assert_eq!(count(9, &plain, &plain), Crypto::default());
        let sealed = count(9, &plain, &user);
        assert_eq!((sealed.cpu_bytes, sealed.evidence), (9, Evidence::Measured));
        let both = count(9, &user, &kernel);
        assert_eq!((both.cpu_bytes, both.evidence), (18, Evidence::Expected));
        let places: Vec<_> = both
            .passes
            .iter()
            .map(|pass| (pass.work, pass.place))
            .collect();
        let decrypted = (CryptoWork::Decrypt, CryptoPlace::User);
        assert_eq!(
            places,
            [decrypted, (CryptoWork::Encrypt, CryptoPlace::Kernel)]
        );
        assert_eq!(expected(&plain, &user).evidence, Evidence::Expected);
    }
}
