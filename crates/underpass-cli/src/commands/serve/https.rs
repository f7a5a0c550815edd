//! HTTPS: the certificates, and the service that adds TLS to HTTP.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;
use underpass::accept::Listener;
use underpass_http::HttpSocket;
use underpass_tls::{Identity, ServerConfig, TlsListener, TlsStats};

use super::service::{HttpHandler, HttpService};
use crate::args::HttpsArgs;
use crate::exit::Failure;
use crate::server::{Listeners, ReloadAction, Service, ServiceFuture};

/// What all connections share.
#[derive(Clone)]
pub(super) struct Https {
    config: ServerConfig,
    pub(super) stats: Arc<TlsStats>,
}

impl Https {
    /// Reads the certificates, if the arguments ask for HTTPS. Returns the action that reads them
    /// again, too.
    pub(super) fn start(args: &HttpsArgs) -> Result<Option<(Self, ReloadAction)>, Failure> {
        let files = CertificateFiles::of(args)?;
        if files.0.is_empty() {
            return without_tls(args).map(|()| None);
        }
        let identities = files.read().map_err(Failure::failed)?;
        let config = ServerConfig::new(identities)
            .map_err(|error| Failure::failed(format_args!("TLS cannot start: {error}")))?
            .ktls(!args.no_ktls)
            .alpn(["http/1.1"]);
        let renewal = renewal(files, config.clone());
        let stats = Arc::default();
        Ok(Some((Self { config, stats }, renewal)))
    }

    /// Refuses sockets that TLS is not served on.
    pub(super) fn check(listeners: &Listeners) -> Result<(), Failure> {
        let mut sockets = listeners.sockets.iter();
        if sockets.all(|socket| socket.ip_address().is_some()) {
            return Ok(());
        }
        Err(Failure::usage(
            "HTTPS is served on TCP addresses, not on Unix sockets, whose clients are on this machine: start another \
             serve for those, without --tls-cert",
        ))
    }
}

/// Refuses options that mean nothing without TLS.
fn without_tls(args: &HttpsArgs) -> Result<(), Failure> {
    let given = [("--no-ktls", args.no_ktls)];
    match given.into_iter().find(|(_, given)| *given) {
        Some((option, _)) => Err(Failure::usage(format_args!(
            "{option} is for HTTPS, and needs --tls-cert and --tls-key"
        ))),
        None => Ok(()),
    }
}

/// The certificates and their keys, as files.
struct CertificateFiles(Vec<(PathBuf, PathBuf)>);

impl CertificateFiles {
    fn of(args: &HttpsArgs) -> Result<Self, Failure> {
        let (certificates, keys) = (&args.tls_cert, &args.tls_key);
        if certificates.len() != keys.len() {
            return Err(Failure::usage(match (certificates.len(), keys.len()) {
                (_, 0) => {
                    "--tls-cert needs its private key: --tls-key FILE (one file may hold both)"
                        .to_owned()
                }
                (0, _) => {
                    "--tls-key needs its certificate: --tls-cert FILE (one file may hold both)"
                        .to_owned()
                }
                (certificates, keys) => format!(
                    "{certificates} --tls-cert and {keys} --tls-key: each certificate needs its key, in the same order"
                ),
            }));
        }
        Ok(Self(
            certificates
                .iter()
                .cloned()
                .zip(keys.iter().cloned())
                .collect(),
        ))
    }

    fn read(&self) -> std::io::Result<Vec<Identity>> {
        let files = self.0.iter();
        files
            .map(|(certificate, key)| Identity::from_pem_files(certificate, key))
            .collect()
    }
}

/// The action that reads the files again. If one of them is wrong, the old certificates stay.
fn renewal(files: CertificateFiles, config: ServerConfig) -> ReloadAction {
    Box::new(move || {
        files
            .read()
            .and_then(|identities| config.replace_identities(identities))
            .map_err(|error| format!("{error}; the previous certificates stay in use"))?;
        Ok("certificates and keys are read again".to_owned())
    })
}

/// The HTTP service behind TLS.
#[derive(Clone)]
pub(super) struct HttpsService<A> {
    pub(super) http: HttpService<A>,
    pub(super) https: Https,
}

impl<A: HttpHandler> Service for HttpsService<A> {
    /// Without TLS nothing is answered: [`Https::check`] has refused such sockets.
    fn serve(
        &self,
        _: impl Listener<Socket: HttpSocket>,
        _: usize,
        _: impl Future<Output = ()> + Send + 'static,
    ) -> ServiceFuture {
        Box::pin(async { Err(std::io::ErrorKind::Unsupported.into()) })
    }

    fn serve_tcp(
        &self,
        listener: TcpListener,
        connections: usize,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> ServiceFuture {
        let listener = TlsListener::new(listener, self.https.config.clone())
            .stats(Arc::clone(&self.https.stats));
        self.http.answer(listener, connections, stop)
    }
}
