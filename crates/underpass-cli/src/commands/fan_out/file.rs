//! Fan-out of a file: each subscriber gets a transfer of its own, and all share the page cache.

use std::fs::File;
use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{Shutdown, shutdown};
use underpass::StreamSocket;
use underpass::accept::Listener;
use underpass::witness::Witness;
use underpass::{
    LayerError, Receipt, Route, Running as RunningTransfer, Transfer, await_taken,
    await_taken_through, close_in_order, close_lingering_async, reset_on_close, units,
};

use super::FanOutServer;
use super::metrics::{self, FileStats};
use super::receipts::SubscriberReporter;
use super::receipts::{FanOutReceipt, FileReceipt, device_bytes};
use crate::args::FanOutArgs;
use crate::exit::Failure;
use crate::server::{self, ConnectionCounts, Drain, Service, ServiceFuture};

pub(super) fn run(args: &FanOutArgs, file: File, path: &Path) -> Result<(), Failure> {
    let fan_out = FanOutServer::prepare(args)?;
    let shared = Arc::new(FileFanOut {
        file: Arc::new(file),
        name: path.display().to_string(),
        idle_timeout: args.limits.idle_timeout,
        drain: fan_out.drain.clone(),
        connections: Arc::clone(&fan_out.connections),
        reporter: fan_out.receipt_log.reporter(args),
        stats: Arc::default(),
        read_before: device_bytes(),
    });
    let registry = metrics::of_file(&shared.stats, &shared.connections);
    let service = FileService(Arc::clone(&shared));
    fan_out.run(args, &shared.name, &service, registry, || None)?;
    let connections = &shared.connections;
    let sent = connections.sent_when_cut();
    shared.drain.outcome(connections.cut.get(), &sent)
}

/// State shared by all threads.
struct FileFanOut {
    file: Arc<File>,
    name: String,
    idle_timeout: Option<Duration>,
    drain: Drain,
    connections: Arc<ConnectionCounts>,
    reporter: SubscriberReporter,
    stats: Arc<FileStats>,
    /// Bytes that this process had read from devices at the start.
    read_before: Option<u64>,
}

#[derive(Clone)]
struct FileService(Arc<FileFanOut>);

impl Service for FileService {
    fn serve(
        &self,
        listener: impl Listener<Socket: Into<StreamSocket>>,
        connections: usize,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> ServiceFuture {
        let shared = Arc::clone(&self.0);
        let (counts, drain) = (Arc::clone(&shared.connections), shared.drain.clone());
        let serve_subscriber = move |socket| serve_subscriber(Arc::clone(&shared), socket);
        Box::pin(async move {
            counts
                .accept(listener, connections, stop, drain.over(), serve_subscriber)
                .await;
            Ok(())
        })
    }
}

/// Sends the file to a subscriber.
async fn serve_subscriber(shared: Arc<FileFanOut>, socket: StreamSocket) {
    let peer = server::peer_name(server::peer_address(&socket));
    // Until everything is sent, closing the connection resets it, so that the subscriber does not
    // take a part for the whole.
    let _ = reset_on_close(&socket);
    let Ok(witness) = Witness::of(&socket) else {
        return shared.reporter.ended_early(&peer, "went away at once");
    };
    let socket = Arc::new(socket);
    let transfer = Transfer::new(Arc::clone(&shared.file), Arc::clone(&socket))
        .range(..)
        .idle_timeout(shared.idle_timeout)
        .sink_layer(socket.layer().cloned())
        .names(shared.name.clone(), peer.clone());
    let running = match transfer.start() {
        Ok(running) => running,
        Err(error) => return shared.reporter.ended_early(&peer, error),
    };
    let mut served = FileSubscriber {
        shared,
        running,
        socket,
        witness,
        given: None,
        outcome: None,
    };
    served.outcome = Some(served.run().await);
}

/// A subscriber. Its receipt is written when this is dropped, also if it was cut off.
struct FileSubscriber {
    shared: Arc<FileFanOut>,
    running: RunningTransfer<'static, Arc<File>, Arc<StreamSocket>>,
    socket: Arc<StreamSocket>,
    /// The witness of an underpass recv at a Unix socket, which waits for the word that it has
    /// everything.
    witness: Option<Witness>,
    /// Set when the transfer has ended. Later the kernel may not know the socket's interface any
    /// more.
    given: Option<Receipt>,
    /// `None` until it has ended: it is cut off then.
    outcome: Option<io::Result<()>>,
}

impl FileSubscriber {
    async fn run(&mut self) -> io::Result<()> {
        let given = self.running.run_async().await;
        self.given = Some(given.map_err(io::Error::other)?);
        close_in_order(&self.socket)?;
        let limit = self.shared.idle_timeout;
        if let Some(layer) = self.socket.layer() {
            let taken = await_taken_through(layer, &self.socket, limit).await;
            if let Err(error) = &taken
                && let Some(LayerError::Broken(_)) = LayerError::of(error)
            {
                // It has been sent an alert, which a reset could overtake.
                close_lingering_async(Some(layer), &self.socket).await;
            }
            return taken;
        }
        shutdown(&self.socket, Shutdown::Write)?;
        await_taken(&self.socket, limit).await
    }

    fn count(&self, receipt: &Receipt) {
        let stats = &self.shared.stats;
        for used in &receipt.routes {
            let count = match used.route {
                Route::Sendfile => &stats.sendfile,
                _ => &stats.others,
            };
            count.add(used.bytes);
        }
        let ended = if receipt.complete {
            &stats.closed
        } else {
            &stats.failed
        };
        ended.add(1);
    }
}

impl Drop for FileSubscriber {
    fn drop(&mut self) {
        let given = self.given.take();
        let mut receipt = given.unwrap_or_else(|| self.running.receipt());
        let reporter = &self.shared.reporter;
        if let Some(Ok(())) = &self.outcome {
            if let Some(witness) = &self.witness {
                // The subscriber may be gone.
                let _ = witness.say();
            }
        } else {
            receipt.complete = false;
            let _ = reset_on_close(&self.socket);
            let (peer, bytes) = (&receipt.sink.name, units::count(receipt.bytes, "byte"));
            if let Some(Err(error)) = &self.outcome {
                reporter.ended_early(peer, format_args!("ended early, after {bytes}: {error}"));
            } else {
                self.shared.connections.cut_bytes.add(receipt.bytes);
                reporter.ended_early(peer, format_args!("cut off after {bytes}"));
            }
        }
        self.count(&receipt);
        if reporter.wants_receipts() {
            let before = self.shared.read_before;
            let device_bytes = device_bytes().zip(before).map(|(now, before)| now - before);
            reporter.receipt(FanOutReceipt::File(FileReceipt {
                receipt,
                device_bytes,
            }));
        }
    }
}
