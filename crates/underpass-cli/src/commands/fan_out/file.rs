//! A file to all who connect: a transfer for each, and the page cache for all.

use std::fs::File;
use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{Shutdown, shutdown};
use underpass::relay::Socket;
use underpass::witness::Witness;
use underpass::{
    Receipt, Route, Running as RunningTransfer, Transfer, await_taken, close_in_order,
    reset_on_close,
};
use underpass_http::Listener;

use super::Serving;
use super::account::{Account, OfFile, device_bytes};
use super::metrics::{self, FileStats};
use super::telling::Telling;
use crate::args::FanOutArgs;
use crate::exit::Failure;
use crate::server::{self, Acceptor, ConnectionCounts, Service, ServiceFuture};

pub(super) fn run(args: &FanOutArgs, file: File, path: &Path) -> Result<(), Failure> {
    let serving = Serving::prepare(args)?;
    let giving = Arc::new(Giving {
        file: Arc::new(file),
        name: path.display().to_string(),
        idle_timeout: args.limits.idle_timeout,
        drain: args.limits.capacity.drain,
        connections: Arc::clone(&serving.connections),
        telling: serving.told.telling(args),
        stats: Arc::default(),
        read_before: device_bytes(),
    });
    let registry = metrics::of_file(&giving.stats, &giving.connections);
    let service = Files(Arc::clone(&giving));
    serving.run(args, &giving.name, &service, registry, || None)?;
    server::ended(giving.connections.cut.get(), giving.drain)
}

/// What all threads share.
struct Giving {
    file: Arc<File>,
    name: String,
    idle_timeout: Option<Duration>,
    drain: Duration,
    connections: Arc<ConnectionCounts>,
    telling: Telling,
    stats: Arc<FileStats>,
    /// Bytes that devices had been asked for before.
    read_before: Option<u64>,
}

#[derive(Clone)]
struct Files(Arc<Giving>);

impl Service for Files {
    fn on(
        &self,
        listener: impl Listener<Socket: Into<Socket>>,
        connections: usize,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> ServiceFuture {
        let giving = Arc::clone(&self.0);
        let accepting = Acceptor {
            most: connections,
            connections: Arc::clone(&giving.connections),
        };
        let drain = giving.drain;
        let cut = async move { tokio::time::sleep(drain).await };
        let give = move |socket| give(Arc::clone(&giving), socket);
        Box::pin(accepting.run(listener, stop, cut, give))
    }
}

/// Sees a subscriber through to its end.
async fn give(giving: Arc<Giving>, socket: Socket) {
    let peer = server::peer(server::number(&socket));
    // Until all is sent: it is not to take a part for the whole, whatever ends this.
    let _ = reset_on_close(&socket);
    let Ok(witness) = Witness::of(&socket) else {
        return giving.telling.early(&peer, "went away at once");
    };
    let socket = Arc::new(socket);
    let transfer = Transfer::new(Arc::clone(&giving.file), Arc::clone(&socket))
        .range(..)
        .idle_timeout(giving.idle_timeout)
        .names(giving.name.clone(), peer.clone());
    let running = match transfer.start() {
        Ok(running) => running,
        Err(error) => return giving.telling.early(&peer, error),
    };
    let mut served = Served {
        giving,
        running,
        socket,
        witness,
        given: None,
        outcome: Err(io::Error::other("cut off")),
    };
    served.outcome = served.run().await;
}

/// A subscriber, of which is told when it is dropped: also where it was cut off.
struct Served {
    giving: Arc<Giving>,
    running: RunningTransfer<'static, Arc<File>, Arc<Socket>>,
    socket: Arc<Socket>,
    /// Of a subscriber of ours at a Unix socket, which waits to hear that it has all.
    witness: Option<Witness>,
    /// When the transfer has ended: later, the socket may not know any more by which interface it left.
    given: Option<Receipt>,
    outcome: io::Result<()>,
}

impl Served {
    async fn run(&mut self) -> io::Result<()> {
        let given = self.running.run_async().await;
        self.given = Some(given.map_err(io::Error::other)?);
        close_in_order(&self.socket)?;
        shutdown(&self.socket, Shutdown::Write)?;
        await_taken(&self.socket, self.giving.idle_timeout).await
    }

    fn count(&self, receipt: &Receipt) {
        let stats = &self.giving.stats;
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

impl Drop for Served {
    fn drop(&mut self) {
        let given = self.given.take();
        let mut receipt = given.unwrap_or_else(|| self.running.receipt());
        let telling = &self.giving.telling;
        if let Err(error) = &self.outcome {
            receipt.complete = false;
            let _ = reset_on_close(&self.socket);
            let (peer, bytes) = (&receipt.sink.name, receipt.bytes);
            telling.early(
                peer,
                format_args!("ended early, after {bytes} bytes: {error}"),
            );
        }
        if let Some(witness) = self.witness.as_ref().filter(|_| self.outcome.is_ok()) {
            // It may be gone.
            let _ = witness.say();
        }
        self.count(&receipt);
        if telling.wants_receipts() {
            let before = self.giving.read_before;
            let device_bytes = device_bytes().zip(before).map(|(now, before)| now - before);
            telling.account(Account::File(OfFile {
                receipt,
                device_bytes,
            }));
        }
    }
}
