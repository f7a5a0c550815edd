//! tower-http's `ServeDir` under axum, as its users run it, on one thread and with `TCP_NODELAY`.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::serve::{Listener, ListenerExt};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower_http::services::ServeDir;

use crate::error::{Context, Result};

/// Serves until it is killed: over TLS if `tls` has a certificate and its key.
pub(crate) fn serve(dir: &Path, addr: SocketAddr, tls: &[PathBuf]) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context(|| "cannot start a runtime".into())?;
    let app = Router::new().fallback_service(ServeDir::new(dir));
    let acceptor = match tls {
        [certificate, key] => Some(acceptor(certificate, key)?),
        _ => None,
    };
    runtime
        .block_on(async {
            let tcp = TcpListener::bind(addr).await?;
            match acceptor {
                None => axum::serve(tcp.tap_io(no_delay), app).await,
                Some(acceptor) => axum::serve(TlsListener { tcp, acceptor }, app).await,
            }
        })
        .context(|| format!("cannot serve on {addr}"))
}

fn no_delay(connection: &mut TcpStream) {
    // This fails only if the connection is gone already.
    let _ = connection.set_nodelay(true);
}

fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor> {
    let failed = || "cannot read the certificate and its key".to_owned();
    let chain = CertificateDer::pem_file_iter(certificate).context(failed)?;
    let chain = chain.collect::<std::result::Result<Vec<_>, _>>();
    let key = PrivateKeyDer::from_pem_file(key).context(failed)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            let chain = chain.map_err(|error| rustls::Error::General(error.to_string()))?;
            builder.with_no_client_auth().with_single_cert(chain, key)
        })
        .context(|| "cannot use the certificate and its key".into())?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Handshakes one after the other: the load opens its connections before it measures.
struct TlsListener {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let (mut socket, peer) = Listener::accept(&mut self.tcp).await;
            no_delay(&mut socket);
            // A client that breaks off its handshake is not served.
            if let Ok(stream) = self.acceptor.accept(socket).await {
                return (stream, peer);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}
