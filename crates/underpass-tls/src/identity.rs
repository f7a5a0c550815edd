//! Who a server or client is: a certificate chain and its key.

use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use webpki::EndEntityCert;

use crate::crypto::{self, digest};

mod error;
pub(crate) mod pem;
mod validity;

pub use error::IdentityError;
use pem::{Sections, wrong};
pub use validity::Validity;

/// A certificate chain and the key of its first certificate.
///
/// ```
/// use underpass_tls::Identity;
///
/// let identity = Identity::self_signed(["localhost", "192.0.2.1"])?;
/// assert!(identity.fingerprint().to_string().starts_with("sha256-"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Identity {
    pub(crate) certified: Arc<CertifiedKey>,
    names: Arc<[String]>,
    fingerprint: Fingerprint,
    validity: Validity,
}

impl Identity {
    /// Reads a chain and a key from two PEM files. The chain begins with the certificate of the
    /// key; both may be in the same file.
    ///
    /// # Errors
    /// Those of reading; `InvalidData` with one line that says which file is wrong and how: no
    /// certificate or no key in it, several keys, an encrypted key, or a key that is not the
    /// certificate's. [`IdentityError`] says which of the two files it is about.
    pub fn from_pem_files(chain: impl AsRef<Path>, key: impl AsRef<Path>) -> io::Result<Self> {
        let (chain, key) = (chain.as_ref(), key.as_ref());
        let from = Source {
            chain: &chain.display().to_string(),
            key: &key.display().to_string(),
        };
        let chain = pem::read(chain).map_err(IdentityError::about_chain)?;
        let key = pem::read(key).map_err(IdentityError::about_key)?;
        Self::parse(&chain, &key, &from)
    }

    /// A chain and a key in PEM.
    ///
    /// # Errors
    /// `InvalidData`, as with [`from_pem_files`](Self::from_pem_files).
    pub fn from_pem(chain: &[u8], key: &[u8]) -> io::Result<Self> {
        let from = Source {
            chain: "the certificate chain",
            key: "the key",
        };
        Self::parse(chain, key, &from)
    }

    /// Makes a key and a certificate that signs itself, for `names`: host names and IP addresses.
    /// Nobody believes it who was not told its [`fingerprint`](Self::fingerprint).
    ///
    /// # Errors
    /// `InvalidInput` if a name cannot be in a certificate.
    pub fn self_signed<N: Into<String>>(names: impl IntoIterator<Item = N>) -> io::Result<Self> {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        let make = || {
            let mut params = CertificateParams::new(names.clone())?;
            params.distinguished_name = DistinguishedName::new();
            let name = names.first().map_or("underpass", String::as_str);
            params.distinguished_name.push(DnType::CommonName, name);
            let key = KeyPair::generate()?;
            Ok((params.self_signed(&key)?, key))
        };
        let (certificate, key) = make().map_err(|error: rcgen::Error| {
            let told = format!(
                "no certificate can be made for {}: {error}",
                names.join(", ")
            );
            io::Error::new(io::ErrorKind::InvalidInput, told)
        })?;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let from = Source {
            chain: "the certificate that was made",
            key: "its key",
        };
        Self::new(vec![certificate.der().clone()], key.into(), &from)
    }

    /// The host names in the certificate, in lower case; one may begin with `*.`.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// From when until when the certificate is valid. A server offers it at any time; it is the
    /// clients that refuse it.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// The fingerprint of the public key. It stays when the certificate is renewed with the same
    /// key.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    fn parse(chain: &[u8], key: &[u8], from: &Source<'_>) -> io::Result<Self> {
        let certificates =
            Sections::parse(from.chain, chain).and_then(|it| it.certificates(from.chain));
        let key = Sections::parse(from.key, key).and_then(|it| it.key(from.key));
        Self::new(
            certificates.map_err(IdentityError::about_chain)?,
            key.map_err(IdentityError::about_key)?,
            from,
        )
    }

    fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        from: &Source<'_>,
    ) -> io::Result<Self> {
        let parsed = EndEntityCert::try_from(&chain[0]).map_err(|error| {
            let how = format!("has no valid certificate ({error:?}): was it damaged?");
            IdentityError::about_chain(wrong(&from.chain, &how))
        })?;
        let names = parsed.valid_dns_names().map(str::to_ascii_lowercase);
        let names = names.collect();
        let fingerprint = Fingerprint::of_key(&parsed.subject_public_key_info());
        let validity = Validity::of(&parsed);
        let key = crypto::provider()
            .key_provider
            .load_private_key(key)
            .map_err(|error| {
                let how = format!("cannot be used: {error}; make an ECDSA, Ed25519 or RSA key");
                IdentityError::about_key(wrong(&from.key, &how))
            })?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            // A key that cannot tell is no reason to refuse it.
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(_) => {
                let how = format!(
                    "does not belong to the certificate of {}: give the key that it was made for",
                    from.chain
                );
                return Err(IdentityError::about_key(wrong(&from.key, &how)));
            }
        }
        Ok(Self {
            certified: Arc::new(certified),
            names,
            fingerprint,
            validity,
        })
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("names", &self.names)
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

/// What the two parts of an identity are called in errors.
struct Source<'a> {
    chain: &'a str,
    key: &'a str,
}

/// The SHA-256 of a public key (its SubjectPublicKeyInfo), written `sha256-` and 64 hexadecimal
/// digits.
///
/// ```
/// use underpass_tls::Fingerprint;
///
/// let text = format!("sha256-{}", "5a".repeat(32));
/// let fingerprint: Fingerprint = text.parse()?;
/// assert_eq!(fingerprint.to_string(), text);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of a certificate's key.
    ///
    /// # Errors
    /// `InvalidData` if it is no certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> io::Result<Self> {
        let parsed = EndEntityCert::try_from(certificate)
            .map_err(|error| wrong(&"the certificate", &format!("is not valid: {error:?}")))?;
        Ok(Self::of_key(&parsed.subject_public_key_info()))
    }

    fn of_key(info: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, info).as_ref());
        Self(bytes)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256-")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = io::Error;

    /// # Errors
    /// `InvalidInput` if it is not `sha256-` and 64 hexadecimal digits.
    fn from_str(text: &str) -> io::Result<Self> {
        let parse = || {
            let digits = text.strip_prefix("sha256-")?.as_bytes();
            let mut bytes = [0; 32];
            if digits.len() != 2 * bytes.len() {
                return None;
            }
            for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
                let digit = |at: usize| char::from(pair[at]).to_digit(16);
                *byte = (digit(0)? * 16 + digit(1)?) as u8;
            }
            Some(Self(bytes))
        };
        parse().ok_or_else(|| {
            let told = format!("{text:?} is no fingerprint: expected sha256- and 64 hex digits");
            io::Error::new(io::ErrorKind::InvalidInput, told)
        })
    }
}
