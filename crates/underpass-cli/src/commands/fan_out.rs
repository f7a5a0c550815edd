//! `underpass fan-out --listen ADDR --from SOURCE`

use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;

use prometheus_client::registry::Registry;

use crate::args::FanOut;
use crate::exit::Failure;
use crate::interrupt::{Hangups, Interrupt};
use crate::io::StandardStream;
use crate::io::files::{self, Source};
use crate::server::{
    self, Connections, Listening, Reload, Server, Service, Wanted, listed, places,
};
use crate::values::{FileOrAddress, ReceiptForm};

mod account;
mod file;
mod metrics;
mod producer;
mod stream;
mod telling;

use account::Account;
use producer::Producer;
use telling::Told;

pub(crate) fn run(args: &FanOut) -> Result<(), Failure> {
    match &args.from {
        FileOrAddress::Address(address) => stream::run(args, Producer::listen(address)?),
        FileOrAddress::File(path) if is_fifo(path) => stream::run(args, Producer::fifo(path)),
        FileOrAddress::File(path) => {
            let source = Source::open(path)?;
            let observing = &args.observing;
            if observing.form() != ReceiptForm::None && observing.receipt_file.is_none() {
                let output = (StandardStream::Output, StandardStream::Output.name());
                files::refuse_same_open((&source, &source.name()), output)?;
            }
            match source {
                Source::File(file, path) if file.metadata().is_ok_and(|found| found.is_file()) => {
                    file::run(args, file, &path)
                }
                source => stream::run(args, Producer::at_hand(source)),
            }
        }
    }
}

/// To open a FIFO is to wait for its writer.
fn is_fifo(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo())
}

/// Descriptors of pooled pipes, and of those that the default lag can fill.
const PIPES: usize = 32 + 128;

/// A server that is ready to run but for what it serves.
struct Serving {
    interrupt: Interrupt,
    hangups: Hangups,
    listening: Listening,
    most: usize,
    connections: Arc<Connections>,
    told: Told,
}

impl Serving {
    fn prepare(args: &FanOut) -> Result<Self, Failure> {
        let (interrupt, hangups) = Interrupt::listen_in_server()?;
        let observing = &args.observing.telling;
        let listening = Listening::told("fan-out", &args.on.listen, observing.metrics.as_ref())?;
        listening.keep_alive();
        let wanted = Wanted {
            connections: args.limits.bounds.max_connections,
            // Its socket, a pipe, and the witness of one of ours at a Unix socket.
            each: 4,
            others: server::kept_open(PIPES),
            lower: "--max-connections",
        };
        Ok(Self {
            interrupt,
            hangups,
            most: server::connections(&wanted, observing.quiet),
            listening,
            connections: Arc::default(),
            told: Told::start(args)?,
        })
    }

    /// Serves until all has ended, and tells `last` after everything else.
    fn run<V: Service>(
        self,
        args: &FanOut,
        name: &str,
        service: &V,
        registry: Registry,
        last: impl FnOnce() -> Option<Account>,
    ) -> Result<(), Failure> {
        let threads = self.listening.threads(args.on.threads, self.most)?;
        let line = line(name, &self.listening, threads);
        let open = Arc::clone(&self.connections);
        let server = Server {
            threads,
            connections: self.most,
            drain: args.limits.bounds.drain,
            quiet: args.observing.telling.quiet,
            cancel: self.interrupt.cancel.clone(),
            reload: Reload {
                hangups: self.hangups,
                renewals: self.told.renewals(),
            },
            open: move || open.open.get(),
        };
        server.run(self.listening, service, line, registry)?;
        if let Some(last) = last() {
            self.told.telling(args).account(last);
        }
        self.told.finish();
        Ok(())
    }
}

/// `giving disk.img to everyone at 127.0.0.1:9000 (2 threads)`
fn line(name: &str, listening: &Listening, threads: usize) -> String {
    let places = |socket| places(socket, |number| number.to_string());
    let at: Vec<_> = listening.sockets.iter().flat_map(places).collect();
    let (at, threads) = (listed(&at), server::threads(threads));
    format!("giving {name} to everyone at {at} ({threads})")
}
