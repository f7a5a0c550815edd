//! What `serve`, `relay` and `fan-out` share: listening, threads, limits, metrics, the line that
//! says they are ready, and a graceful end.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use prometheus_client::registry::Registry;
use underpass::{Cancel, units};

use crate::exit::Failure;
use crate::io::listen::{self, ListeningSocket, SocketPath};
use crate::io::tls::TlsServer;
use crate::values::{Address, SocketAccess};
use crate::{report, sys};

mod accept;
mod conflicts;
mod descriptor_limits;
mod log_writer;
mod metrics;
mod reload;
mod shown_address;
mod systemd;
mod threads;
mod tls_listener;
mod total_rate;

pub(crate) use accept::ConnectionCounts;
pub(crate) use conflicts::leads_to;
pub(crate) use descriptor_limits::{DescriptorNeeds, connections, kept_open};
pub(crate) use log_writer::{LogSender, LogWriter, receipts};
pub(crate) use metrics::{MetricEncoder, registry};
pub(crate) use reload::{ReloadAction, Reloader, Watch, WatchedFiles};
pub(crate) use shown_address::{
    HTTPS_PORT, http_url, https_url, interface_addresses, peer_address, peer_name,
    reachable_addresses, sentence_list, shown_addresses, threads,
};
pub(crate) use threads::{Service, ServiceFuture};
pub(crate) use tls_listener::{TlsListener, shake_hands};
pub(crate) use total_rate::{PacedListener, TotalRate};

use metrics::MetricsService;
use threads::{FirstThreadTasks, ServingLimits};

/// By default there is one thread for this many connections, and at most one for each CPU.
const WORTH_A_THREAD: usize = 8;

/// If a graceful end takes longer than this, a message says that it has begun.
const AT_ONCE: Duration = Duration::from_millis(500);

/// The sockets of a server.
pub(crate) struct Listeners {
    pub(crate) sockets: Vec<ListeningSocket>,
    /// The sockets for `--metrics`; empty without it.
    metrics: Vec<ListeningSocket>,
    /// The paths of Unix sockets. They are removed when this is dropped.
    paths: Vec<SocketPath>,
}

impl Listeners {
    /// Listens at the addresses of `--listen` and `--metrics`, and takes the sockets that a service
    /// manager passed. If there are neither addresses nor passed sockets, listens at `default`.
    ///
    /// `access` is for Unix sockets of `listen`, and `tls` for the addresses that begin with
    /// `tls://`.
    pub(crate) fn open(
        listen: &[Address],
        access: SocketAccess,
        default: Option<&Address>,
        metrics: Option<&Address>,
        tls: Option<&TlsServer>,
    ) -> Result<Self, Failure> {
        let is_unix = |address: &Address| matches!(address, Address::Unix(_));
        if !access.is_default() && !listen.iter().any(is_unix) {
            return Err(Failure::usage(
                "--socket-mode and --socket-group are for Unix sockets: add --listen unix:PATH",
            ));
        }
        let (mut sockets, mut paths) = (systemd::sockets()?, Vec::new());
        let default = default.filter(|_| sockets.is_empty() && listen.is_empty());
        refuse_twice(listen)?;
        for address in listen.iter().chain(default) {
            let (bound, path) = bind(address, listen, access, "--listen")?;
            match (address.tls(), tls) {
                (None, _) => sockets.extend(bound),
                (Some(_), Some(server)) => {
                    sockets.extend(bound.into_iter().map(|socket| socket.with_tls(server)));
                }
                (Some(_), None) => {
                    return Err(Failure::usage(format_args!(
                        "--listen {address}: tls:// is for send, recv, relay and fan-out"
                    )));
                }
            }
            paths.extend(path);
        }
        let metrics = metrics.map(|address| {
            conflicts::refuse_taken(("--metrics", address), ("--listen", &sockets))?;
            let (bound, path) = bind(address, &[], SocketAccess::default(), "--metrics")?;
            paths.extend(path);
            Ok(bound)
        });
        Ok(Self {
            metrics: metrics.transpose()?.unwrap_or_default(),
            sockets,
            paths,
        })
    }

    /// As [`open`](Self::open), for a `command` without a default address: fails if there is
    /// nowhere to listen.
    pub(crate) fn open_required(
        command: &str,
        listen: &[Address],
        access: SocketAccess,
        metrics: Option<&Address>,
        tls: Option<&TlsServer>,
    ) -> Result<Self, Failure> {
        let listening = Self::open(listen, access, None, metrics, tls)?;
        if listening.sockets.is_empty() {
            let line = format!("{command} needs --listen ADDR, or a socket from systemd");
            return Err(Failure::usage(line));
        }
        Ok(listening)
    }

    /// Listens at one more address, which was given by `option`. Returns the addresses that were
    /// bound.
    pub(crate) fn add(
        &mut self,
        address: &Address,
        option: &str,
    ) -> Result<Vec<SocketAddr>, Failure> {
        for (other, sockets) in [("--listen", &self.sockets), ("--metrics", &self.metrics)] {
            conflicts::refuse_taken((option, address), (other, sockets))?;
        }
        let (bound, path) = bind(address, &[], SocketAccess::default(), option)?;
        let addresses = bound.iter().filter_map(ListeningSocket::ip_address);
        let addresses = addresses.collect();
        self.sockets.extend(bound);
        self.paths.extend(path);
        Ok(addresses)
    }

    /// Turns TCP keep-alive on, so that a connection fails when the peer's machine is gone.
    /// Accepted connections inherit the option.
    pub(crate) fn keep_alive(&self) {
        for socket in self
            .sockets
            .iter()
            .filter(|socket| socket.ip_address().is_some())
        {
            // Connections work without keep-alive too.
            let _ = underpass::connect::keep_alive(socket);
        }
    }

    /// Limits the bytes per second that each connection is sent. TCP sends them at that pace
    /// (`SO_MAX_PACING_RATE`, socket(7)), so nothing else changes. Accepted connections inherit the
    /// option.
    pub(crate) fn pace(&self, rate: u64) -> io::Result<()> {
        let mut sockets = self.sockets.iter();
        sockets.try_for_each(|socket| sys::set_max_pacing_rate(socket, rate))
    }

    /// The number of threads: `asked`, or one for each CPU, but at most so many that each thread
    /// can have one connection for each socket.
    pub(crate) fn threads(
        &self,
        asked: Option<NonZeroUsize>,
        connections: usize,
    ) -> Result<usize, Failure> {
        let sockets = self.sockets.len();
        if connections < sockets {
            let most = units::count(connections as u64, "connection");
            return Err(Failure::usage(format_args!(
                "at most {most} for {sockets} addresses, and each needs one: raise \
                 --max-connections or the limit on open files (ulimit -Hn)"
            )));
        }
        let each = connections / sockets;
        // A thread needs descriptors of its own, and connections are divided among threads.
        let default = || {
            let cpus = std::thread::available_parallelism().map_or(1, usize::from);
            cpus.min(each.div_ceil(WORTH_A_THREAD))
        };
        Ok(asked.map_or_else(default, usize::from).min(each))
    }
}

/// Listens at an address that was given by `option`.
fn bind(
    address: &Address,
    all: &[Address],
    access: SocketAccess,
    option: &str,
) -> Result<(Vec<ListeningSocket>, Option<SocketPath>), Failure> {
    listen::bind(address, all, access).map_err(|error| {
        let advice = listen::advice(address, &error);
        let address = address.short();
        Failure::failed(format_args!("{option} {address}: {error}{advice}"))
    })
}

/// A server that is ready to run.
pub(crate) struct Server<O> {
    pub(crate) threads: usize,
    /// The limit on connections, for all threads together.
    pub(crate) connections: usize,
    /// How long connections may continue after the server was asked to stop.
    pub(crate) drain: Duration,
    pub(crate) quiet: bool,
    pub(crate) cancel: Cancel,
    pub(crate) reload: Reloader,
    /// Returns how many connections are open.
    pub(crate) open: O,
}

impl<O: Fn() -> u64 + Send + 'static> Server<O> {
    /// Serves until it is cancelled and all connections have ended. Prints `lines` when
    /// it is ready.
    pub(crate) fn run<V: Service>(
        self,
        listening: Listeners,
        service: &V,
        mut lines: Vec<String>,
        registry: Registry,
    ) -> Result<(), Failure> {
        if let Some(socket) = listening.metrics.first() {
            lines.push(format!("metrics on {}", shown_address::metrics(socket)));
        }
        let endpoint = MetricsService::new(registry, self.cancel.clone());
        let limits = ServingLimits {
            threads: self.threads,
            connections: self.connections,
            cancel: self.cancel.clone(),
        };
        let (quiet, reload) = (self.quiet, self.reload);
        let tasks = FirstThreadTasks {
            reloading: reload.run(quiet, self.cancel),
            metrics: (listening.metrics, endpoint),
            ready: || ready(&lines, quiet),
            stopping: stopping(listening.paths, self.drain, quiet, self.open),
        };
        tasks
            .serve(listening.sockets, &limits, service)
            .map_err(|error| Failure::failed(format_args!("the server cannot start: {error}")))
    }
}

/// Fails if an address is given twice. Port 0 is another port each time.
fn refuse_twice(listen: &[Address]) -> Result<(), Failure> {
    for (at, address) in listen.iter().enumerate() {
        let short = address.short();
        if listen[..at].contains(address) && !short.ends_with(":0") {
            let line = format!("--listen {short}: is given twice; once is enough");
            return Err(Failure::usage(line));
        }
    }
    Ok(())
}

async fn stopping(paths: Vec<SocketPath>, drain: Duration, quiet: bool, open: impl Fn() -> u64) {
    systemd::stopping();
    drop(paths);
    tokio::time::sleep(AT_ONCE).await;
    if !quiet {
        let open = open();
        report::notice(format_args!(
            "stopping: waiting up to {} for connections ({open}); Ctrl-C ends at once",
            units::duration(drain)
        ));
    }
}

fn ready(lines: &[String], quiet: bool) {
    if !quiet {
        lines.iter().for_each(report::notice);
    }
    systemd::ready();
}

/// The outcome of a server that had to cut off `cut` connections. `passed` is what had passed
/// through them, if no other line says it.
pub(crate) fn drain_outcome(
    cut: u64,
    drain: Duration,
    passed: Option<&str>,
) -> Result<(), Failure> {
    match cut {
        0 => Ok(()),
        cut => Err(Failure::incomplete(format_args!(
            "stopped: {} still busy after {} (--drain), and cut off{}",
            units::count(cut, "connection"),
            units::duration(drain),
            passed
                .map(|passed| format!(" after {passed}"))
                .unwrap_or_default()
        ))),
    }
}
