//! `underpass fan-out --listen ADDR --from SOURCE`

use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;

use prometheus_client::registry::Registry;

use crate::args::FanOutArgs;
use crate::exit::Failure;
use crate::interrupt::{Hangups, Interrupt};
use crate::io::StandardStream;
use crate::io::files::{self, Source};
use crate::io::tls::TlsServer;
use crate::server::{
    self, ConnectionCounts, DescriptorNeeds, Drain, Listeners, Reloader, Server, Service,
    sentence_list, shown_addresses,
};
use crate::values::{Address, FileOrAddress, ReceiptForm};

mod file;
mod metrics;
mod producer;
mod receipts;
mod stream;

use producer::Producer;
use receipts::{FanOutReceipt, ReceiptLog};

pub(crate) fn run(args: &FanOutArgs) -> Result<(), Failure> {
    match &args.from {
        FileOrAddress::Address(address) => {
            let tls = TlsServer::of_addresses(&addresses(args), &args.tls, args.ktls)?;
            let tls = tls.filter(|_| address.tls().is_some());
            stream::run(args, Producer::listen(address, tls)?)
        }
        FileOrAddress::File(path) if is_fifo(path) => stream::run(args, Producer::fifo(path)),
        FileOrAddress::File(path) => {
            let source = Source::open(path)?;
            let observing = &args.reporting;
            if observing.form() != ReceiptForm::None && observing.receipt_file.is_none() {
                let output = (StandardStream::Output, StandardStream::Output.name());
                files::refuse_same_open((&source, &source.name()), output)?;
            }
            match source {
                Source::File(file, path) if file.metadata().is_ok_and(|found| found.is_file()) => {
                    refuse_stream_options(args, &path)?;
                    file::run(args, file, &path)
                }
                source => stream::run(args, Producer::at_hand(source)),
            }
        }
    }
}

/// A file has no pace of its own: each subscriber gets all of it, as fast as it takes it.
fn refuse_stream_options(args: &FanOutArgs, path: &Path) -> Result<(), Failure> {
    match args.stream.given().next() {
        None => Ok(()),
        Some(option) => Err(Failure::usage(format_args!(
            "{option} is for streams, and {} is a file, which each subscriber gets whole, whenever \
             it connects: leave {option} out",
            path.display()
        ))),
    }
}

/// Opening a FIFO waits for its writer, so it is not opened here.
fn is_fifo(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo())
}

/// Every address that may have TLS.
fn addresses(args: &FanOutArgs) -> Vec<Address> {
    let from = match &args.from {
        FileOrAddress::Address(address) => Some(address.clone()),
        FileOrAddress::File(_) => None,
    };
    args.server.listen.iter().cloned().chain(from).collect()
}

/// Descriptors for pooled pipes, and for the pipes that the default lag can fill.
const PIPES: usize = 32 + 128;

/// A server that is ready to run, for a file or a stream.
struct FanOutServer {
    drain: Drain,
    hangups: Hangups,
    listening: Listeners,
    most: usize,
    connections: Arc<ConnectionCounts>,
    receipt_log: ReceiptLog,
}

impl FanOutServer {
    fn prepare(args: &FanOutArgs) -> Result<Self, Failure> {
        let (interrupt, hangups) = Interrupt::listen_in_server()?;
        let observing = &args.reporting.monitor;
        let tls = TlsServer::of_addresses(&addresses(args), &args.tls, args.ktls)?;
        let tls = tls.map(|tls| tls.verbose(observing.verbose));
        let metrics = observing.metrics.as_ref();
        let listen = &args.server.listen;
        let listening = Listeners::open_required(
            "fan-out",
            listen,
            args.server.access(),
            metrics,
            tls.as_ref(),
        )?;
        listening.keep_alive();
        let wanted = DescriptorNeeds {
            connections: args.limits.capacity.max_connections,
            // Each subscriber needs its socket, a pipe, and the witness connection if it is an
            // underpass recv at a Unix socket.
            each: 4,
            others: server::kept_open(PIPES),
            lower: "--max-connections",
        };
        Ok(Self {
            drain: Drain::new(args.limits.capacity.drain, &interrupt),
            hangups,
            most: server::connections(&wanted, observing.quiet),
            listening,
            connections: Arc::default(),
            receipt_log: ReceiptLog::start(args)?,
        })
    }

    /// Serves until all connections have ended, and then writes the receipt of `last`.
    fn run<V: Service>(
        self,
        args: &FanOutArgs,
        name: &str,
        service: &V,
        registry: Registry,
        last: impl FnOnce() -> Option<FanOutReceipt>,
    ) -> Result<(), Failure> {
        let threads = self.listening.threads(args.server.threads, self.most)?;
        let line = line(name, &self.listening, threads);
        let open = Arc::clone(&self.connections);
        let server = Server {
            threads,
            connections: self.most,
            drain: self.drain,
            quiet: args.reporting.monitor.quiet,
            reload: Reloader::new(self.hangups, self.receipt_log.renewals()),
            open: move || open.open.get(),
        };
        server.run(self.listening, service, vec![line], registry)?;
        if let Some(last) = last() {
            self.receipt_log.reporter(args).receipt(last);
        }
        self.receipt_log.finish();
        Ok(())
    }
}

/// The line that says the fan-out is ready: `giving disk.img to everyone at 127.0.0.1:9000 (2
/// threads)`.
fn line(name: &str, listening: &Listeners, threads: usize) -> String {
    let shown_addresses = |socket| shown_addresses(socket, |number| number.to_string());
    let at: Vec<_> = listening.sockets.iter().flat_map(shown_addresses).collect();
    let (at, threads) = (sentence_list(&at), server::threads(threads));
    format!("giving {name} to everyone at {at} ({threads})")
}
