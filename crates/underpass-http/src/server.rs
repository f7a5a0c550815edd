//! The server: what can be set, and the parts that it is made of.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use tokio::net::TcpListener;
use underpass::accept::Listener;

use crate::prepared::PreparedResponses;
use crate::serve_dir::ServeDir;
use crate::server::added_fields::AddedFields;
use crate::server::service::RequestExtension;
use crate::stats::ServerStats;

mod accept;
mod added_fields;
mod answer;
mod app;
mod application;
mod client_address;
mod connection;
mod fairness;
mod framing;
mod http1;
mod http2;
mod limits;
mod listener_ext;
mod observe;
mod open_connections;
mod proxied;
mod refusal;
mod request_body;
mod service;
mod socket;
mod state;
mod transport;

pub use application::{AnswersRequests, Application, IncomingStream, MakesServices, PerConnection};
pub use client_address::{ClientAddress, ProxyHeader, TrustedProxies};
pub use limits::{Limits, Timeouts};
pub use listener_ext::{ListenerExt, TapIo, TapOpening};
pub use observe::{Exchange, Failure, Observe, PartialResponse, RequestHead, TlsConnection};
pub use proxied::{Proxied, ProxyListener};
pub use request_body::RequestBody;
pub use socket::HttpSocket;

/// Serves HTTP/1.1 and HTTP/2 on `listener`: `app` is an axum `Router`, a [`ServeDir`] or any other
/// tower service.
///
/// Bodies that are files are sent by sendfile(2) over HTTP/1.1, and from their mapping over HTTP/2.
/// The server runs when the result is awaited; see [`Serve`] for what can be set before that.
///
/// Upgrades work (axum's `WebSocketUpgrade`, [`hyper::upgrade::on`]). When a client leaves, the
/// future of its request, or the body that was being sent, is dropped.
///
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
/// underpass_http::serve(listener, underpass_http::ServeDir::new("public")).await
/// # }
/// ```
pub fn serve<L, A, M>(listener: L, app: A) -> Serve<L, A::App>
where
    L: Listener<Socket: HttpSocket>,
    A: Application<L, M>,
{
    Serve {
        listener,
        app: app.into_app(),
        signal: None,
        cut_signal: None,
        limits: Limits::default(),
        timeouts: Timeouts::default(),
        half_close: false,
        h2c: true,
        connect_info: None,
        proxies: None,
        added_fields: AddedFields::default(),
        stats: Arc::default(),
        observer: None,
        prepared: None,
    }
}

/// Serves a directory and nothing else. It works as [`serve`] does, but is faster for small files
/// that are requested often, because these are answered without calling a service. Clients that
/// close their sending side get the whole response, as with
/// [`half_close(true)`](Serve::half_close).
///
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
/// underpass_http::serve_dir(listener, underpass_http::ServeDir::new("public")).await
/// # }
/// ```
pub fn serve_dir<L: Listener<Socket: HttpSocket>>(
    listener: L,
    directory: ServeDir,
) -> Serve<L, ServeDir> {
    let prepared = directory.prepared_responses();
    Serve {
        prepared: Some(prepared),
        half_close: true,
        ..serve(listener, directory)
    }
}

/// A server that is not running yet. [`serve`] makes it, and `.await` runs it.
///
/// It returns `Ok(())` after a graceful shutdown, and never without one.
///
/// # Cancel safety
/// Dropping the future closes all connections at once, except those that were upgraded: they belong
/// to the application.
#[must_use = "a server does nothing until it is awaited"]
pub struct Serve<L: Listener, A> {
    listener: L,
    app: A,
    signal: Option<Signal>,
    cut_signal: Option<Signal>,
    limits: Limits,
    timeouts: Timeouts,
    half_close: bool,
    h2c: bool,
    connect_info: Option<ConnectInfo<L::Socket>>,
    proxies: Option<TrustedProxies>,
    added_fields: AddedFields,
    stats: Arc<ServerStats>,
    observer: Option<Arc<dyn Observe>>,
    prepared: Option<Arc<dyn PreparedResponses>>,
}

type Signal = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Called for each new connection; its result is added to the connection's requests.
type ConnectInfo<S> = Arc<dyn Fn(&S) -> io::Result<RequestExtension> + Send + Sync>;

impl<L: Listener, A> Serve<L, A> {
    /// Stops accepting when `signal` is ready, waits for the responses in progress, and closes the
    /// remaining connections after [`Timeouts::drain`]. Upgraded connections are not waited for.
    pub fn with_graceful_shutdown(
        mut self,
        signal: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        self.signal = Some(Box::pin(signal));
        self
    }

    /// During a graceful shutdown, closes the remaining connections as soon as `signal` is ready,
    /// and does not wait until [`Timeouts::drain`] has passed.
    pub fn cut_short(mut self, signal: impl Future<Output = ()> + Send + 'static) -> Self {
        self.cut_signal = Some(Box::pin(signal));
        self
    }

    /// Sets the limits.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets the timeouts. Those longer than a century are shortened to a century.
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts.clamped();
        self
    }

    /// Whether a client that has closed its sending side (`nc -N`) still gets its response. If not,
    /// such a client counts as gone, and its request is dropped, as `axum::serve` does. Default:
    /// false.
    ///
    /// TCP cannot tell a client that closed its sending side from one that is gone. So if this is
    /// allowed, a client that is gone is noticed only when something is sent to it.
    pub fn half_close(mut self, allowed: bool) -> Self {
        self.half_close = allowed;
        self
    }

    /// Whether clients may speak HTTP/2 on sockets without TLS, if they do so from their first byte
    /// (prior knowledge, RFC 9113 section 3.3). Default: true. Over TLS, ALPN decides: see
    /// [`HttpSocket::agreed_version`].
    ///
    /// To tell the two apart, the first bytes of each connection are looked at, in one call of
    /// recv(2).
    pub fn h2c(mut self, allowed: bool) -> Self {
        self.h2c = allowed;
        self
    }

    /// Calls `info` for each new connection, and adds the result to the
    /// [extensions](http::Request::extensions) of its requests. If `info` fails, the connection is
    /// closed.
    ///
    /// This is how axum's `ConnectInfo` works here, on TCP and Unix sockets:
    ///
    /// ```no_run
    /// use axum::{Router, extract::ConnectInfo, routing::get};
    /// use tokio::net::TcpStream;
    ///
    /// # async fn example() -> std::io::Result<()> {
    /// async fn who(ConnectInfo(peer): ConnectInfo<std::net::SocketAddr>) -> String {
    ///     format!("{peer}\n")
    /// }
    ///
    /// let app = Router::new().route("/", get(who));
    /// let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    /// underpass_http::serve(listener, app)
    ///     .connect_info(|socket: &TcpStream| socket.peer_addr().map(ConnectInfo))
    ///     .await
    /// # }
    /// ```
    pub fn connect_info<T: Clone + Send + Sync + 'static>(
        mut self,
        info: impl Fn(&L::Socket) -> io::Result<T> + Send + Sync + 'static,
    ) -> Self {
        self.connect_info = Some(Arc::new(move |socket| {
            info(socket).map(RequestExtension::new)
        }));
        self
    }

    /// Adds the [`ClientAddress`] to the [extensions](http::Request::extensions) of every request:
    /// the peer, or whom a proxy names that is believed.
    ///
    /// ```no_run
    /// use axum::{Extension, Router, routing::get};
    /// use underpass_http::{ClientAddress, TrustedProxies};
    ///
    /// # async fn example() -> std::io::Result<()> {
    /// async fn who(Extension(ClientAddress(client)): Extension<ClientAddress>) -> String {
    ///     format!("{client:?}\n")
    /// }
    ///
    /// let app = Router::new().route("/", get(who));
    /// let listener = tokio::net::UnixListener::bind("/run/app.socket")?;
    /// // Only the proxy may connect to this socket.
    /// let proxies = TrustedProxies::new(|peer| peer.is_none());
    /// underpass_http::serve(listener, app).trusted_proxies(proxies).await
    /// # }
    /// ```
    pub fn trusted_proxies(mut self, proxies: TrustedProxies) -> Self {
        self.proxies = Some(proxies);
        self
    }

    /// Adds this field to every response, such as `Strict-Transport-Security`. It comes besides
    /// those that the response has, even of the same name.
    ///
    /// ```no_run
    /// use http::{HeaderName, HeaderValue};
    ///
    /// # async fn example() -> std::io::Result<()> {
    /// let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    /// let nosniff = HeaderValue::from_static("nosniff");
    /// underpass_http::serve_dir(listener, underpass_http::ServeDir::new("public"))
    ///     .response_field(HeaderName::from_static("x-content-type-options"), nosniff)
    ///     .await
    /// # }
    /// ```
    pub fn response_field(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.added_fields.add(name, value);
        self
    }

    /// Uses these counters, which other servers and services may share.
    pub fn stats(mut self, stats: Arc<ServerStats>) -> Self {
        self.stats = stats;
        self
    }

    /// Sets an observer that is told of every exchange.
    pub fn observe(mut self, observer: Arc<dyn Observe>) -> Self {
        self.observer = Some(observer);
        self
    }
}

impl<A> Serve<TcpListener, A> {
    /// The address that the server listens on.
    ///
    /// # Errors
    /// Those of getsockname(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl<L: Listener, A> std::fmt::Debug for Serve<L, A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serve")
            .field("limits", &self.limits)
            .field("timeouts", &self.timeouts)
            .field("half_close", &self.half_close)
            .field("h2c", &self.h2c)
            .finish_non_exhaustive()
    }
}
