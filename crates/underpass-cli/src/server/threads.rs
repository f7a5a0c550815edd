//! The threads that serve: each with a runtime of its own, all accepting from the same sockets.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use tokio::net::unix::pipe;
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use underpass::Cancel;
use underpass::StreamSocket;
use underpass_http::Listener;

use crate::io::listen::ListeningSocket;

/// What is done with the connections of a listener.
pub(crate) trait Service: Clone + Send + 'static {
    /// Accepts connections, no more than `connections` at once, until `stop` is ready; then sees
    /// them out.
    fn on(
        &self,
        listener: impl Listener<Socket: Into<StreamSocket>>,
        connections: usize,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> ServiceFuture;
}

/// A service at work.
pub(crate) type ServiceFuture = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// How many of everything, and when it ends.
#[derive(Clone)]
pub(super) struct ServingLimits {
    pub(super) threads: usize,
    /// Together.
    pub(super) connections: usize,
    pub(super) cancel: Cancel,
}

/// What the first thread, the process's own, does besides serving.
pub(super) struct FirstThreadTasks<M, R, S, L> {
    /// Metrics, and where they are asked for.
    pub(super) metrics: (Vec<ListeningSocket>, M),
    /// When every thread accepts connections.
    pub(super) ready: R,
    /// When the end was asked for.
    pub(super) stopping: S,
    /// All the time.
    pub(super) reloading: L,
}

/// Nobody but a collector and a balancer asks there.
const METRICS_CONNECTIONS: usize = 256;

/// One of the parts into which the sockets and the connections are dealt out.
struct ThreadShare {
    /// Each with the number of its connections.
    sockets: Vec<(ListeningSocket, usize)>,
}

/// Serves until it is cancelled and all has ended.
pub(super) fn run<V, M, R, S, L>(
    sockets: Vec<ListeningSocket>,
    extent: &ServingLimits,
    service: &V,
    beside: FirstThreadTasks<M, R, S, L>,
) -> io::Result<()>
where
    V: Service,
    M: Service,
    R: FnOnce(),
    S: Future<Output = ()> + Send + 'static,
    L: Future<Output = io::Result<()>> + Send + 'static,
{
    let mut shares = deal(sockets, extent)?;
    let own = shares.pop().unwrap_or(ThreadShare {
        sockets: Vec::new(),
    });
    let (started, ready) = channel();
    let (alive, all_ended) = mpsc::channel(1);
    for (index, share) in shares.into_iter().enumerate() {
        let (service, cancel) = (service.clone(), extent.cancel.clone());
        let (started, alive) = (started.clone(), alive.clone());
        thread::Builder::new()
            .name(format!("serve-{}", index + 1))
            .spawn(move || worker(share, &service, &cancel, started, alive))?;
    }
    drop((started, alive));
    first(own, service, &extent.cancel, beside, &ready, all_ended)
}

fn deal(sockets: Vec<ListeningSocket>, extent: &ServingLimits) -> io::Result<Vec<ThreadShare>> {
    let parts = extent.threads * sockets.len();
    let mut part = 0;
    let mut limited = |socket| {
        // Together the parts are the whole, to the last connection.
        let connections = (extent.connections + part) / parts;
        part += 1;
        (socket, connections)
    };
    let mut shares = Vec::new();
    for _ in 1..extent.threads {
        let clones: io::Result<Vec<_>> = sockets.iter().map(ListeningSocket::try_clone).collect();
        let sockets = clones?.into_iter().map(&mut limited).collect();
        shares.push(ThreadShare { sockets });
    }
    let sockets = sockets.into_iter().map(limited).collect();
    shares.push(ThreadShare { sockets });
    Ok(shares)
}

/// Any thread but the first. `alive` is closed when the last has dropped its own.
fn worker<V: Service>(
    share: ThreadShare,
    service: &V,
    cancel: &Cancel,
    started: Sender<io::Result<()>>,
    alive: mpsc::Sender<Infallible>,
) {
    // The first thread waits until all have said how it went and let go of `started`.
    match start(share, service, cancel) {
        Err(error) => _ = started.send(Err(error)),
        Ok((runtime, mut servers)) => {
            let _ = started.send(Ok(()));
            drop(started);
            runtime.block_on(async { while servers.join_next().await.is_some() {} });
        }
    }
    drop(alive);
}

fn first<V, M, R, S, L>(
    share: ThreadShare,
    service: &V,
    cancel: &Cancel,
    beside: FirstThreadTasks<M, R, S, L>,
    others: &Receiver<io::Result<()>>,
    mut all_ended: mpsc::Receiver<Infallible>,
) -> io::Result<()>
where
    V: Service,
    M: Service,
    R: FnOnce(),
    S: Future<Output = ()> + Send + 'static,
    L: Future<Output = io::Result<()>> + Send + 'static,
{
    let (runtime, mut servers) = start(share, service, cancel)?;
    let _entered = runtime.enter();
    let (stop, stopped) = watch::channel(());
    let (sockets, endpoint) = beside.metrics;
    let mut metrics = JoinSet::new();
    for socket in sockets {
        let mut stopped = stopped.clone();
        let stopped = async move { _ = stopped.changed().await };
        let serving = serve(&endpoint, socket, METRICS_CONNECTIONS, stopped)?;
        metrics.spawn_on(serving, runtime.handle());
    }
    let cancelled = cancelled(cancel)?;
    for started in others {
        started?;
    }
    (beside.ready)();
    runtime.block_on(async {
        let stopping = tokio::spawn(async {
            cancelled.await;
            beside.stopping.await;
        });
        let reloading = tokio::spawn(beside.reloading);
        while servers.join_next().await.is_some() {}
        // Nothing is ever sent.
        let _ = all_ended.recv().await;
        // Until here it said that the server is draining.
        let _ = stop.send(());
        while metrics.join_next().await.is_some() {}
        stopping.abort();
        reloading.abort();
    });
    Ok(())
}

fn start<V: Service>(
    share: ThreadShare,
    service: &V,
    cancel: &Cancel,
) -> io::Result<(Runtime, JoinSet<io::Result<()>>)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let entered = runtime.enter();
    let mut servers = JoinSet::new();
    for (socket, connections) in share.sockets {
        servers.spawn(serve(service, socket, connections, cancelled(cancel)?)?);
    }
    drop(entered);
    Ok((runtime, servers))
}

/// Has `service` accept from a socket of either kind. For the runtime that is entered.
fn serve<V: Service>(
    service: &V,
    socket: ListeningSocket,
    connections: usize,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<ServiceFuture> {
    Ok(match socket {
        ListeningSocket::Tcp(socket) => {
            service.on(TcpListener::from_std(socket)?, connections, stop)
        }
        ListeningSocket::Unix(socket) => {
            service.on(UnixListener::from_std(socket)?, connections, stop)
        }
    })
}

/// Ready once `cancel` was thrown. For the runtime that is entered.
fn cancelled(cancel: &Cancel) -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let wake = pipe::Receiver::from_owned_fd(cancel.as_fd().try_clone_to_owned()?)?;
    Ok(async move { _ = wake.readable().await })
}
