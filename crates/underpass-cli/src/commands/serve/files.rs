//! Files over HTTP, as something that threads serve.

use std::convert::Infallible;
use std::future::{Future, IntoFuture};
use std::io;
use std::sync::Arc;

use http::{Request, Response};
use tokio::net::{TcpListener, UnixListener};
use tower_service::Service as Tower;
use underpass_http::{
    FileBody, Limits, Listener, Observe, RequestBody, Serve, ServeDir, Stats, Timeouts,
};

use super::app::Guarded;
use crate::server::{Running, Service, Socket};

/// Everything about a server but where it listens.
#[derive(Clone)]
pub(super) struct Files<A> {
    pub(super) app: A,
    pub(super) timeouts: Timeouts,
    pub(super) stats: Arc<Stats>,
    pub(super) observer: Arc<dyn Observe>,
}

/// What answers.
pub(super) trait App:
    Tower<Request<RequestBody>, Response = Response<FileBody>, Error = Infallible, Future: Send>
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

impl App for ServeDir {
    fn on<L: Listener>(self, listener: L) -> Serve<L, Self> {
        underpass_http::serve_dir(listener, self)
    }
}

impl<A: App> Service for Files<A> {
    fn on(
        &self,
        socket: Socket,
        connections: usize,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<Running> {
        let app = self.app.clone();
        Ok(match socket {
            Socket::Tcp(listener) => {
                let serve = app.on(TcpListener::from_std(listener)?);
                self.set(serve, connections, stop).into_future()
            }
            Socket::Unix(listener) => {
                let serve = app.on(UnixListener::from_std(listener)?);
                self.set(serve, connections, stop).into_future()
            }
        })
    }
}

impl<A> Files<A> {
    fn set<L>(
        &self,
        serve: Serve<L, A>,
        connections: usize,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Serve<L, A> {
        let mut limits = Limits::default();
        limits.connections = connections;
        serve
            .with_graceful_shutdown(stop)
            .limits(limits)
            .timeouts(self.timeouts.clone())
            .stats(Arc::clone(&self.stats))
            .observe(Arc::clone(&self.observer))
    }
}
