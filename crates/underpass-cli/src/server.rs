//! What the commands that accept connections for ever share: addresses, sockets, threads, metrics,
//! a beginning that is announced and an end that is seen out.

use std::num::NonZeroUsize;
use std::time::Duration;

use prometheus_client::registry::Registry;
use underpass::Cancel;

use crate::exit::Failure;
use crate::io::listen::{self, ListeningSocket, SocketPath};
use crate::report;
use crate::values::Address;

mod accept;
mod conflicts;
mod descriptor_limits;
mod log_writer;
mod metrics;
mod reload;
mod shown_address;
mod systemd;
mod threads;

pub(crate) use accept::{Acceptor, ConnectionCounts, RESTING, is_exhaustion};
pub(crate) use conflicts::leads_to;
pub(crate) use descriptor_limits::{DescriptorNeeds, connections, kept_open};
pub(crate) use log_writer::{LogSender, LogWriter, receipts};
pub(crate) use metrics::{MetricEncoder, registry};
pub(crate) use reload::{ReloadAction, Reloader};
pub(crate) use shown_address::{number, peer, sentence_list, shown_addresses, threads, url};
pub(crate) use threads::{Service, ServiceFuture};

use metrics::MetricsService;
use threads::{FirstThreadTasks, ServingLimits};

/// Connections for which there is another thread, where nobody says how many.
const WORTH_A_THREAD: usize = 8;

/// An end that takes longer is told of.
const AT_ONCE: Duration = Duration::from_millis(500);

/// Where connections come from.
pub(crate) struct Listeners {
    pub(crate) sockets: Vec<ListeningSocket>,
    /// Where metrics are asked for; none without `--metrics`.
    metrics: Vec<ListeningSocket>,
    /// Of Unix sockets.
    paths: Vec<SocketPath>,
}

impl Listeners {
    /// Listens at the addresses of `--listen` and `--metrics`, and on the sockets that a service
    /// manager passed. With those, `otherwise` is not needed, which is listened at where no other
    /// address is given.
    pub(crate) fn open(
        listen: &[Address],
        otherwise: Option<&Address>,
        metrics: Option<&Address>,
    ) -> Result<Self, Failure> {
        let (mut sockets, mut paths) = (systemd::sockets()?, Vec::new());
        let otherwise = otherwise.filter(|_| sockets.is_empty() && listen.is_empty());
        for address in listen.iter().chain(otherwise) {
            let (bound, path) = bind(address, "--listen")?;
            sockets.extend(bound);
            paths.extend(path);
        }
        let metrics = metrics.map(|address| {
            conflicts::refuse_taken(address, &sockets)?;
            let (bound, path) = bind(address, "--metrics")?;
            paths.extend(path);
            Ok(bound)
        });
        Ok(Self {
            metrics: metrics.transpose()?.unwrap_or_default(),
            sockets,
            paths,
        })
    }

    /// As [`open`](Self::open), for a `command` that listens nowhere unless it is told where.
    pub(crate) fn told(
        command: &str,
        listen: &[Address],
        metrics: Option<&Address>,
    ) -> Result<Self, Failure> {
        let listening = Self::open(listen, None, metrics)?;
        if listening.sockets.is_empty() {
            let line = format!("{command} needs --listen ADDR, or a socket from systemd");
            return Err(Failure::usage(line));
        }
        Ok(listening)
    }

    /// Has connections fail whose peer's machine is gone; those that are accepted inherit it.
    pub(crate) fn keep_alive(&self) {
        for socket in self
            .sockets
            .iter()
            .filter(|socket| socket.ip_address().is_some())
        {
            // Without it connections work as well.
            let _ = underpass::connect::keep_alive(socket);
        }
    }

    /// No more threads than each can have a connection of every socket.
    pub(crate) fn threads(
        &self,
        asked: Option<NonZeroUsize>,
        connections: usize,
    ) -> Result<usize, Failure> {
        let sockets = self.sockets.len();
        if connections < sockets {
            return Err(Failure::usage(format_args!(
                "{connections} connections at most are less than one for each of {sockets} addresses"
            )));
        }
        let each = connections / sockets;
        // A thread takes descriptors itself, and has its share of the connections for itself.
        let usual = || {
            let cpus = std::thread::available_parallelism().map_or(1, usize::from);
            cpus.min(each.div_ceil(WORTH_A_THREAD))
        };
        Ok(asked.map_or_else(usual, usize::from).min(each))
    }
}

/// Listens at the address that `option` gave.
fn bind(
    address: &Address,
    option: &str,
) -> Result<(Vec<ListeningSocket>, Option<SocketPath>), Failure> {
    listen::bind(address).map_err(|error| {
        let advice = listen::advice(address, &error);
        let address = address.short();
        Failure::failed(format_args!("{option} {address}: {error}{advice}"))
    })
}

/// A server about to run, whatever it serves.
pub(crate) struct Server<O> {
    pub(crate) threads: usize,
    /// Together.
    pub(crate) connections: usize,
    /// How long the end may take.
    pub(crate) drain: Duration,
    pub(crate) quiet: bool,
    pub(crate) cancel: Cancel,
    pub(crate) reload: Reloader,
    /// How many connections are open.
    pub(crate) open: O,
}

impl<O: Fn() -> u64 + Send + 'static> Server<O> {
    /// Serves until it is cancelled and all has ended. `line` is said when it can be used.
    pub(crate) fn run<V: Service>(
        self,
        listening: Listeners,
        service: &V,
        line: String,
        registry: Registry,
    ) -> Result<(), Failure> {
        let mut lines = vec![line];
        if let Some(socket) = listening.metrics.first() {
            lines.push(format!("metrics on {}", shown_address::metrics(socket)));
        }
        let endpoint = MetricsService::new(registry, self.cancel.clone());
        let extent = ServingLimits {
            threads: self.threads,
            connections: self.connections,
            cancel: self.cancel.clone(),
        };
        let (quiet, reload) = (self.quiet, self.reload);
        let beside = FirstThreadTasks {
            reloading: reload.run(quiet, self.cancel),
            metrics: (listening.metrics, endpoint),
            ready: || ready(&lines, quiet),
            stopping: stopping(listening.paths, self.drain, quiet, self.open),
        };
        threads::run(listening.sockets, &extent, service, beside)
            .map_err(|error| Failure::failed(format_args!("the server cannot start: {error}")))
    }
}

async fn stopping(paths: Vec<SocketPath>, drain: Duration, quiet: bool, open: impl Fn() -> u64) {
    systemd::stopping();
    drop(paths);
    tokio::time::sleep(AT_ONCE).await;
    if !quiet {
        let open = open();
        report::notice(format_args!(
            "stopping: waiting up to {drain:?} for connections ({open}); Ctrl-C ends at once"
        ));
    }
}

fn ready(lines: &[String], quiet: bool) {
    if !quiet {
        lines.iter().for_each(report::notice);
    }
    systemd::ready();
}

/// What to say at the end, when `cut` connections were still busy.
pub(crate) fn ended(cut: u64, drain: Duration) -> Result<(), Failure> {
    match cut {
        0 => Ok(()),
        cut => Err(Failure::incomplete(format_args!(
            "stopped: {cut} connections were still busy after {drain:?} and were cut off"
        ))),
    }
}
