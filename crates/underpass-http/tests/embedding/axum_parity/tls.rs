//! TLS by hand: a listener of one's own with tokio-rustls, under both servers. One application has
//! both versions of HTTP, files and WebSockets.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Method, Version};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};
use tokio_tungstenite::client_async;
use underpass_http::{HttpSocket, Listener, serve};

use super::http2::{app, ask, echoes, http2, request, websocket_in};
use crate::support::{Files, MIB, Server, block_on, bound, bytes, from_std};

const HTTP_2: &[u8] = b"h2";
const HTTP_11: &[u8] = b"http/1.1";

/// The type of the connections has to be one of the application's own.
struct Encrypted(server::TlsStream<TcpStream>);

impl HttpSocket for Encrypted {
    fn agreed_version(&self) -> Option<Version> {
        Some(match self.0.get_ref().1.alpn_protocol() {
            Some(HTTP_2) => Version::HTTP_2,
            _ => Version::HTTP_11,
        })
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

struct EncryptedListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for EncryptedListener {
    type Io = Encrypted;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Encrypted, SocketAddr) {
        loop {
            let (socket, peer) = self.listener.accept().await.unwrap();
            if let Ok(socket) = self.acceptor.accept(socket).await {
                return (Encrypted(socket), peer);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Listener for EncryptedListener {
    type Socket = Encrypted;
    type Opening = Pin<Box<dyn Future<Output = io::Result<Encrypted>> + Send>>;

    async fn accept(&mut self) -> io::Result<Self::Opening> {
        let (socket, _) = self.listener.accept().await?;
        let handshake = self.acceptor.accept(socket);
        Ok(Box::pin(async { Ok(Encrypted(handshake.await?)) }))
    }
}

/// Chosen by hand, because rustls has two when all crates of the workspace are built together.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The two ends of a configuration with one certificate.
fn configurations() -> (TlsAcceptor, CertificateDer<'static>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let parameters = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = parameters.self_signed(&key).unwrap().der().clone();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let mut server = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    server.alpn_protocols = vec![HTTP_2.to_vec(), HTTP_11.to_vec()];
    (TlsAcceptor::from(Arc::new(server)), certificate)
}

/// A client that offers one protocol.
async fn connect(
    address: SocketAddr,
    certificate: &CertificateDer<'static>,
    protocol: &[u8],
) -> client::TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let socket = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let socket = connector.connect(name, socket).await.unwrap();
    assert_eq!(socket.get_ref().1.alpn_protocol(), Some(protocol));
    socket
}

#[test]
fn one_application_has_tls_http2_and_websockets() {
    let content = bytes(MIB + 1);
    let files = Files::new().with("file", &content);
    let (acceptor, certificate) = configurations();
    let listen = move |listener| EncryptedListener {
        listener,
        acceptor: acceptor.clone(),
    };
    let (theirs, ours) = (listen.clone(), listen);
    for (name, server) in both!(app(files.root()), |it| theirs(it), |it| ours(it)) {
        let connect = |protocol| connect(server.address, &certificate, protocol);
        block_on(async {
            let mut client = http2(connect(HTTP_2).await).await;
            let version = request(Method::GET, "/version", "");
            assert_eq!(ask(&mut client, version).await, "HTTP/2.0", "{name}");
            let file = request(Method::GET, "/file", "");
            assert!(ask(&mut client, file.clone()).await == content, "{name}");
            let mut socket = websocket_in(&mut client).await;
            echoes(&mut socket).await;
            assert!(ask(&mut client, file).await == content, "{name}");
            // The same in HTTP/1.1.
            let (mut socket, _) = client_async("ws://localhost/echo", connect(HTTP_11).await)
                .await
                .unwrap();
            echoes(&mut socket).await;
        });
        if name == "serve" {
            assert_eq!(server.stats.http2_connections.get(), 1);
            assert_eq!(server.stats.bytes_sendfile.get(), 0);
        }
    }
}
