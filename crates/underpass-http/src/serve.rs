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

use crate::account::Account;
use crate::connection::{BoxError, Connection};
use crate::exchange::Exchanges;
use crate::observe::Observe;
use crate::request_body::RequestBody;
use crate::serve_dir::ServeDir;
use crate::shortcut::Shortcut;
use crate::socket::Socket;
use crate::stats::Stats;
use crate::transport::Transport;
use crate::turns::Turns;

mod listener;

pub use listener::Listener;

/// How long accepting rests when there is no descriptor or memory for another connection.
const RESTING: Duration = Duration::from_millis(100);

/// Serves HTTP/1.1 on `listener`: `app` is an axum `Router`, a [`ServeDir`] or any other tower service.
///
/// File-backed bodies leave by sendfile(2). The result is to be awaited; see [`Serve`] for what can be set before.
///
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
/// underpass_http::serve(listener, underpass_http::ServeDir::new("public")).await
/// # }
/// ```
pub fn serve<L, A>(listener: L, app: A) -> Serve<L, A> {
    Serve {
        listener,
        app,
        signal: None,
        limits: Limits::default(),
        timeouts: Timeouts::default(),
        stats: Arc::default(),
        observer: None,
        shortcut: None,
    }
}

/// Serves a directory and nothing else: as [`serve`] does, and faster for small files that are asked for often, which are
/// answered without an application being called.
///
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
/// underpass_http::serve_dir(listener, underpass_http::ServeDir::new("public")).await
/// # }
/// ```
pub fn serve_dir<L>(listener: L, directory: ServeDir) -> Serve<L, ServeDir> {
    let shortcut = directory.shortcut();
    Serve {
        shortcut: Some(shortcut),
        ..serve(listener, directory)
    }
}

/// A server that is about to run: [`serve`] makes it, `.await` runs it.
///
/// Awaiting gives `Ok(())` after a graceful shutdown, and never before one.
///
/// # Cancel safety
/// Dropping the future ends every connection at once.
#[must_use = "a server does nothing until it is awaited"]
pub struct Serve<L, A> {
    listener: L,
    app: A,
    signal: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    limits: Limits,
    timeouts: Timeouts,
    stats: Arc<Stats>,
    observer: Option<Arc<dyn Observe>>,
    shortcut: Option<Arc<dyn Shortcut>>,
}

/// What a server takes on at most.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Open connections; more wait in the listener's queue. 16,384.
    pub connections: usize,
    /// Bytes of a request's head; more are answered 431. 16 KiB.
    pub head_bytes: usize,
    /// Fields of a request's head; more are answered 431. 100.
    pub head_fields: usize,
}

/// How long a connection may keep a server waiting before it is ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Timeouts {
    /// For the whole head of a request, from its first byte or the connection's beginning. 10 s.
    pub head: Duration,
    /// For more of a request's body, between two reads. 60 s.
    pub body: Duration,
    /// For the peer to take more of a response, between two writes. 60 s.
    pub send: Duration,
    /// For the next request on a kept connection. 75 s.
    pub keep_alive: Duration,
    /// For what is under way when the server is to stop. 30 s.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            head_bytes: 16 << 10,
            head_fields: 100,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            body: Duration::from_secs(60),
            send: Duration::from_secs(60),
            keep_alive: Duration::from_secs(75),
            drain: Duration::from_secs(30),
        }
    }
}

impl<L, A> Serve<L, A> {
    /// Stops accepting when `signal` is ready, lets what is under way end, and ends the rest after
    /// [`Timeouts::drain`].
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

    /// Sets the timeouts.
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Counts into `stats`, which other servers and services may share.
    pub fn stats(mut self, stats: Arc<Stats>) -> Self {
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
pub(crate) struct Drain {
    begun: AtomicBool,
    notify: Arc<Notify>,
}

impl Drain {
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
        let drain = Arc::new(Drain::default());
        let turns = Arc::new(Turns::default());
        let handing_out = tokio::spawn({
            let turns = Arc::clone(&turns);
            async move { turns.hand_out().await }
        });
        let _stop_handing_out = AbortOnDrop(handing_out.abort_handle());
        let mut connections = JoinSet::new();
        loop {
            let has_room = connections.len() < self.limits.connections;
            tokio::select! {
                () = &mut signal => break,
                Some(_) = connections.join_next() => {}
                accepted = self.listener.accept(), if has_room => match accepted {
                    Ok(opening) => {
                        connections.spawn(self.connection(opening, &drain, &turns));
                    }
                    Err(error) => rest_after(&error, &self.stats).await,
                },
            }
        }
        drop(self.listener);
        drain.begin();
        let all = async { while connections.join_next().await.is_some() {} };
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
        drain: &Arc<Drain>,
        turns: &Arc<Turns>,
    ) -> impl Future<Output = ()> + Send + use<L, A, B> {
        let mut builder = http1::Builder::new();
        builder
            .max_headers(self.limits.head_fields)
            .max_header_size(self.limits.head_bytes)
            // A client that has no more to say still listens (`nc -N`).
            .half_close(true)
            // Timeouts are ours: one alarm a connection, not one a request.
            .header_read_timeout(None);
        let app = self.app.clone();
        let (timeouts, stats) = (self.timeouts.clone(), Arc::clone(&self.stats));
        let observer = self.observer.clone();
        // Whoever wants to see requests sees them all.
        let unseen = observer.as_ref().is_none_or(|it| !it.wants_requests());
        let shortcut = self.shortcut.clone().filter(|_| unseen);
        let (drain, turns) = (Arc::clone(drain), Arc::clone(turns));
        async move {
            let Ok(Ok(socket)) = tokio::time::timeout(timeouts.head, opening).await else {
                return;
            };
            let account = Arc::new(Account::new(socket.peer(), stats, observer, turns));
            let exchanges = Exchanges {
                app,
                account: Arc::clone(&account),
            };
            let transport = Transport::new(socket, Arc::clone(&account), shortcut);
            let hyper = builder.serve_connection(transport, exchanges);
            Connection::new(hyper, account, timeouts, drain).await;
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

/// An error of one connection is no reason to stop accepting; one of the whole process passes by itself, but not at once.
async fn rest_after(error: &io::Error, stats: &Stats) {
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    if Errno::from_io_error(error).is_some_and(|errno| exhausted.contains(&errno)) {
        stats.accept_pauses.add(1);
        tokio::time::sleep(RESTING).await;
    }
}
