//! The other end: rustls with its own buffers, over a socket that blocks.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, Connection, DigitallySignedStruct, ServerConfig,
    ServerConnection, SignatureScheme, SupportedCipherSuite,
};

/// One end of a connection.
pub(crate) struct Peer {
    pub(crate) connection: Connection,
    pub(crate) socket: TcpStream,
}

fn provider(suite: Option<SupportedCipherSuite>) -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    if let Some(suite) = suite {
        provider.cipher_suites = vec![suite];
    }
    provider.into()
}

/// What a client of rustls needs; it believes everybody.
pub(crate) fn client_config(suite: Option<SupportedCipherSuite>) -> ClientConfig {
    ClientConfig::builder_with_provider(provider(suite))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(BelievesAll))
        .with_no_client_auth()
}

/// What a server of rustls needs.
pub(crate) fn server_config(suite: Option<SupportedCipherSuite>) -> Arc<ServerConfig> {
    let (chain, key) = certified();
    let mut config = ServerConfig::builder_with_provider(provider(suite))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().unwrap();
    Arc::new(config)
}

impl Peer {
    /// A client, with its handshake complete.
    pub(crate) fn client(socket: TcpStream, suite: Option<SupportedCipherSuite>) -> Self {
        Self::with(socket, client_config(suite), "localhost").unwrap()
    }

    pub(crate) fn with(
        mut socket: TcpStream,
        config: impl Into<Arc<ClientConfig>>,
        name: &str,
    ) -> io::Result<Self> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connection = ClientConnection::new(config.into(), name).unwrap();
        let mut connection = Connection::from(connection);
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        Ok(Self { connection, socket })
    }

    /// A client that has said nothing yet.
    pub(crate) fn without_handshake(
        socket: TcpStream,
        suite: Option<SupportedCipherSuite>,
    ) -> Self {
        let name = ServerName::try_from("localhost").unwrap();
        let config = Arc::new(client_config(suite));
        let connection = ClientConnection::new(config, name).unwrap().into();
        Self { connection, socket }
    }

    /// A server, with its handshake complete.
    pub(crate) fn server(socket: TcpStream, suite: Option<SupportedCipherSuite>) -> Self {
        Self::serve(socket, server_config(suite))
    }

    pub(crate) fn serve(mut socket: TcpStream, config: Arc<ServerConfig>) -> Self {
        let connection = ServerConnection::new(config).unwrap();
        let mut connection = Connection::from(connection);
        while connection.is_handshaking() || connection.wants_write() {
            connection.complete_io(&mut socket).unwrap();
        }
        Self { connection, socket }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.connection.set_buffer_limit(None);
        self.connection.writer().write_all(bytes).unwrap();
        self.flush();
    }

    /// 0 is the end; a stream that was cut is an error.
    pub(crate) fn receive(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.connection.reader().read(out) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.connection.read_tls(&mut self.socket)?;
                    let processed = self.connection.process_new_packets();
                    self.flush();
                    processed.map_err(io::Error::other)?;
                }
                read => return read,
            }
        }
    }

    /// Everything to the end of the stream; the error if it was cut.
    pub(crate) fn receive_all(&mut self) -> io::Result<Vec<u8>> {
        let (mut all, mut part) = (Vec::new(), [0; 16 << 10]);
        loop {
            match self.receive(&mut part)? {
                0 => return Ok(all),
                count => all.extend_from_slice(&part[..count]),
            }
        }
    }

    pub(crate) fn expect(&mut self, wanted: &[u8]) {
        let mut got = vec![0; wanted.len()];
        let mut filled = 0;
        while filled < got.len() {
            let count = self.receive(&mut got[filled..]).unwrap();
            assert!(count > 0, "the stream ended after {filled} bytes");
            filled += count;
        }
        assert!(got == wanted, "{} bytes are not as sent", wanted.len());
    }

    /// Says that it ends, and shuts the sending side down.
    pub(crate) fn close(&mut self) {
        self.connection.send_close_notify();
        self.flush();
        self.socket.shutdown(Shutdown::Write).unwrap();
    }

    /// Asks for new keys: sends a KeyUpdate that wants one in return.
    pub(crate) fn update_keys(&mut self) {
        self.connection.refresh_traffic_keys().unwrap();
        self.flush();
    }

    /// The records that rustls wants to send.
    pub(crate) fn records(&mut self) -> Vec<u8> {
        let mut records = Vec::new();
        while self.connection.wants_write() {
            self.connection.write_tls(&mut records).unwrap();
        }
        records
    }

    pub(crate) fn flush(&mut self) {
        let records = self.records();
        // The other end may be gone already: whoever expects it to be there finds out by reading.
        let _ = self.socket.write_all(&records);
    }
}

fn certified() -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let key = PrivatePkcs8KeyDer::from(super::KEY.serialize_der());
    (vec![super::CERTIFICATE.der().clone()], key.into())
}

#[derive(Debug)]
struct BelievesAll;

impl ServerCertVerifier for BelievesAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider(None)
            .signature_verification_algorithms
            .supported_schemes()
    }
}
