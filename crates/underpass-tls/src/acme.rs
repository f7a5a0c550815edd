//! TLS-ALPN-01 (RFC 8737): how a server shows an ACME server that a name leads to it.
//!
//! The ACME server offers `acme-tls/1` and nothing else, and asks for the name. It gets a
//! certificate that signs itself and contains the digest of the challenge's key authorization.
//! Nothing is said on such a connection after the handshake.

use std::fmt;
use std::io;
use std::sync::Arc;

use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::server::ClientHello;
use rustls::sign::CertifiedKey;

use crate::crypto::{self, digest};

/// The application protocol of a connection that only checks a challenge.
pub(crate) const ACME_TLS: &[u8] = b"acme-tls/1";

/// Finds the key authorization for a name whose challenge is pending.
pub(crate) struct Challenges(Box<FindAuthorization>);

type FindAuthorization = dyn Fn(&str) -> Option<String> + Send + Sync;

impl Challenges {
    pub(crate) fn new(find: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Box::new(find))
    }

    /// The certificate for the name that an ACME server asks for.
    pub(crate) fn certificate(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let name = name.to_ascii_lowercase();
        let authorization = (self.0)(&name)?;
        challenge_certificate(&name, &authorization).ok()
    }
}

impl fmt::Debug for Challenges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenges").finish_non_exhaustive()
    }
}

/// Whether a client wants to check a challenge: RFC 8737 lets it offer no other protocol then.
pub(crate) fn is_challenge(hello: &ClientHello<'_>) -> bool {
    let Some(mut offered) = hello.alpn() else {
        return false;
    };
    offered.next() == Some(ACME_TLS) && offered.next().is_none()
}

/// This cannot be an `Identity`: webpki refuses its critical extension, as RFC 8737 wants it of
/// everybody but the ACME server.
fn challenge_certificate(name: &str, authorization: &str) -> io::Result<Arc<CertifiedKey>> {
    let make = || {
        let mut params = CertificateParams::new([name.to_owned()])?;
        params.distinguished_name = DistinguishedName::new();
        let digest = digest::digest(&digest::SHA256, authorization.as_bytes());
        let extension = CustomExtension::new_acme_identifier(digest.as_ref());
        params.custom_extensions = vec![extension];
        let key = KeyPair::generate()?;
        Ok((params.self_signed(&key)?, key))
    };
    let (certificate, key) = make().map_err(|error: rcgen::Error| io::Error::other(error))?;
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let key = crypto::provider().key_provider.load_private_key(key.into());
    let key = key.map_err(io::Error::other)?;
    let chain = vec![certificate.der().clone()];
    Ok(Arc::new(CertifiedKey::new(chain, key)))
}
