//! The client's side of TLS: a certificate for whoever is measured, and connections that trust
//! nothing else. TLS 1.3 with AES-128-GCM and X25519 only, so that all do the same work.

mod records;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, NamedGroup, RootCertStore,
    SignatureScheme, StreamOwned, version,
};
use tempfile::TempDir;

use crate::contender::Places;
use crate::error::{Context, Result};

pub(crate) use self::records::Records;

/// Whom the certificate is for.
pub(crate) const NAME: &str = "localhost";
const CERTIFICATE: &str = "certificate.pem";
/// HAProxy looks for the key here, and nowhere else.
const KEY: &str = "certificate.pem.key";

/// A certificate (ECDSA P-256) with its key in files, and what a client needs to talk to its owner.
#[derive(Debug)]
pub(crate) struct Tls {
    dir: TempDir,
    /// Checks the certificate and that the server owns it.
    checking: Arc<ClientConfig>,
    /// Compares the certificate's bytes only: the load is not to be the limit, and in the round
    /// that is not counted everything was checked.
    trusting: Arc<ClientConfig>,
}

impl Tls {
    pub(crate) fn new() -> Result<Self> {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]);
        let made = made.context(|| "cannot make a certificate".into())?;
        let dir = tempfile::tempdir().context(|| "cannot make a directory".into())?;
        fs::write(dir.path().join(CERTIFICATE), made.cert.pem())
            .and_then(|()| fs::write(dir.path().join(KEY), made.signing_key.serialize_pem()))
            .context(|| "cannot write a certificate".into())?;
        let certificate = made.cert.der().clone();
        Ok(Self {
            dir,
            checking: Arc::new(checking(certificate.clone())?),
            trusting: Arc::new(trusting(certificate)?),
        })
    }

    /// Where a server finds its certificate and key.
    pub(crate) fn places(&self) -> Places {
        let path = |name: &str| self.dir.path().join(name);
        Places::default()
            .with("CERT", &path(CERTIFICATE).display())
            .with("KEY", &path(KEY).display())
    }

    /// A connection whose every step is checked, as a client makes it. The socket blocks.
    pub(crate) fn stream(&self, socket: TcpStream) -> Result<impl Read + Write + use<>> {
        Ok(StreamOwned::new(connection(&self.checking)?, socket))
    }

    /// Does the handshake on a socket that blocks, and leaves its records to the load.
    pub(crate) fn records(&self, mut socket: &TcpStream) -> Result<Records> {
        let mut tls = connection(&self.checking)?;
        let mut record = Vec::new();
        let failed = || "the TLS handshake failed".to_owned();
        while tls.is_handshaking() || tls.wants_write() {
            while tls.wants_write() {
                tls.write_tls(&mut socket).context(failed)?;
            }
            if tls.is_handshaking() {
                // One by one: what comes behind the handshake is no longer for rustls.
                read_record(socket, &mut record).context(failed)?;
                tls.read_tls(&mut &record[..]).context(failed)?;
                tls.process_new_packets().context(failed)?;
            }
        }
        let secrets = tls.dangerous_extract_secrets();
        Records::new(secrets.context(|| "rustls keeps its secrets".into())?)
    }

    /// For handshakes that are all full.
    pub(crate) fn full(&self) -> Handshakes {
        Handshakes(Arc::clone(&self.trusting))
    }

    /// For full handshakes that gather tickets, and for those that resume with them, each ticket
    /// once. Some servers send none when a session is resumed (h2o, lighttpd), so the others must
    /// have gathered enough.
    pub(crate) fn resumed(&self) -> (Handshakes, Handshakes) {
        let tickets = Arc::default();
        let with_tickets = |gives| {
            let store = Tickets {
                kept: Arc::clone(&tickets),
                gives,
            };
            let mut config = ClientConfig::clone(&self.trusting);
            config.resumption = Resumption::store(Arc::new(store));
            Handshakes(Arc::new(config))
        };
        (with_tickets(false), with_tickets(true))
    }
}

/// How connections of the load do their handshakes.
pub(crate) struct Handshakes(Arc<ClientConfig>);

impl Handshakes {
    pub(crate) fn begin(&self) -> Result<ClientConnection> {
        connection(&self.0)
    }
}

/// Tickets of all connections, the newest last.
#[derive(Debug)]
struct Tickets {
    kept: Arc<Mutex<Vec<Tls13ClientSessionValue>>>,
    gives: bool,
}

impl Tickets {
    fn kept(&self) -> MutexGuard<'_, Vec<Tls13ClientSessionValue>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientSessionStore for Tickets {
    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.kept().push(ticket);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.gives.then(|| self.kept().pop()).flatten()
    }

    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}
}

fn connection(config: &Arc<ClientConfig>) -> Result<ClientConnection> {
    let name = ServerName::try_from(NAME).context(|| "a wrong name".into())?;
    ClientConnection::new(Arc::clone(config), name).context(|| "cannot begin with TLS".into())
}

fn read_record(mut socket: &TcpStream, record: &mut Vec<u8>) -> Result<()> {
    let mut head = [0; records::HEAD];
    let broke_off = || "the server broke off".to_owned();
    socket.read_exact(&mut head).context(broke_off)?;
    record.clear();
    record.extend_from_slice(&head);
    record.resize(head.len() + records::length(head)?, 0);
    let rest = &mut record[head.len()..];
    socket.read_exact(rest).context(broke_off)
}

fn checking(certificate: CertificateDer<'static>) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let added = roots.add(certificate);
    added.context(|| "a certificate that cannot be trusted".into())?;
    Ok(configured(
        builder()?
            .with_root_certificates(roots)
            .with_no_client_auth(),
    ))
}

fn trusting(certificate: CertificateDer<'static>) -> Result<ClientConfig> {
    let verifier = Arc::new(Known(certificate));
    let builder = builder()?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    Ok(configured(builder.with_no_client_auth()))
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>> {
    let provider = CryptoProvider {
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![aws_lc_rs::kx_group::X25519],
        ..aws_lc_rs::default_provider()
    };
    ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&version::TLS13])
        .context(|| "rustls has no TLS 1.3".into())
}

fn configured(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_secret_extraction = true;
    config
}

/// Trusts who shows this certificate, without asking for a proof that it is his.
#[derive(Debug)]
struct Known(CertificateDer<'static>);

impl ServerCertVerifier for Known {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        if *end_entity == self.0 {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::General("another certificate".to_owned()))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not wanted".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::{SocketAddr, TcpListener};
    use std::thread;

    use rustls::pki_types::PrivateKeyDer;
    use rustls::pki_types::pem::PemObject;
    use rustls::{ServerConfig, ServerConnection, Stream};

    use super::*;

    /// Answers each request of one connection with these bytes. `spoil` changes what goes onto the
    /// wire.
    pub(crate) fn server(
        tls: &Tls,
        answer: Vec<u8>,
        spoil: impl FnMut(&mut [u8]) + Send + 'static,
    ) -> SocketAddr {
        let key = PrivateKeyDer::from_pem_file(tls.dir.path().join(KEY)).unwrap();
        let certificate = CertificateDer::from_pem_file(tls.dir.path().join(CERTIFICATE)).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (socket, _) = listener.accept().unwrap();
            let mut wire = Wire { socket, spoil };
            let mut tls = ServerConnection::new(Arc::new(config)).unwrap();
            let mut stream = Stream::new(&mut tls, &mut wire);
            while stream.read(&mut [0; 4096]).is_ok_and(|got| got > 0) {
                if stream.write_all(&answer).is_err() {
                    return;
                }
            }
        });
        addr
    }

    struct Wire<F> {
        socket: TcpStream,
        spoil: F,
    }

    impl<F> Read for Wire<F> {
        fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
            self.socket.read(bytes)
        }
    }

    impl<F: FnMut(&mut [u8])> Write for Wire<F> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let mut bytes = bytes.to_vec();
            (self.spoil)(&mut bytes);
            self.socket.write_all(&bytes)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn another_certificate_is_refused() {
        let (ours, theirs) = (Tls::new().unwrap(), Tls::new().unwrap());
        let addr = server(&theirs, Vec::new(), |_| {});
        let socket = TcpStream::connect(addr).unwrap();
        let error = ours.records(&socket).err().unwrap().to_string();
        assert!(error.starts_with("the TLS handshake failed: "), "{error}");
    }
}
