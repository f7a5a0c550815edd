//! The accept loop, with its limits, and the graceful shutdown.

use std::convert::Infallible;
use std::future::{Future, IntoFuture};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::server::conn::http1;
use rustix::io::Errno;
use tokio::task::{AbortHandle, JoinSet};
use tower_service::Service;

use super::{HttpSocket as _, Listener, RequestBody, Serve};
use crate::body::BoxError;
use crate::file::descriptors;
use crate::server::connection::Connection;
use crate::server::fairness::SendScheduler;
use crate::server::framing::HeadLimits;
use crate::server::open_connections::{OpenConnections, Shutdown};
use crate::server::service::HyperService;
use crate::server::state::ConnectionState;
use crate::server::transport::Transport;
use crate::stats::ServerStats;

/// How long accepting pauses when no descriptor or memory is left for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a full server waits for other servers on the same listener to accept a client, before
/// it closes an idle connection for it.
const WHEN_FULL_WAIT: Duration = Duration::from_millis(10);

/// How soon a server without room looks again for a client that has sent nothing yet.
const NEXT_LOOK: Duration = Duration::from_millis(500);

/// What the connections of a server share.
#[derive(Clone, Default)]
struct Shared {
    shutdown: Arc<Shutdown>,
    scheduler: Arc<SendScheduler>,
    open: Arc<OpenConnections>,
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
        let shared = Shared::default();
        let scheduler = Arc::clone(&shared.scheduler);
        let scheduling = tokio::spawn(async move { scheduler.run().await });
        let _scheduling = AbortOnDrop(scheduling.abort_handle());
        let mut connections = JoinSet::new();
        self.accept_until_stopped(&shared, &mut connections).await;
        drop(self.listener);
        shared.shutdown.begin();
        let all = async {
            while let Some(ended) = connections.join_next().await {
                self.stats.note(&ended);
            }
        };
        // Dropping the set closes the remaining connections.
        if tokio::time::timeout(self.timeouts.drain, all)
            .await
            .is_err()
        {
            self.stats.connections_cut.add(connections.len() as u64);
        }
        Ok(())
    }

    async fn accept_until_stopped(&mut self, shared: &Shared, connections: &mut JoinSet<()>) {
        let signal = self.signal.take();
        let mut signal = signal.unwrap_or_else(|| Box::pin(std::future::pending()));
        let open = &shared.open;
        // A connection that was accepted although the server is full, because an idle one can be
        // closed for it.
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
                connections.spawn(self.connection(opening, shared.clone()));
                continue;
            }
            tokio::select! {
                () = &mut signal => return,
                Some(ended) = connections.join_next() => self.stats.note(&ended),
                () = open.became_idle(), if full && !idle_left => idle_left = true,
                // No event says that a client stays silent, so this looks again after a while.
                () = tokio::time::sleep(NEXT_LOOK), if full && !idle_left => idle_left = true,
                accepted = accept(&mut self.listener, full), if next.is_none() && (!full || idle_left) => {
                    match accepted {
                        Ok(opening) => next = Some(opening),
                        Err(error) => pause_after(&error, open, &self.stats).await,
                    }
                }
            }
        }
    }

    /// One connection, from its handshake to its end.
    fn connection(
        &self,
        opening: L::Opening,
        shared: Shared,
    ) -> impl Future<Output = ()> + Send + use<L, A, B> {
        let http = self.http();
        let head_limits = HeadLimits {
            bytes: self.limits.head_bytes,
            fields: self.limits.fields(),
        };
        let app = self.app.clone();
        let (timeouts, stats) = (self.timeouts.clone(), Arc::clone(&self.stats));
        let observer = self.observer.clone();
        // An observer that wants to see requests sees them all.
        let unseen = observer.as_ref().is_none_or(|it| !it.wants_requests());
        let prepared = self.prepared.clone().filter(|_| unseen);
        let connect_info = self.connect_info.clone();
        async move {
            let Ok(Ok(socket)) = tokio::time::timeout(timeouts.head, opening).await else {
                return;
            };
            let extension = connect_info.map(|info| info(&socket));
            let Ok(extension) = extension.transpose() else {
                return;
            };
            let (peer, scheduler) = (socket.peer(), shared.scheduler);
            let connection = Arc::new(ConnectionState::new(peer, stats, observer, scheduler));
            let service = HyperService {
                app,
                extension,
                state: Arc::clone(&connection),
            };
            let (transport, transport_dropped) =
                Transport::new(socket, Arc::clone(&connection), prepared, head_limits);
            let hyper = http.serve_connection(transport, service);
            let server = (shared.shutdown, shared.open);
            Connection::new(hyper, connection, timeouts, server, transport_dropped).await;
        }
    }
}

impl<L: Listener, A> Serve<L, A> {
    fn http(&self) -> http1::Builder {
        let mut http = http1::Builder::new();
        http.max_headers(self.limits.fields())
            .max_header_size(self.limits.head_bytes)
            .half_close(self.half_close)
            // Timeouts are ours: one timer per connection, not one per request.
            .header_read_timeout(None);
        http
    }
}

/// Aborts a task when the future that needs it is dropped.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Accepts a connection. A full server gives other servers on the same listener time to accept it
/// first.
async fn accept<L: Listener>(listener: &mut L, full: bool) -> io::Result<L::Opening> {
    if full {
        tokio::time::sleep(WHEN_FULL_WAIT).await;
    }
    listener.accept().await
}

/// Pauses accepting if the process is out of descriptors or memory, which takes a while to pass.
/// Errors of a single connection cause no pause.
async fn pause_after(error: &io::Error, open: &OpenConnections, stats: &ServerStats) {
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    if Errno::from_io_error(error).is_some_and(|errno| exhausted.contains(&errno)) {
        if descriptors::make_room() {
            return;
        }
        stats.accept_pauses.add(1);
        stats.connections_evicted.add(open.close_idlest());
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}
