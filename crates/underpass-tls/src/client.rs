//! Whom a client believes, and who it is.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::crypto;
use crate::identity::{Fingerprint, Identity};
use crate::server::read_roots;

/// Whom a client believes, and who it is. Clones share everything, the sessions that can be resumed
/// too.
///
/// ```
/// use underpass_tls::ClientConfig;
///
/// let config = ClientConfig::system_roots()?.alpn(["http/1.1"]);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ClientConfig {
    pub(crate) rustls: Arc<rustls::ClientConfig>,
    pub(crate) ktls: bool,
}

impl ClientConfig {
    /// Believes the authorities that the system believes; the environment variables
    /// `SSL_CERT_FILE` and `SSL_CERT_DIR` name others.
    ///
    /// # Errors
    /// `NotFound` if there are none.
    pub fn system_roots() -> io::Result<Self> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        // Stores contain certificates that cannot be parsed. Those are left out.
        let (valid, _) = roots.add_parsable_certificates(found.certs);
        if valid == 0 {
            let why = found.errors.first().map(|error| format!(": {error}"));
            let told = format!(
                "the system has no certificate authorities (ca-certificates){}",
                why.unwrap_or_default()
            );
            return Err(io::Error::new(io::ErrorKind::NotFound, told));
        }
        Self::believing(roots)
    }

    /// Believes only the authorities in this PEM file.
    ///
    /// # Errors
    /// Those of reading; `InvalidData` if there is no certificate in it.
    pub fn ca_file(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::believing(read_roots(path.as_ref())?)
    }

    /// Believes the server whose key has this fingerprint, whatever its certificate says, and no
    /// other.
    ///
    /// # Errors
    /// None is known.
    pub fn pinned(fingerprint: Fingerprint) -> io::Result<Self> {
        let provider = crypto::provider();
        let verifier = PinnedVerifier {
            fingerprint,
            algorithms: provider.signature_verification_algorithms,
        };
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?;
        let rustls = builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Ok(Self::from_rustls(rustls))
    }

    fn believing(roots: RootCertStore) -> io::Result<Self> {
        let builder = rustls::ClientConfig::builder_with_provider(crypto::provider())
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?;
        let rustls = builder.with_root_certificates(roots).with_no_client_auth();
        Ok(Self::from_rustls(rustls))
    }

    fn from_rustls(mut rustls: rustls::ClientConfig) -> Self {
        rustls.enable_secret_extraction = true;
        Self {
            rustls: Arc::new(rustls),
            ktls: true,
        }
    }

    /// Shows this certificate to servers that ask for one.
    pub fn identity(self, identity: &Identity) -> Self {
        let identity = OwnIdentity(Arc::clone(&identity.certified));
        self.change(|config| config.client_auth_cert_resolver = Arc::new(identity))
    }

    /// The application protocols to offer, the preferred one first.
    pub fn alpn<P: AsRef<[u8]>>(self, protocols: impl IntoIterator<Item = P>) -> Self {
        let protocols = protocols.into_iter().map(|it| it.as_ref().to_vec());
        let protocols = protocols.collect();
        self.change(|config| config.alpn_protocols = protocols)
    }

    /// Whether records are sealed by the kernel, where it can. Default: true.
    pub fn ktls(mut self, wanted: bool) -> Self {
        self.ktls = wanted;
        self
    }

    /// Whether sessions are resumed. Default: true.
    pub fn resumption(self, wanted: bool) -> Self {
        let resumption = if wanted {
            Resumption::default()
        } else {
            Resumption::disabled()
        };
        self.change(|config| config.resumption = resumption)
    }

    fn change(mut self, change: impl FnOnce(&mut rustls::ClientConfig)) -> Self {
        change(Arc::make_mut(&mut self.rustls));
        self
    }
}

/// Shows the same certificate to every server.
#[derive(Debug)]
struct OwnIdentity(Arc<CertifiedKey>);

impl ResolvesClientCert for OwnIdentity {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.key.choose_scheme(schemes)?;
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Accepts a certificate only if it has one particular key.
#[derive(Debug)]
struct PinnedVerifier {
    fingerprint: Fingerprint,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for PinnedVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match Fingerprint::of(certificate) {
            Ok(found) if found == self.fingerprint => Ok(ServerCertVerified::assertion()),
            Ok(_) => Err(CertificateError::ApplicationVerificationFailure.into()),
            Err(_) => Err(CertificateError::BadEncoding.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
