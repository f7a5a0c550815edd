//! What `serve`, `relay` and `fan-out` share: listening, threads, limits, metrics, the line that
//! says they are ready, and a graceful end.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use prometheus_client::registry::Registry;
use underpass::accept::is_exhaustion;
use underpass::units;

use crate::exit::Failure;
use crate::io::listen::{self, ListeningSocket, SocketPath};
use crate::io::tls::TlsServer;
use crate::values::{Address, SocketAccess};
use crate::{report, sys};

mod accept;
mod conflicts;
mod descriptor_limits;
mod drain;
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
pub(crate) use drain::Drain;
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

    /// Whether one of the sockets is of TCP.
    pub(crate) fn has_tcp(&self) -> bool {
        let mut sockets = self.sockets.iter();
        sockets.any(|socket| socket.ip_address().is_some())
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
    pub(crate) drain: Drain,
    pub(crate) quiet: bool,
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
        let cancel = self.drain.stop().clone();
        let endpoint = MetricsService::new(registry, cancel.clone());
        let limits = ServingLimits {
            threads: self.threads,
            connections: self.connections,
            cancel: cancel.clone(),
        };
        let (quiet, reload) = (self.quiet, self.reload);
        let tasks = FirstThreadTasks {
            reloading: reload.run(quiet, cancel),
            metrics: (listening.metrics, endpoint),
            ready: || ready(&lines, quiet),
            stopping: stopping(listening.paths, self.drain, quiet, self.open),
        };
        tasks
            .serve(listening.sockets, &limits, service)
            .map_err(|error| cannot_start(&error, limits.threads))
    }
}

/// The failure of a server for which there was something too little.
fn cannot_start(error: &io::Error, threads: usize) -> Failure {
    // A thread that cannot be made is an EAGAIN.
    let is_short = is_exhaustion(error) || error.kind() == io::ErrorKind::WouldBlock;
    let advice = if is_short && threads > 1 {
        "; lower --threads, or raise the limits on open files and threads (ulimit -Hn, -u)"
    } else {
        ""
    };
    let threads = shown_address::threads(threads);
    Failure::failed(format_args!(
        "the server cannot start {threads}: {error}{advice}"
    ))
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

async fn stopping(paths: Vec<SocketPath>, drain: Drain, quiet: bool, open: impl Fn() -> u64) {
    systemd::stopping();
    drop(paths);
    let time = drain.time;
    let say = async move {
        tokio::time::sleep(AT_ONCE).await;
        if !quiet {
            let (time, open) = (units::duration(time), open());
            report::notice(format_args!(
                "stopping: waiting up to {time} for connections ({open}); Ctrl-C ends at once"
            ));
        }
    };
    tokio::join!(say, drain.watch());
}

fn ready(lines: &[String], quiet: bool) {
    if !quiet {
        lines.iter().for_each(report::notice);
    }
    systemd::ready();
}
