//! Servers, each on a thread and a single-threaded runtime of its own.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use axum::extract::ConnectInfo;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tower_service::Service;
use underpass_http::{
    FileBody, HttpSocket, Listener, RequestBody, Serve, ServeDir, ServerStats, serve,
};

use super::Log;

/// A server that ends with all its connections when this is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) stats: Arc<ServerStats>,
    pub(crate) log: Arc<Log>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Runs [`serve`] on TCP. `app` is made on the server's thread.
    pub(crate) fn start<A, B>(app: impl FnOnce(&Arc<ServerStats>) -> A + Send + 'static) -> Self
    where
        A: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>
            + Clone
            + Send
            + 'static,
        A::Future: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        Self::configured(app, |serve| serve)
    }

    /// The same, with changed settings.
    pub(crate) fn configured<A, B>(
        app: impl FnOnce(&Arc<ServerStats>) -> A + Send + 'static,
        configure: impl FnOnce(Serve<TcpListener, A>) -> Serve<TcpListener, A> + Send + 'static,
    ) -> Self
    where
        A: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>
            + Clone
            + Send
            + 'static,
        A::Future: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let (listener, address) = bound();
        Self::spawn(address, |stats, log| async move {
            let serve = serve(from_std(listener), app(&stats));
            let serve = configure(serve.stats(stats).observe(log));
            serve.await.unwrap();
        })
    }

    /// The same application behind axum's own server and behind this one, both with axum's
    /// `ConnectInfo`.
    pub(crate) fn both(app: &axum::Router) -> [(&'static str, Self); 2] {
        let (ours, theirs) = (app.clone(), app.clone());
        let ours = Self::configured(
            move |_| ours,
            |serve| serve.connect_info(|socket: &TcpStream| socket.peer_addr().map(ConnectInfo)),
        );
        [
            ("axum::serve", Self::axum(move |_| theirs)),
            ("serve", ours),
        ]
    }

    /// Runs [`serve`] on any listener.
    pub(crate) fn on<L, A, B>(
        address: SocketAddr,
        listener: impl FnOnce() -> L + Send + 'static,
        app: impl FnOnce(&Arc<ServerStats>) -> A + Send + 'static,
    ) -> Self
    where
        L: Listener<Socket: HttpSocket>,
        A: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>
            + Clone
            + Send
            + 'static,
        A::Future: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        Self::spawn(address, |stats, log| async move {
            let app = app(&stats);
            let serving = serve(listener(), app).stats(stats).observe(log);
            serving.await.unwrap();
        })
    }

    /// Runs the application behind axum's own server.
    pub(crate) fn axum(
        app: impl FnOnce(&Arc<ServerStats>) -> axum::Router + Send + 'static,
    ) -> Self {
        let (listener, address) = bound();
        Self::spawn(address, move |stats, _| async move {
            let app = app(&stats).into_make_service_with_connect_info::<SocketAddr>();
            axum::serve(from_std(listener), app).await.unwrap();
        })
    }

    /// Serves the same files with hyper, which copies bodies into its buffer.
    pub(crate) fn flattening_hyper(
        app: impl FnOnce(&Arc<ServerStats>) -> ServeDir + Send + 'static,
    ) -> Self {
        let (listener, address) = bound();
        Self::spawn(address, move |stats, _| async move {
            let (listener, app) = (from_std(listener), app(&stats));
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let connection = hyper::server::conn::http1::Builder::new()
                    .pipeline_flush(true)
                    .serve_connection(TokioIo::new(socket), TowerToHyperService::new(app.clone()));
                tokio::spawn(connection);
            }
        })
    }

    pub(crate) fn spawn<F>(
        address: SocketAddr,
        serving: impl FnOnce(Arc<ServerStats>, Arc<Log>) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + 'static,
    {
        let (stats, log) = (Arc::<ServerStats>::default(), Arc::<Log>::default());
        let (stop, stopped) = oneshot::channel();
        let theirs = (Arc::clone(&stats), Arc::clone(&log));
        let thread = std::thread::spawn(move || {
            let runtime = runtime();
            runtime.block_on(async {
                tokio::select! {
                    () = serving(theirs.0, theirs.1) => {}
                    _ = stopped => {}
                }
            });
            runtime.shutdown_background();
        });
        Self {
            address,
            stats,
            log,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// The bytes that were sent by each route: `(sendfile, written)`.
    pub(crate) fn left(&self) -> (u64, u64) {
        (
            self.stats.bytes_sendfile.get(),
            self.stats.bytes_written.get(),
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(
            std::thread::panicking() || matches!(ended, Some(Ok(()))),
            "the server panicked"
        );
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// For tests without a server.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    runtime().block_on(future)
}

pub(crate) fn bound() -> (std::net::TcpListener, SocketAddr) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    (listener, address)
}

pub(crate) fn from_std(listener: std::net::TcpListener) -> TcpListener {
    TcpListener::from_std(listener).unwrap()
}

/// Checks that [`FileBody`] satisfies the bounds above, for all bodies of this crate.
const _: fn() = || {
    fn is_body<B: Body<Data = Bytes> + Send + 'static>() {}
    is_body::<FileBody>();
};
