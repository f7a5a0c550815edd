//! The serving threads: each has its own runtime, and all accept from the same sockets.

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
use underpass::accept::Listener;
use underpass_http::HttpSocket;

use super::tls_listener::TlsListener;
use crate::io::listen::ListeningSocket;
use crate::io::tls::TlsServer;

/// Serves the connections of a listener.
pub(crate) trait Service: Clone + Send + 'static {
    /// Accepts at most `connections` connections at once until `stop` is ready, then waits until
    /// they have ended.
    fn serve(
        &self,
        listener: impl Listener<Socket: Into<StreamSocket> + HttpSocket + AsFd>,
        connections: usize,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> ServiceFuture;

    /// As [`serve`](Self::serve), for a TCP listener. A service with TLS adds it here.
    fn serve_tcp(
        &self,
        listener: TcpListener,
        connections: usize,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> ServiceFuture {
        self.serve(listener, connections, stop)
    }

    /// As [`serve`](Self::serve), for a TCP listener whose connections have TLS.
    fn serve_tls(
        &self,
        listener: TcpListener,
        server: TlsServer,
        connections: usize,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> ServiceFuture {
        self.serve(TlsListener::new(listener, server), connections, stop)
    }

    /// As [`serve`](Self::serve), for a Unix listener.
    fn serve_unix(
        &self,
        listener: UnixListener,
        connections: usize,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> ServiceFuture {
        self.serve(listener, connections, stop)
    }
}

/// A running service.
pub(crate) type ServiceFuture = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// Thread and connection limits, and the shutdown signal.
#[derive(Clone)]
pub(super) struct ServingLimits {
    pub(super) threads: usize,
    /// The limit on connections, for all threads together.
    pub(super) connections: usize,
    pub(super) cancel: Cancel,
}

/// What the first thread (the main one) does besides serving.
pub(super) struct FirstThreadTasks<M, R, S, L> {
    /// The sockets for metrics, and the service that answers there.
    pub(super) metrics: (Vec<ListeningSocket>, M),
    /// Called when every thread accepts connections.
    pub(super) ready: R,
    /// Polled once the server was asked to stop.
    pub(super) stopping: S,
    /// Polled until the server ends.
    pub(super) reloading: L,
}

/// Limit on connections for metrics: only a metrics collector and a load balancer connect there.
const METRICS_CONNECTIONS: usize = 256;

/// The sockets of one thread.
struct ThreadShare {
    /// The sockets, each with its limit on connections.
    sockets: Vec<(ListeningSocket, usize)>,
}

impl<M, R, S, L> FirstThreadTasks<M, R, S, L>
where
    M: Service,
    R: FnOnce(),
    S: Future<Output = ()> + Send + 'static,
    L: Future<Output = io::Result<()>> + Send + 'static,
{
    /// Serves until it is cancelled and all connections have ended. The first thread runs these
    /// tasks meanwhile.
    pub(super) fn serve<V: Service>(
        self,
        sockets: Vec<ListeningSocket>,
        limits: &ServingLimits,
        service: &V,
    ) -> io::Result<()> {
        let mut shares = deal(sockets, limits)?;
        let own = shares.pop().unwrap_or(ThreadShare {
            sockets: Vec::new(),
        });
        let (started, ready) = channel();
        let (alive, all_ended) = mpsc::channel(1);
        for (index, share) in shares.into_iter().enumerate() {
            let (service, cancel) = (service.clone(), limits.cancel.clone());
            let (started, alive) = (started.clone(), alive.clone());
            thread::Builder::new()
                .name(format!("serve-{}", index + 1))
                .spawn(move || worker(share, &service, &cancel, started, alive))?;
        }
        drop((started, alive));
        self.first_thread(own, service, &limits.cancel, &ready, all_ended)
    }

    fn first_thread<V: Service>(
        self,
        share: ThreadShare,
        service: &V,
        cancel: &Cancel,
        others: &Receiver<io::Result<()>>,
        mut all_ended: mpsc::Receiver<Infallible>,
    ) -> io::Result<()> {
        let (runtime, mut servers) = start(share, service, cancel)?;
        let entered = runtime.enter();
        let (stop, stopped) = watch::channel(());
        let (sockets, metrics_service) = self.metrics;
        let mut metrics = JoinSet::new();
        for socket in sockets {
            let mut stopped = stopped.clone();
            let stopped = async move { _ = stopped.changed().await };
            let serving = serve(&metrics_service, socket, METRICS_CONNECTIONS, stopped)?;
            metrics.spawn_on(serving, runtime.handle());
        }
        let cancelled = cancelled(cancel)?;
        for started in others {
            started?;
        }
        (self.ready)();
        runtime.block_on(async {
            let stopping = tokio::spawn(async {
                cancelled.await;
                self.stopping.await;
            });
            let reloading = tokio::spawn(self.reloading);
            while servers.join_next().await.is_some() {}
            // Nothing is sent on the channel; it only closes.
            let _ = all_ended.recv().await;
            // Until here, /healthz said that the server is stopping.
            let _ = stop.send(());
            while metrics.join_next().await.is_some() {}
            stopping.abort();
            reloading.abort();
        });
        drop(entered);
        // A file that is being read again may never come: nobody waits for it any more.
        runtime.shutdown_background();
        Ok(())
    }
}

fn deal(sockets: Vec<ListeningSocket>, limits: &ServingLimits) -> io::Result<Vec<ThreadShare>> {
    let parts = limits.threads * sockets.len();
    let mut part = 0;
    let mut limited = |socket| {
        // This is rounded so that the limits of all sockets add up to the whole limit.
        let connections = (limits.connections + part) / parts;
        part += 1;
        (socket, connections)
    };
    let mut shares = Vec::new();
    for _ in 1..limits.threads {
        let clones: io::Result<Vec<_>> = sockets.iter().map(ListeningSocket::try_clone).collect();
        let sockets = clones?.into_iter().map(&mut limited).collect();
        shares.push(ThreadShare { sockets });
    }
    let sockets = sockets.into_iter().map(limited).collect();
    shares.push(ThreadShare { sockets });
    Ok(shares)
}

/// Runs a thread other than the first. The channel `alive` closes when the last of them has dropped
/// its sender.
fn worker<V: Service>(
    share: ThreadShare,
    service: &V,
    cancel: &Cancel,
    started: Sender<io::Result<()>>,
    alive: mpsc::Sender<Infallible>,
) {
    // The first thread waits until every thread has reported its start and dropped `started`.
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

/// Starts `service` on a TCP or Unix socket, on the current runtime.
fn serve<V: Service>(
    service: &V,
    socket: ListeningSocket,
    connections: usize,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<ServiceFuture> {
    Ok(match socket {
        ListeningSocket::Tcp(socket) => {
            service.serve_tcp(TcpListener::from_std(socket)?, connections, stop)
        }
        ListeningSocket::Unix(socket) => {
            service.serve_unix(UnixListener::from_std(socket)?, connections, stop)
        }
        ListeningSocket::Tls(socket, server) => {
            service.serve_tls(TcpListener::from_std(socket)?, server, connections, stop)
        }
    })
}

/// A future that is ready once `cancel` is cancelled, on the current runtime.
pub(super) fn cancelled(cancel: &Cancel) -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let wake = pipe::Receiver::from_owned_fd(cancel.as_fd().try_clone_to_owned()?)?;
    Ok(async move { _ = wake.readable().await })
}
