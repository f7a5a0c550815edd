//! A server for one test, on a thread with a runtime of its own.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tower_service::Service;
use underpass_http::{
    Limits, Observe, RequestBody, Serve, ServeDir, ServerStats, Timeouts, serve, serve_dir,
};

use crate::wire::{self, Listener};

/// A server that is stopped gracefully when this is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) stats: Arc<ServerStats>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

#[derive(Clone, Default)]
pub(crate) struct Settings {
    pub(crate) limits: Limits,
    pub(crate) timeouts: Timeouts,
    pub(crate) stats: Arc<ServerStats>,
    pub(crate) observer: Option<Arc<dyn Observe>>,
    pub(crate) without_h2c: bool,
}

impl Settings {
    pub(crate) fn new(set: impl FnOnce(&mut Limits, &mut Timeouts)) -> Self {
        let mut settings = Self::default();
        set(&mut settings.limits, &mut settings.timeouts);
        settings
    }
}

impl Server {
    /// Serves a directory, whose service uses the server's counters.
    pub(crate) fn new(files: ServeDir) -> Self {
        Self::with(files, Settings::default())
    }

    pub(crate) fn with(files: ServeDir, settings: Settings) -> Self {
        let files = files.stats(Arc::clone(&settings.stats));
        Self::run(move |listener| serve_dir(listener, files), settings)
    }

    /// Serves any service.
    pub(crate) fn of<A, B>(app: A, settings: Settings) -> Self
    where
        A: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
        A: Clone + Send + 'static,
        A::Future: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        Self::run(move |listener| serve(listener, app), settings)
    }

    fn run<A, B>(
        make: impl FnOnce(Listener) -> Serve<Listener, A> + Send + 'static,
        settings: Settings,
    ) -> Self
    where
        A: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
        A: Clone + Send + 'static,
        A::Future: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (stop, stopped) = oneshot::channel::<()>();
        let (send, received) = mpsc::channel();
        let stats = Arc::clone(&settings.stats);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await?;
                send.send(listener.local_addr()?).unwrap();
                let mut server = make(wire::listener(listener)).h2c(!settings.without_h2c);
                if let Some(observer) = settings.observer {
                    server = server.observe(observer);
                }
                server
                    .limits(settings.limits)
                    .timeouts(settings.timeouts)
                    .stats(settings.stats)
                    .with_graceful_shutdown(async { drop(stopped.await) })
                    .await
            })
        });
        Self {
            address: received.recv_timeout(Duration::from_secs(10)).unwrap(),
            stats,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Asks the server to stop, and does not wait.
    pub(crate) fn ask_to_stop(&mut self) {
        drop(self.stop.take());
    }

    pub(crate) fn has_stopped(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Stops the server, and returns its final counters.
    pub(crate) fn stop(mut self) -> Arc<ServerStats> {
        self.join().unwrap().unwrap();
        Arc::clone(&self.stats)
    }

    /// Stops the server, which has sent this many bytes of large files without copying them into a
    /// buffer of its own. Returns its final counters.
    #[track_caller]
    pub(crate) fn stop_uncopied(self, of_files: u64) -> Arc<ServerStats> {
        let stats = self.stop();
        let (by_sendfile, mapped) = (stats.bytes_sendfile.get(), stats.bytes_mapped.get());
        let encrypted = stats.bytes_encrypted.get();
        if crate::TRANSPORT.is_tls() && encrypted > 0 {
            // Encrypted in this process, from where the bytes are.
            assert_eq!((by_sendfile, mapped, stats.bytes_written.get()), (0, 0, 0));
            assert!(encrypted >= of_files, "{encrypted} of {of_files}");
        } else if crate::TRANSPORT.is_http2() {
            // h2 copies the first 247 bytes of a frame.
            let least = (of_files * 19 / 20).saturating_sub(1_000);
            assert_eq!(by_sendfile, 0);
            assert!(
                (least..=of_files).contains(&mapped),
                "{mapped} of {of_files}"
            );
        } else {
            assert_eq!((by_sendfile, mapped), (of_files, 0));
        }
        stats
    }

    fn join(&mut self) -> std::thread::Result<io::Result<()>> {
        self.ask_to_stop();
        self.thread.take().map_or(Ok(Ok(())), JoinHandle::join)
    }

    /// Waits until a counter has reached `count`. Returns false if that takes too long.
    pub(crate) fn comes_to(&self, count: u64, of: impl Fn(&ServerStats) -> u64) -> bool {
        let begun = std::time::Instant::now();
        while of(&self.stats) < count && begun.elapsed() < Duration::from_secs(20) {
            std::thread::yield_now();
        }
        of(&self.stats) == count
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", wire::SCHEME, self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let ended = self.join();
        assert!(
            std::thread::panicking() || matches!(ended, Ok(Ok(()))),
            "{ended:?}"
        );
    }
}
