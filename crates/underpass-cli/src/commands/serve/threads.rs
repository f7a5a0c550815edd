//! The threads that serve: each with a runtime of its own, all accepting from the same sockets.

use std::convert::Infallible;
use std::future::{Future, IntoFuture};
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use http::{Request, Response};
use tokio::net::unix::pipe;
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tower_service::Service;
use underpass::Cancel;
use underpass_http::{
    FileBody, Limits, Listener, Observe, RequestBody, Serve, ServeDir, Stats, Timeouts,
};

use super::app::Guarded;
use super::metrics::Endpoint;
use super::sockets::Socket;

/// Everything about a server but where it listens.
#[derive(Clone)]
pub(super) struct Server<A> {
    pub(super) app: A,
    pub(super) limits: Limits,
    pub(super) timeouts: Timeouts,
    pub(super) stats: Arc<Stats>,
    pub(super) observer: Option<Arc<dyn Observe>>,
    pub(super) cancel: Cancel,
}

/// What the first thread, the process's own, does besides serving.
pub(super) struct Beside<R, S> {
    pub(super) metrics: Option<(Socket, Endpoint)>,
    /// When every thread accepts connections.
    pub(super) ready: R,
    /// When the end was asked for.
    pub(super) stopping: S,
}

/// One of the parts into which the sockets and the connections are dealt out.
struct Share {
    sockets: Vec<(Socket, Limits)>,
}

/// Serves on `threads` threads until it is cancelled and all has ended.
pub(super) fn run<A, R, S>(
    sockets: Vec<Socket>,
    threads: usize,
    server: &Server<A>,
    beside: Beside<R, S>,
) -> io::Result<()>
where
    A: App,
    R: FnOnce(),
    S: Future<Output = ()> + Send + 'static,
{
    let mut shares = deal(sockets, threads, &server.limits)?;
    let own = shares.pop().unwrap_or(Share {
        sockets: Vec::new(),
    });
    let (started, ready) = channel();
    let (alive, all_ended) = mpsc::channel(1);
    for (index, share) in shares.into_iter().enumerate() {
        let (server, started, alive) = (server.clone(), started.clone(), alive.clone());
        thread::Builder::new()
            .name(format!("serve-{}", index + 1))
            .spawn(move || worker(share, &server, started, alive))?;
    }
    drop((started, alive));
    first(own, server, beside, &ready, all_ended)
}

/// A service that can be served.
pub(super) trait App:
    Service<Request<RequestBody>, Response = Response<FileBody>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + 'static
{
    /// The server to prepare.
    fn on<L: Listener>(self, listener: L) -> Serve<L, Self> {
        underpass_http::serve(listener, self)
    }
}

impl App for Guarded {}

impl App for Endpoint {}

impl App for ServeDir {
    fn on<L: Listener>(self, listener: L) -> Serve<L, Self> {
        underpass_http::serve_dir(listener, self)
    }
}

fn deal(sockets: Vec<Socket>, threads: usize, limits: &Limits) -> io::Result<Vec<Share>> {
    let parts = threads * sockets.len();
    let mut part = 0;
    let mut limited = |socket| {
        let mut limits = limits.clone();
        // Together the parts are the whole, to the last connection.
        limits.connections = (limits.connections + part) / parts;
        part += 1;
        (socket, limits)
    };
    let mut shares = Vec::new();
    for _ in 1..threads {
        let clones: io::Result<Vec<_>> = sockets.iter().map(Socket::try_clone).collect();
        let sockets = clones?.into_iter().map(&mut limited).collect();
        shares.push(Share { sockets });
    }
    let sockets = sockets.into_iter().map(limited).collect();
    shares.push(Share { sockets });
    Ok(shares)
}

/// Any thread but the first. `alive` is closed when the last has dropped its own.
fn worker<A: App>(
    share: Share,
    server: &Server<A>,
    started: Sender<io::Result<()>>,
    alive: mpsc::Sender<Infallible>,
) {
    // The first thread waits until all have said how it went and let go of `started`.
    match server.start(share) {
        Err(error) => _ = started.send(Err(error)),
        Ok((runtime, mut servers)) => {
            let _ = started.send(Ok(()));
            drop(started);
            runtime.block_on(async { while servers.join_next().await.is_some() {} });
        }
    }
    drop(alive);
}

fn first<A, R, S>(
    share: Share,
    server: &Server<A>,
    beside: Beside<R, S>,
    others: &Receiver<io::Result<()>>,
    mut all_ended: mpsc::Receiver<Infallible>,
) -> io::Result<()>
where
    A: App,
    R: FnOnce(),
    S: Future<Output = ()> + Send + 'static,
{
    let (runtime, mut servers) = server.start(share)?;
    let _entered = runtime.enter();
    let (stop, stopped) = oneshot::channel();
    let metrics = beside.metrics.map(|(socket, endpoint)| {
        let stopped = async { _ = stopped.await };
        Server::beside(endpoint, server.cancel.clone()).on(socket, Limits::default(), stopped)
    });
    let metrics = metrics.transpose()?.map(|metrics| runtime.spawn(metrics));
    let cancelled = cancelled(&server.cancel)?;
    for started in others {
        started?;
    }
    (beside.ready)();
    runtime.block_on(async {
        let stopping = tokio::spawn(async {
            cancelled.await;
            beside.stopping.await;
        });
        while servers.join_next().await.is_some() {}
        // Nothing is ever sent.
        let _ = all_ended.recv().await;
        // Until here it said that the server is draining.
        let _ = stop.send(());
        if let Some(metrics) = metrics {
            let _ = metrics.await;
        }
        stopping.abort();
    });
    Ok(())
}

type Running = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

impl<A: App> Server<A> {
    /// A small server beside the one that matters.
    fn beside(app: A, cancel: Cancel) -> Self {
        Self {
            app,
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            stats: Arc::default(),
            observer: None,
            cancel,
        }
    }

    fn start(&self, share: Share) -> io::Result<(Runtime, JoinSet<io::Result<()>>)> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let entered = runtime.enter();
        let mut servers = JoinSet::new();
        for (socket, limits) in share.sockets {
            servers.spawn(self.on(socket, limits, cancelled(&self.cancel)?)?);
        }
        drop(entered);
        Ok((runtime, servers))
    }

    fn on(
        &self,
        socket: Socket,
        limits: Limits,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<Running> {
        let app = self.app.clone();
        Ok(match socket {
            Socket::Tcp(listener) => {
                let serve = app.on(TcpListener::from_std(listener)?);
                self.set(serve, limits, stop).into_future()
            }
            Socket::Unix(listener) => {
                let serve = app.on(UnixListener::from_std(listener)?);
                self.set(serve, limits, stop).into_future()
            }
        })
    }

    fn set<L>(
        &self,
        serve: Serve<L, A>,
        limits: Limits,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Serve<L, A> {
        let serve = serve
            .with_graceful_shutdown(stop)
            .limits(limits)
            .timeouts(self.timeouts.clone())
            .stats(Arc::clone(&self.stats));
        match &self.observer {
            Some(observer) => serve.observe(Arc::clone(observer)),
            None => serve,
        }
    }
}

/// Ready once `cancel` was thrown. For the runtime that is entered.
fn cancelled(cancel: &Cancel) -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let wake = pipe::Receiver::from_owned_fd(cancel.as_fd().try_clone_to_owned()?)?;
    Ok(async move { _ = wake.readable().await })
}
