//! Runs a server: what its accept loop needs, and what becomes of each connection.

use std::convert::Infallible;
use std::future::{Future, IntoFuture};
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::server::conn::http1;
use tokio::task::AbortHandle;
use tower_service::Service;
use underpass::accept::{AcceptLoop, AcceptPolicy, Listener};

use super::{
    ConnectInfo, HttpSocket, IncomingStream, Limits, Observe, PerConnection, RequestBody, Serve,
    Timeouts,
};
use crate::body::BoxError;
use crate::file::descriptors;
use crate::server::added_fields::AddedFields;
use crate::server::application::ConnectionApp;
use crate::server::client_address::TrustedProxies;
use crate::server::connection::{Connection, Protocols, Start};
use crate::server::fairness::SendScheduler;
use crate::server::open_connections::{OpenConnections, Shutdown};
use crate::server::service::RequestExtension;
use crate::server::state::ConnectionState;
use crate::stats::ServerStats;

impl<L, A, B> IntoFuture for Serve<L, A>
where
    L: Listener<Socket: HttpSocket>,
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
        Box::pin(run(self))
    }
}

impl<L, A, T, B> IntoFuture for Serve<L, PerConnection<A>>
where
    L: Listener<Socket: HttpSocket>,
    A: for<'a> Service<IncomingStream<'a, L>, Response = T, Error = Infallible>
        + Clone
        + Send
        + 'static,
    for<'a> <A as Service<IncomingStream<'a, L>>>::Future: Send,
    T: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    T::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Output = io::Result<()>;
    type IntoFuture = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(run(self))
    }
}

async fn run<L, A>(server: Serve<L, A>) -> io::Result<()>
where
    L: Listener<Socket: HttpSocket>,
    A: ConnectionApp<L>,
{
    let shared = Shared::default();
    let scheduler = Arc::clone(&shared.scheduler);
    let scheduling = tokio::spawn(async move { scheduler.run().await });
    let _scheduling = AbortOnDrop(scheduling.abort_handle());
    let policy = HttpPolicy {
        shared: shared.clone(),
        stats: Arc::clone(&server.stats),
    };
    let never = || Box::pin(std::future::pending()) as _;
    let stop = server.signal.unwrap_or_else(never);
    let cut_signal = server.cut_signal.unwrap_or_else(never);
    let drain = server.timeouts.drain;
    let cut = async move {
        tokio::select! {
            () = tokio::time::sleep(drain) => {}
            () = cut_signal => {}
        }
    };
    // An observer that wants to see requests sees them all.
    let unseen = server
        .observer
        .as_ref()
        .is_none_or(|it| !it.wants_requests());
    let connections = Connections {
        protocols: Arc::new(Protocols {
            http1: Arc::new(http1(&server.limits, server.half_close)),
            limits: server.limits.clone(),
            h2c: server.h2c,
            prepared: server.prepared.filter(|_| unseen),
        }),
        app: server.app,
        timeouts: server.timeouts,
        connect_info: server.connect_info,
        proxies: server.proxies,
        added_fields: Arc::new(server.added_fields),
        stats: server.stats,
        observer: server.observer,
        shared,
    };
    AcceptLoop::new(server.listener, policy)
        .limit(server.limits.connections)
        .run(stop, cut, move |opening| connections.serve::<L>(opening))
        .await;
    Ok(())
}

fn http1(limits: &Limits, half_close: bool) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.max_headers(limits.fields())
        .max_header_size(limits.head_bytes)
        .half_close(half_close)
        // Timeouts are ours: one timer per connection, not one per request.
        .header_read_timeout(None);
    http
}

/// What the connections of a server share.
#[derive(Clone, Default)]
struct Shared {
    shutdown: Arc<Shutdown>,
    scheduler: Arc<SendScheduler>,
    open: Arc<OpenConnections>,
}

/// Makes room by closing cached files, and connections that wait for a request.
struct HttpPolicy {
    shared: Shared,
    stats: Arc<ServerStats>,
}

impl AcceptPolicy for HttpPolicy {
    fn exhausted(&self) -> bool {
        if descriptors::make_room() {
            return true;
        }
        self.stats.accept_pauses.add(1);
        self.close_idle();
        false
    }

    fn panicked(&self) {
        self.stats.connections_panicked.add(1);
    }

    fn stopping(&self) {
        self.shared.shutdown.begin();
    }

    fn cut(&self, connections: usize) {
        self.stats.connections_cut.add(connections as u64);
        self.stats
            .bytes_cut
            .add(self.shared.open.sent_of_incomplete());
    }

    fn has_idle(&self) -> bool {
        self.shared.open.has_idle()
    }

    fn became_idle(&self) -> impl Future<Output = ()> + Send {
        self.shared.open.became_idle()
    }

    fn close_idle(&self) {
        let closed = self.shared.open.close_idlest();
        self.stats.connections_evicted.add(closed);
    }
}

/// What each connection of a server begins with.
struct Connections<S, A> {
    protocols: Arc<Protocols>,
    app: A,
    timeouts: Timeouts,
    connect_info: Option<ConnectInfo<S>>,
    proxies: Option<TrustedProxies>,
    added_fields: Arc<AddedFields>,
    stats: Arc<ServerStats>,
    observer: Option<Arc<dyn Observe>>,
    shared: Shared,
}

impl<S: HttpSocket, A> Connections<S, A> {
    /// One connection, from its handshake to its end.
    fn serve<L>(&self, opening: L::Opening) -> impl Future<Output = ()> + Send + use<S, A, L>
    where
        L: Listener<Socket = S>,
        A: ConnectionApp<L>,
    {
        let protocols = Arc::clone(&self.protocols);
        let app = self.app.clone();
        let (timeouts, stats) = (self.timeouts.clone(), Arc::clone(&self.stats));
        let observer = self.observer.clone();
        let connect_info = self.connect_info.clone();
        let proxies = self.proxies.clone();
        let added_fields = Arc::clone(&self.added_fields);
        let shared = self.shared.clone();
        async move {
            let Ok(Ok(socket)) = tokio::time::timeout(timeouts.head, opening).await else {
                return;
            };
            let (socket, app) = app.for_connection(socket).await;
            let extension = connect_info.map(|info| info(&socket));
            let Ok(extension) = extension.transpose() else {
                return;
            };
            let extension = RequestExtension::with_client(extension, proxies, socket.peer());
            let scheduler = shared.scheduler;
            let connection =
                ConnectionState::new(&socket, added_fields, stats, observer, scheduler);
            let start = Start {
                socket,
                app,
                extension,
                protocols,
            };
            let server = (shared.shutdown, shared.open);
            Connection::new(start, Arc::new(connection), timeouts, server).await;
        }
    }
}

/// Aborts a task when the future that needs it is dropped.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
