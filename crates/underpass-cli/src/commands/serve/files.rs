//! Files over HTTP, as something that threads serve.

use std::convert::Infallible;
use std::future::{Future, IntoFuture};
use std::sync::Arc;

use http::{Request, Response};
use tower_service::Service as Tower;
use underpass_http::{
    FileBody, Limits, Listener, Observe, RequestBody, Serve, ServeDir, ServerStats, Timeouts,
};

use super::app::Guarded;
use crate::server::{Service, ServiceFuture};

/// Everything about a server but where it listens.
#[derive(Clone)]
pub(super) struct Files<A> {
    pub(super) app: A,
    pub(super) timeouts: Timeouts,
    pub(super) stats: Arc<ServerStats>,
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
        // As `serve_dir` has it: passwords do not change who gets a whole file.
        underpass_http::serve(listener, self).half_close(true)
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
        listener: impl Listener,
        connections: usize,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> ServiceFuture {
        let mut limits = Limits::default();
        limits.connections = connections;
        let serve = self.app.clone().on(listener);
        serve
            .with_graceful_shutdown(stop)
            .limits(limits)
            .timeouts(self.timeouts.clone())
            .stats(Arc::clone(&self.stats))
            .observe(Arc::clone(&self.observer))
            .into_future()
    }
}
