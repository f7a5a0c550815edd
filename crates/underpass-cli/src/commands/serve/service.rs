//! The HTTP service: files, behind authentication and CORS if they are configured.

use std::convert::Infallible;
use std::future::{Future, IntoFuture};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, ETAG, LAST_MODIFIED,
    STRICT_TRANSPORT_SECURITY,
};
use http::{HeaderValue, Method, Request, Response};
use tokio::net::{TcpListener, UnixListener};
use tower::Layer;
use tower::util::BoxCloneSyncService;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};
use tower_service::Service as Tower;
use underpass::accept::Listener;
use underpass::proxy_protocol::ProxySocket;
use underpass_http::{
    Archives, Cache, FileBody, HttpSocket, Limits, Observe, PathRules, ProxyListener, RequestBody,
    Serve, ServeDir, ServerStats, Symlinks, Timeouts, Uploads,
};

use super::auth::{Auth, Authenticator, Users};
use super::bucket::Bucket;
use super::target::Target;
use crate::args::ServeArgs;
use crate::exit::Failure;
use crate::server::{self, Drain, PacedListener, Service, ServiceFuture, TotalRate};
use crate::values::Origin;

/// How long browsers may cache the answer to a preflight request; Chromium's limit.
const PREFLIGHT_VALID: Duration = Duration::from_secs(7200);

pub(super) enum Handler {
    /// Files with no layer before them; called directly.
    Files(ServeDir),
    /// Files behind authentication, CORS or both.
    Guarded(Guarded),
}

pub(super) type Guarded = BoxCloneSyncService<Request<RequestBody>, Response<FileBody>, Infallible>;

/// Says whether a proxy at this address is believed; `None` is a peer on a Unix socket.
pub(super) type TrustsProxy = Arc<dyn Fn(Option<SocketAddr>) -> bool + Send + Sync>;

/// The service that the serving threads run.
#[derive(Clone)]
pub(super) struct HttpService<A> {
    pub(super) handler: A,
    pub(super) timeouts: Timeouts,
    pub(super) stats: Arc<ServerStats>,
    pub(super) observer: Arc<dyn Observe>,
    /// The value of `Strict-Transport-Security`; without HTTPS it means nothing.
    pub(super) hsts: Option<HeaderValue>,
    /// Which proxies are believed, if all connections begin with a header of the PROXY protocol.
    pub(super) accept_proxy: Option<TrustsProxy>,
    /// The rate for all connections together.
    pub(super) rate: Option<Arc<TotalRate>>,
    /// Whether HTTP/2 is spoken without TLS.
    pub(super) h2c: bool,
    /// The most requests in progress on one connection of HTTP/2.
    pub(super) streams: u32,
    pub(super) drain: Drain,
}

/// A service that answers requests.
pub(super) trait HttpHandler:
    Tower<Request<RequestBody>, Response = Response<FileBody>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + 'static
{
    /// Makes the server for `listener`.
    fn into_server<L: Listener<Socket: HttpSocket>>(self, listener: L) -> Serve<L, Self> {
        // The same setting as in `serve_dir`: a client that has half-closed still gets the whole
        // file.
        underpass_http::serve(listener, self).half_close(true)
    }
}

impl HttpHandler for Guarded {}

impl HttpHandler for ServeDir {
    fn into_server<L: Listener<Socket: HttpSocket>>(self, listener: L) -> Serve<L, Self> {
        underpass_http::serve_dir(listener, self)
    }
}

impl<A: HttpHandler> HttpService<A> {
    /// The same service with another handler, and without TLS.
    pub(super) fn replaced<B>(&self, handler: B) -> HttpService<B> {
        HttpService {
            handler,
            timeouts: self.timeouts.clone(),
            stats: Arc::clone(&self.stats),
            observer: Arc::clone(&self.observer),
            hsts: None,
            accept_proxy: self.accept_proxy.clone(),
            rate: self.rate.clone(),
            h2c: self.h2c,
            streams: self.streams,
            drain: self.drain.clone(),
        }
    }

    /// Answers requests on any connection that HTTP can use, at the rate of all of them.
    pub(super) fn answer(
        &self,
        listener: impl Listener<Socket: HttpSocket + AsFd>,
        connections: usize,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> ServiceFuture {
        match self.rate.clone() {
            None => self.answer_each(listener, connections, stop),
            Some(rate) => {
                let listener = PacedListener { listener, rate };
                self.answer_each(listener, connections, stop)
            }
        }
    }

    fn answer_each(
        &self,
        listener: impl Listener<Socket: HttpSocket>,
        connections: usize,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> ServiceFuture {
        let mut limits = Limits::default();
        limits.connections = connections;
        limits.streams = self.streams;
        let mut serve = self.handler.clone().into_server(listener);
        if let Some(value) = &self.hsts {
            serve = serve.response_field(STRICT_TRANSPORT_SECURITY, value.clone());
        }
        serve
            .with_graceful_shutdown(stop)
            .cut_short(self.drain.second_signal())
            .limits(limits)
            .h2c(self.h2c)
            .timeouts(self.timeouts.clone())
            .stats(Arc::clone(&self.stats))
            .observe(Arc::clone(&self.observer))
            .into_future()
    }
}

impl<A: HttpHandler> HttpService<A> {
    /// Answers requests on the connections of clients, or of proxies that say who their clients
    /// are.
    pub(super) fn answer_socket<L: Listener<Socket: HttpSocket + ProxySocket + AsFd>>(
        &self,
        listener: L,
        connections: usize,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> ServiceFuture {
        match self.accept_proxy.clone() {
            None => self.answer(listener, connections, stop),
            Some(trusts) => {
                let listener = ProxyListener::new(listener, move |peer| trusts(peer));
                self.answer(listener, connections, stop)
            }
        }
    }
}

impl<A: HttpHandler> Service for HttpService<A> {
    fn serve(
        &self,
        listener: impl Listener<Socket: HttpSocket + AsFd>,
        connections: usize,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> ServiceFuture {
        self.answer(listener, connections, stop)
    }

    fn serve_tcp(
        &self,
        listener: TcpListener,
        connections: usize,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> ServiceFuture {
        self.answer_socket(listener, connections, stop)
    }

    fn serve_unix(
        &self,
        listener: UnixListener,
        connections: usize,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> ServiceFuture {
        self.answer_socket(listener, connections, stop)
    }
}

/// Builds the service, and who checks passwords for it, if anybody does.
pub(super) fn build(
    args: &ServeArgs,
    target: &Target,
    stats: &Arc<ServerStats>,
    rules: Option<&PathRules>,
) -> Result<(Handler, Option<Arc<Authenticator>>), Failure> {
    let (given, file) = (&args.access.auth, args.access.auth_file.as_deref());
    let users = Users::new(given, file)?;
    if args.uploads.upload && !args.uploads.insecure_upload && users.is_empty() {
        return Err(Failure::usage(
            "--upload needs --auth or --auth-file to say who may upload; --insecure-upload allows everybody",
        ));
    }
    let mut files = files(args, target, stats)?;
    if let Some(rules) = rules {
        files = files.path_rules(rules.clone());
    }
    let origins = &args.access.cors;
    if users.is_empty() && origins.is_empty() {
        return Ok((Handler::Files(files), None));
    }
    let mut handler = Guarded::new(files);
    let users = (!users.is_empty()).then_some(users);
    let authenticator = users.map(|users| Authenticator::new(users, given, file));
    if let Some(authenticator) = &authenticator {
        handler = Guarded::new(Auth {
            inner: handler,
            authenticator: Arc::clone(authenticator),
            rules: rules.cloned(),
        });
    }
    if !origins.is_empty() {
        // CORS comes before authentication, because browsers send preflight requests without
        // credentials.
        handler = Guarded::new(cors(origins, args.uploads.wanted()).layer(handler));
    }
    Ok((Handler::Guarded(handler), authenticator))
}

/// Answers cross-origin requests (the CORS protocol of the Fetch standard).
fn cors(origins: &[Origin], uploads: bool) -> CorsLayer {
    let one = |origin: &Origin| match origin {
        Origin::Any => None,
        Origin::One(value) => Some(value.clone()),
    };
    let listed: Option<Vec<_>> = origins.iter().map(one).collect();
    let mut methods = vec![Method::GET, Method::HEAD, Method::OPTIONS];
    if uploads {
        methods.push(Method::PUT);
    }
    let answered = [
        ETAG,
        LAST_MODIFIED,
        CONTENT_RANGE,
        ACCEPT_RANGES,
        CONTENT_LENGTH,
        CONTENT_DISPOSITION,
    ];
    CorsLayer::new()
        .allow_origin(listed.map_or_else(AllowOrigin::any, AllowOrigin::list))
        .allow_methods(methods)
        // No request header needs protection here, and JavaScript libraries add their own (`X-…`).
        .allow_headers(AllowHeaders::mirror_request())
        .max_age(PREFLIGHT_VALID)
        .expose_headers(answered)
}

fn files(args: &ServeArgs, target: &Target, stats: &Arc<ServerStats>) -> Result<ServeDir, Failure> {
    let given = &args.files;
    let symlinks = if given.symlinks {
        Symlinks::Confine
    } else {
        Symlinks::Refuse
    };
    let entries = server::kept_open(args.memory.cache_entries);
    let cache = Cache::default().entries(entries).valid_for(
        target
            .bucket()
            .map_or(args.memory.cache_valid, Bucket::revalidate),
    );
    let files = match target {
        Target::Directory { dir, .. } => ServeDir::open(dir)
            .map_err(|error| Failure::failed(format_args!("{}: {error}", dir.display())))?,
        Target::Bucket(bucket) => ServeDir::objects(bucket.objects()),
    };
    let mut files = files
        .append_index_html_on_directories(given.index())
        .listing(!given.no_listing)
        .error_pages(true)
        .hidden(given.hidden)
        .symlinks(symlinks)
        .polite_cache(args.memory.polite_cache)
        .cache(cache)
        .stats(Arc::clone(stats));
    if let Target::Directory {
        only: Some(file), ..
    } = target
    {
        files = files.only(file);
    }
    if args.archives.wanted() {
        let limits = Archives::default().max_entries(args.archives.archive_max_files);
        let bytes = args.archives.archive_max_size.unwrap_or(u64::MAX);
        files = files.archives(limits.max_bytes(bytes));
    }
    if given.precompressed {
        files = files
            .precompressed_br()
            .precompressed_zstd()
            .precompressed_gzip();
    }
    for (extension, value) in &given.mime {
        files = files.media_type(extension, value.clone());
    }
    if let Some(value) = &given.cache_control {
        files = files.cache_control(value.clone());
    }
    if let Some(page) = &given.spa {
        files = files.spa(page_of(target, page, "--spa")?);
    }
    if let Some(page) = &given.not_found {
        files = files.not_found_page(page_of(target, page, "--not-found")?);
    }
    if args.uploads.wanted() {
        let uploads = Uploads::default().max_bytes(args.uploads.upload_limit);
        files = files.uploads(uploads.forms(true));
    }
    Ok(files)
}

/// Checks that the page, a path below the directory, exists. In a bucket it may exist later.
fn page_of(target: &Target, page: &Path, option: &str) -> Result<PathBuf, Failure> {
    let names = page.components();
    let below = names.filter(|it| !matches!(it, Component::RootDir | Component::CurDir));
    let page: PathBuf = below.collect();
    let dir = match target {
        Target::Directory { dir, .. } if !dir.join(&page).is_file() => dir,
        _ => return Ok(page),
    };
    Err(Failure::failed(format_args!(
        "{option} {}: there is no such file in {}",
        page.display(),
        dir.display()
    )))
}
