//! A store that speaks TLS, with a certificate of an authority that nobody knows.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// The certificate of a store, for 127.0.0.1.
#[derive(Debug)]
pub(super) struct Tls {
    config: Arc<ServerConfig>,
    /// The certificate of the authority that signed it, in PEM.
    pub(super) authority: String,
}

impl Tls {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::default();
        let name = "the authority of a test's store";
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        Self {
            config: Arc::new(config),
            authority: issuer.pem(),
        }
    }

    /// A connection whose handshake is made when it is first used.
    pub(super) fn accept(
        &self,
        stream: &TcpStream,
    ) -> io::Result<StreamOwned<ServerConnection, TcpStream>> {
        let connection = ServerConnection::new(Arc::clone(&self.config));
        let connection = connection.map_err(io::Error::other)?;
        Ok(StreamOwned::new(connection, stream.try_clone()?))
    }
}
