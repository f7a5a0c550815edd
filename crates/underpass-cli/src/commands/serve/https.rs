//! HTTPS: what it is made of at the start, and the service that adds TLS to HTTP.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use http::HeaderValue;
use tokio::net::TcpListener;
use underpass::accept::Listener;
use underpass_http::HttpSocket;
use underpass_tls::{ServerConfig, TlsListener, TlsStats, TlsVersion};

use super::acme::Acme;
use super::service::{HttpHandler, HttpService};
use crate::args::HttpsArgs;
use crate::exit::Failure;
use crate::report;
use crate::server::{self, Listeners, Service, ServiceFuture, Watch};
use crate::values::{Address, MinTlsVersion};

mod certificates;
mod redirect;

use certificates::Certificates;
pub(super) use redirect::Redirect;

/// The most handshakes in progress for each thread and address; half of the connections, if those
/// are fewer. Each takes some ten KiB, and is done within a few round trips.
const HANDSHAKES: usize = 1024;

/// What all connections share.
#[derive(Clone)]
pub(super) struct Https {
    config: ServerConfig,
    pub(super) stats: Arc<TlsStats>,
    pub(super) hsts: Option<HeaderValue>,
    /// The port that plain HTTP is redirected to.
    pub(super) port: u16,
    /// The addresses of `--redirect-http`.
    redirects: Vec<SocketAddr>,
    oldest: TlsVersion,
    /// What people need to know before they connect.
    pub(super) notes: Vec<String>,
    /// Gets certificates while the server runs.
    pub(super) acme: Option<Acme>,
}

impl Https {
    /// Reads the certificates, and listens at the address of redirects. Returns what reads the
    /// certificates again, too. `None` without HTTPS.
    pub(super) fn start(
        args: &HttpsArgs,
        with_http2: bool,
        listeners: &mut Listeners,
    ) -> Result<Option<(Self, Option<Watch>)>, Failure> {
        if !args.is_wanted() {
            return without_tls(args).map(|()| None);
        }
        let port = https_port(listeners)?;
        let certificates = Certificates::of(args)?;
        let watched = certificates.watched();
        let acme = Acme::open(&args.acme, args.redirect_http.is_some())?;
        let (configured, notes) = if let Some(acme) = &acme {
            (acme.server_config(), acme.notes())
        } else {
            let identities = certificates.identities(&listeners.sockets)?;
            let notes = certificates.notes(&identities);
            (ServerConfig::new(identities), notes)
        };
        let oldest = oldest(args);
        let configured = configured
            .and_then(|config| config.min_version(oldest))
            .map_err(|error| Failure::failed(format_args!("TLS cannot start: {error}")))?;
        let protocols: &[_] = if with_http2 {
            &["h2", "http/1.1"]
        } else {
            &["http/1.1"]
        };
        let mut config = configured.ktls(!args.no_ktls).alpn(protocols);
        if let Some(file) = &args.tls_client_ca {
            config = config
                .client_ca_file(file)
                .map_err(|error| Failure::failed(certificates::client_ca_failed(&error)))?;
        }
        let redirects = args.redirect_http.as_ref();
        let redirects = redirects.map(|address| redirected(address, listeners));
        let watch = certificates.renewal(config.clone());
        let https = Self {
            config,
            stats: Arc::default(),
            hsts: args.hsts.map(hsts),
            port,
            redirects: redirects.transpose()?.unwrap_or_default(),
            oldest,
            notes,
            acme,
        };
        Ok(Some((
            https,
            watch.map(|action| Watch::new(watched, action)),
        )))
    }

    /// Checks the options, and the files that they name.
    pub(super) fn check(args: &HttpsArgs) -> Result<(), Failure> {
        if !args.is_wanted() {
            return without_tls(args);
        }
        Certificates::of(args)?.check()
    }

    /// What looks after certificates from an ACME server, once it is called.
    pub(super) fn acme_starter(&self, quiet: bool) -> Option<Box<dyn FnOnce() + Send>> {
        let acme = self.acme.as_ref()?;
        Some(acme.starter(self.config.clone(), quiet))
    }

    /// Whether plain HTTP is redirected here.
    pub(super) fn redirects(&self, address: Option<SocketAddr>) -> bool {
        address.is_some_and(|address| self.redirects.contains(&address))
    }

    /// `TLS 1.2 and 1.3`
    pub(super) fn versions(&self) -> &'static str {
        match self.oldest {
            TlsVersion::Tls12 => "TLS 1.2 and 1.3",
            _ => "TLS 1.3",
        }
    }
}

/// Refuses options that mean nothing without TLS.
fn without_tls(args: &HttpsArgs) -> Result<(), Failure> {
    if !args.tls_key.is_empty() {
        return Err(Failure::usage(
            "--tls-key needs its certificate: --tls-cert FILE (one file may hold both)",
        ));
    }
    let given = [
        ("--tls-client-ca", args.tls_client_ca.is_some()),
        ("--tls-min-version", args.tls_min_version.is_some()),
        ("--no-ktls", args.no_ktls),
        ("--redirect-http", args.redirect_http.is_some()),
        ("--hsts", args.hsts.is_some()),
        ("--acme-state", args.acme.acme_state.is_some()),
        ("--acme-email", args.acme.acme_email.is_some()),
        ("--acme-ca", args.acme.acme_ca.is_some()),
    ];
    match given.into_iter().find(|(_, given)| *given) {
        Some((option, _)) => Err(Failure::usage(format_args!(
            "{option} is for HTTPS: it needs --tls-cert and --tls-key, --tls-self-signed or --acme"
        ))),
        None => Ok(()),
    }
}

fn oldest(args: &HttpsArgs) -> TlsVersion {
    match args.tls_min_version {
        Some(MinTlsVersion::Tls13) => TlsVersion::Tls13,
        Some(MinTlsVersion::Tls12) | None => TlsVersion::Tls12,
    }
}

/// The value of `Strict-Transport-Security` (RFC 6797).
fn hsts(seconds: u32) -> HeaderValue {
    HeaderValue::try_from(format!("max-age={seconds}"))
        .unwrap_or(HeaderValue::from_static("max-age=0"))
}

/// The port of the first address. Refuses Unix sockets.
fn https_port(listeners: &Listeners) -> Result<u16, Failure> {
    let ports = listeners.sockets.iter();
    let ports: Option<Vec<_>> = ports
        .map(|socket| socket.ip_address().map(|address| address.port()))
        .collect();
    let first = ports.and_then(|ports| ports.first().copied());
    first.ok_or_else(|| {
        Failure::usage(
            "HTTPS is served on TCP, not on Unix sockets, whose clients are on this machine: start another serve for \
             those, without TLS",
        )
    })
}

fn redirected(address: &Address, listeners: &mut Listeners) -> Result<Vec<SocketAddr>, Failure> {
    if let Address::Unix(_) = address {
        let address = address.short();
        return Err(Failure::usage(format_args!(
            "--redirect-http {address}: browsers come by TCP; write HOST:PORT or :PORT"
        )));
    }
    listeners.add(address, "--redirect-http")
}

/// The HTTP service behind TLS, and what answers plain HTTP.
#[derive(Clone)]
pub(super) struct HttpsService<A> {
    pub(super) http: HttpService<A>,
    pub(super) redirect: HttpService<Redirect>,
    pub(super) https: Https,
    /// Report why handshakes failed.
    pub(super) verbose: bool,
}

impl<A: HttpHandler> Service for HttpsService<A> {
    /// Without TLS nothing is answered. Such sockets were refused at the start.
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
        if self.https.redirects(listener.local_addr().ok()) {
            return self.redirect.answer_socket(listener, connections, stop);
        }
        let mut listener = TlsListener::new(listener, self.https.config.clone())
            .stats(Arc::clone(&self.https.stats))
            .max_handshakes(HANDSHAKES.min(connections / 2));
        if let Some(trusts) = self.http.accept_proxy.clone() {
            listener = listener.proxy_protocol(move |peer| trusts(Some(peer)));
        }
        if self.verbose {
            listener = listener.on_failure(|peer, error| {
                let peer = server::peer_name(Some(peer));
                report::notice(format_args!("{peer}: {error}"));
            });
        }
        self.http.answer(listener, connections, stop)
    }
}
