//! The server: accepts connections, within limits, until it is told to stop, and then sees them out.

use std::convert::Infallible;
use std::future::{Future, IntoFuture};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::server::conn::http1;
use rustix::io::Errno;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::task::{AbortHandle, JoinSet};
use tower_service::Service;

use crate::body::BoxError;
use crate::file::descriptors;
use crate::prepared::PreparedResponses;
use crate::serve_dir::ServeDir;
use crate::server::connection::Connection;
use crate::server::fairness::SendScheduler;
use crate::server::framing::HeadLimits;
use crate::server::service::{HyperService, RequestExtension};
use crate::server::state::ConnectionState;
use crate::server::transport::Transport;
use crate::stats::ServerStats;

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
pub(crate) use open_connections::{OpenConnections, Registration};
pub use request_body::RequestBody;
pub use socket::HttpSocket;

/// How long accepting rests when there is no descriptor or memory for another connection.
const RESTING: Duration = Duration::from_millis(100);

/// How long a server without room leaves a client to others on the same listener, before it closes an idle connection for it.
const OTHERS_FIRST: Duration = Duration::from_millis(10);

/// Serves HTTP/1.1 on `listener`: `app` is an axum `Router`, a [`ServeDir`] or any other tower service.
///
/// File-backed bodies leave by sendfile(2). The result is to be awaited; see [`Serve`] for what can be set before.
///
/// Upgrades work (axum's `WebSocketUpgrade`, [`hyper::upgrade::on`]). When a client leaves, the future that was to answer it,
/// or the body that was being sent, is dropped.
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

/// Serves a directory and nothing else: as [`serve`] does, and faster for small files that are asked for often, which are
/// answered without an application being called. Clients that end their own side get the whole answer, as with
/// [`half_close(true)`](Serve::half_close).
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
/// Dropping the future ends every connection at once, but for those that were upgraded: they are whoever's took them.
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

    /// Whether a client that has ended its own side of the connection (`nc -N`) still gets its answer. Without it such a
    /// client has left: what was under way for it is dropped, as `axum::serve` does.
    ///
    /// TCP says the same of a client that only ends its side and of one that is gone. So with it, nothing is noticed of a
    /// client that is gone until something is sent to it.
    pub fn half_close(mut self, allowed: bool) -> Self {
        self.half_close = allowed;
        self
    }

    /// Asks `info` about each new connection, and puts the answer into the [extensions](Request::extensions) of every request on
    /// it. Where it fails, the connection is closed.
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

/// Whether the server is stopping, and how its connections learn of it.
#[derive(Debug, Default)]
pub(crate) struct Shutdown {
    begun: AtomicBool,
    notify: Arc<Notify>,
}

impl Shutdown {
    pub(crate) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    pub(crate) fn notified(&self) -> OwnedNotified {
        Arc::clone(&self.notify).notified_owned()
    }

    fn begin(&self) {
        self.begun.store(true, Ordering::Release);
        self.notify.notify_waiters();
    }
}

impl<L, A, B> IntoFuture for Serve<L, A>
where
    L: Listener,
    A: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    A::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Output = io::Result<()>;
    type IntoFuture = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl<L, A, B> Serve<L, A>
where
    L: Listener,
    A: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    A::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    async fn run(mut self) -> io::Result<()> {
        let mut signal = self
            .signal
            .take()
            .unwrap_or_else(|| Box::pin(std::future::pending()));
        let drain = Arc::new(Shutdown::default());
        let turns = Arc::new(SendScheduler::default());
        let handing_out = tokio::spawn({
            let turns = Arc::clone(&turns);
            async move { turns.hand_out().await }
        });
        let _stop_handing_out = AbortOnDrop(handing_out.abort_handle());
        let open = Arc::new(OpenConnections::default());
        let mut connections = JoinSet::new();
        // Accepted when there was no room, because an idle connection could make some.
        let mut next = None;
        let mut idle_left = true;
        loop {
            let full = connections.len() >= self.limits.connections;
            if full {
                idle_left = idle_left && open.has_idle();
                if next.is_some() && idle_left {
                    self.stats.connections_evicted.add(open.close_idlest());
                }
            } else if let Some(opening) = next.take() {
                connections.spawn(self.connection(opening, &drain, &turns, &open));
                continue;
            }
            tokio::select! {
                () = &mut signal => break,
                Some(ended) = connections.join_next() => self.stats.note(&ended),
                () = open.became_idle(), if full && !idle_left => idle_left = true,
                accepted = accept(&mut self.listener, full), if next.is_none() && (!full || idle_left) => {
                    match accepted {
                        Ok(opening) => next = Some(opening),
                        Err(error) => rest_after(&error, &open, &self.stats).await,
                    }
                }
            }
        }
        drop((self.listener, next));
        drain.begin();
        let all = async {
            while let Some(ended) = connections.join_next().await {
                self.stats.note(&ended);
            }
        };
        // What is left after that ends with the set.
        if tokio::time::timeout(self.timeouts.drain, all)
            .await
            .is_err()
        {
            self.stats.connections_cut.add(connections.len() as u64);
        }
        Ok(())
    }

    fn connection(
        &self,
        opening: L::Opening,
        drain: &Arc<Shutdown>,
        turns: &Arc<SendScheduler>,
        open: &Arc<OpenConnections>,
    ) -> impl Future<Output = ()> + Send + use<L, A, B> {
        let mut builder = http1::Builder::new();
        builder
            .max_headers(self.limits.fields())
            .max_header_size(self.limits.head_bytes)
            .half_close(self.half_close)
            // Timeouts are ours: one alarm a connection, not one a request.
            .header_read_timeout(None);
        let head_limits = HeadLimits {
            bytes: self.limits.head_bytes,
            fields: self.limits.fields(),
        };
        let app = self.app.clone();
        let (timeouts, stats) = (self.timeouts.clone(), Arc::clone(&self.stats));
        let observer = self.observer.clone();
        // Whoever wants to see requests sees them all.
        let unseen = observer.as_ref().is_none_or(|it| !it.wants_requests());
        let prepared = self.prepared.clone().filter(|_| unseen);
        let connect_info = self.connect_info.clone();
        let (drain, turns, open) = (Arc::clone(drain), Arc::clone(turns), Arc::clone(open));
        async move {
            let Ok(Ok(socket)) = tokio::time::timeout(timeouts.head, opening).await else {
                return;
            };
            let extension = connect_info.map(|info| info(&socket));
            let Ok(extension) = extension.transpose() else {
                return;
            };
            let connection = Arc::new(ConnectionState::new(socket.peer(), stats, observer, turns));
            let exchanges = HyperService {
                app,
                extension,
                state: Arc::clone(&connection),
            };
            let (transport, transport_dropped) =
                Transport::new(socket, Arc::clone(&connection), prepared, head_limits);
            let hyper = builder.serve_connection(transport, exchanges);
            let server = (drain, open);
            Connection::new(hyper, connection, timeouts, server, transport_dropped).await;
        }
    }
}

/// Ends a task with the future that needs it.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The next connection. Where it would take the place of another one, servers on the same listener that have room come first.
async fn accept<L: Listener>(listener: &mut L, full: bool) -> io::Result<L::Opening> {
    if full {
        tokio::time::sleep(OTHERS_FIRST).await;
    }
    listener.accept().await
}

/// Waits where another connection would find no descriptor or memory either: what the whole process lacks passes, but not at
/// once. An error of one connection is no reason to wait.
async fn rest_after(error: &io::Error, open: &OpenConnections, stats: &ServerStats) {
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    if Errno::from_io_error(error).is_some_and(|errno| exhausted.contains(&errno)) {
        if descriptors::make_room() {
            return;
        }
        stats.accept_pauses.add(1);
        stats.connections_evicted.add(open.close_idlest());
        tokio::time::sleep(RESTING).await;
    }
}
