//! The server: what can be set, and the parts that it is made of.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use crate::prepared::PreparedResponses;
use crate::serve_dir::ServeDir;
use crate::server::service::RequestExtension;
use crate::stats::ServerStats;

mod accept;
mod connection;
mod fairness;
mod framing;
mod limits;
mod listener;
mod observe;
mod open_connections;
mod refusal;
mod request_body;
mod service;
mod socket;
mod state;
mod transport;

pub use limits::{Limits, Timeouts};
pub use listener::Listener;
pub use observe::{Exchange, Failure, Observe, RequestHead};
pub use request_body::RequestBody;
pub use socket::HttpSocket;

/// Serves HTTP/1.1 on `listener`: `app` is an axum `Router`, a [`ServeDir`] or any other tower
/// service.
///
/// File-backed bodies leave by sendfile(2). The result is to be awaited; see [`Serve`] for what can
/// be set before.
///
/// Upgrades work (axum's `WebSocketUpgrade`, [`hyper::upgrade::on`]). When a client leaves, the
/// future that was to answer it, or the body that was being sent, is dropped.
///
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
/// underpass_http::serve(listener, underpass_http::ServeDir::new("public")).await
/// # }
/// ```
pub fn serve<L: Listener, A>(listener: L, app: A) -> Serve<L, A> {
    Serve {
        listener,
        app,
        signal: None,
        limits: Limits::default(),
        timeouts: Timeouts::default(),
        half_close: false,
        connect_info: None,
        stats: Arc::default(),
        observer: None,
        prepared: None,
    }
}

/// Serves a directory and nothing else: as [`serve`] does, and faster for small files that are
/// asked for often, which are answered without an application being called. Clients that end their
/// own side get the whole answer, as with [`half_close(true)`](Serve::half_close).
///
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
/// underpass_http::serve_dir(listener, underpass_http::ServeDir::new("public")).await
/// # }
/// ```
pub fn serve_dir<L: Listener>(listener: L, directory: ServeDir) -> Serve<L, ServeDir> {
    let prepared = directory.prepared_responses();
    Serve {
        prepared: Some(prepared),
        half_close: true,
        ..serve(listener, directory)
    }
}

/// A server that is about to run: [`serve`] makes it, `.await` runs it.
///
/// Awaiting gives `Ok(())` after a graceful shutdown, and never before one.
///
/// # Cancel safety
/// Dropping the future ends every connection at once, but for those that were upgraded: they are
/// whoever's took them.
#[must_use = "a server does nothing until it is awaited"]
pub struct Serve<L: Listener, A> {
    listener: L,
    app: A,
    signal: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    limits: Limits,
    timeouts: Timeouts,
    half_close: bool,
    connect_info: Option<ConnectInfo<L::Socket>>,
    stats: Arc<ServerStats>,
    observer: Option<Arc<dyn Observe>>,
    prepared: Option<Arc<dyn PreparedResponses>>,
}

/// What is asked of each new connection, to be put into its requests.
type ConnectInfo<S> = Arc<dyn Fn(&S) -> io::Result<RequestExtension> + Send + Sync>;

impl<L: Listener, A> Serve<L, A> {
    /// Stops accepting when `signal` is ready, lets what is under way end, and ends the rest after
    /// [`Timeouts::drain`]. Upgraded connections are not waited for.
    pub fn with_graceful_shutdown(
        mut self,
        signal: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        self.signal = Some(Box::pin(signal));
        self
    }

    /// Sets the limits.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets the timeouts. Those that are longer than a century are taken as one.
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts.clamped();
        self
    }

    /// Whether a client that has ended its own side of the connection (`nc -N`) still gets its
    /// answer. Without it such a client has left: what was under way for it is dropped, as
    /// `axum::serve` does.
    ///
    /// TCP says the same of a client that only ends its side and of one that is gone. So with it,
    /// nothing is noticed of a client that is gone until something is sent to it.
    pub fn half_close(mut self, allowed: bool) -> Self {
        self.half_close = allowed;
        self
    }

    /// Asks `info` about each new connection, and puts the answer into the
    /// [extensions](http::Request::extensions) of every request on it. Where it fails, the
    /// connection is closed.
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

    /// Counts into `stats`, which other servers and services may share.
    pub fn stats(mut self, stats: Arc<ServerStats>) -> Self {
        self.stats = stats;
        self
    }

    /// Tells `observer` of every exchange.
    pub fn observe(mut self, observer: Arc<dyn Observe>) -> Self {
        self.observer = Some(observer);
        self
    }
}

impl<L: Listener, A> std::fmt::Debug for Serve<L, A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serve")
            .field("limits", &self.limits)
            .field("timeouts", &self.timeouts)
            .field("half_close", &self.half_close)
            .finish_non_exhaustive()
    }
}
