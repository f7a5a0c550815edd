//! TLS below HTTP: our listener, and clients of rustls.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, LazyLock};

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tokio::net::TcpListener;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use underpass_tls::{Identity, ServerConfig, TlsListener};

pub(crate) const SCHEME: &str = "https";

/// What curl is told besides. Whether it checks the certificate is for other tests.
pub(crate) fn curl_options(_: &[&str]) -> &'static [&'static str] {
    if crate::TRANSPORT.is_http2() {
        &["--insecure", "--http2"]
    } else {
        &["--insecure", "--http1.1"]
    }
}

/// What the server accepts from.
pub(crate) type Listener = TlsListener;

/// The key and the certificate of all tests, as PEM.
struct Made {
    identity: Identity,
    certificate: CertificateDer<'static>,
}

static MADE: LazyLock<Made> = LazyLock::new(|| {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    Made {
        identity: Identity::from_pem(chain.as_bytes(), key.as_bytes()).unwrap(),
        certificate: made.cert.der().clone(),
    }
});

pub(crate) fn listener(tcp: TcpListener) -> Listener {
    let config = ServerConfig::new([MADE.identity.clone()]).unwrap();
    TlsListener::new(tcp, config)
}

/// A blocking connection of a client.
pub(crate) struct Stream(StreamOwned<ClientConnection, TcpStream>);

/// A connection on which the client speaks HTTP/1.1.
pub(crate) fn stream(tcp: TcpStream) -> Stream {
    let name = ServerName::try_from("localhost").unwrap();
    let mut connection = ClientConnection::new(config(b"http/1.1"), name).unwrap();
    let mut socket = tcp;
    while connection.is_handshaking() {
        connection.complete_io(&mut socket).unwrap();
    }
    assert_eq!(connection.alpn_protocol(), Some(&b"http/1.1"[..]));
    Stream(StreamOwned::new(connection, socket))
}

impl Stream {
    /// Ends the sending side, after telling the peer.
    pub(crate) fn shutdown(&mut self, how: Shutdown) -> io::Result<()> {
        self.0.conn.send_close_notify();
        self.0.flush()?;
        self.0.sock.shutdown(how)
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.read(bytes)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.sock.as_fd()
    }
}

/// A connection on which the client speaks HTTP/2.
pub(crate) async fn connect(address: SocketAddr) -> io::Result<TlsStream<tokio::net::TcpStream>> {
    let tcp = tokio::net::TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(config(b"h2")).connect(name, tcp).await?;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    Ok(stream)
}

/// A client that speaks one protocol, and trusts the certificate.
fn config(protocol: &[u8]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(MADE.certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    Arc::new(config)
}
