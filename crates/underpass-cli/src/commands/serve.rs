//! `underpass serve [DIR]`

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use underpass::Cancel;
use underpass_http::{Limits, Observe, Stats, Timeouts};

use crate::args::{AccessLog as Form, Serve};
use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::report;

mod access_log;
mod address;
mod announce;
mod app;
mod auth;
mod cors;
mod descriptors;
mod metrics;
mod observer;
mod sockets;
mod systemd;
mod threads;

pub(crate) use address::Address;
pub(crate) use cors::Origin;

use access_log::{AccessLog, Writing};
use app::App;
use metrics::{Endpoint, Tally};
use observer::Observer;
use sockets::{Path, Socket};
use threads::{Beside, Server};

/// An end that takes longer is told of.
const AT_ONCE: Duration = Duration::from_millis(500);

pub(crate) fn run(args: &Serve) -> Result<(), Failure> {
    let stats = Arc::<Stats>::default();
    let app = app::build(args, &stats)?;
    let interrupt = Interrupt::listen()?;
    let places = Places::open(args)?;
    let connections = descriptors::connections(args);
    let users = args.access.has_users();
    let writing = match args.observing.access_log {
        Form::None => None,
        form => Some(AccessLog::start(form, users)?),
    };
    let run = Run {
        args,
        stats,
        cancel: interrupt.cancel.clone(),
        connections,
        users,
    };
    match app {
        App::Files(app) => run.serve(app, places, writing.as_ref())?,
        App::Guarded(app) => run.serve(app, places, writing.as_ref())?,
    }
    if let Some(writing) = writing {
        writing.finish();
    }
    run.ended()
}

/// Where connections come from.
struct Places {
    sockets: Vec<Socket>,
    metrics: Option<Socket>,
    /// Of Unix sockets.
    paths: Vec<Path>,
}

impl Places {
    fn open(args: &Serve) -> Result<Self, Failure> {
        let (mut sockets, mut paths) = (systemd::sockets()?, Vec::new());
        // Whoever passes sockets need not name addresses.
        if sockets.is_empty() || !args.listen.is_empty() {
            for address in args.addresses() {
                let (socket, path) = Socket::bind(&address, "--listen")?;
                sockets.push(socket);
                paths.extend(path);
            }
        }
        let metrics = args.observing.metrics.as_ref();
        let metrics = metrics.map(|address| {
            address.free_of(&sockets)?;
            let (socket, path) = Socket::bind(address, "--metrics")?;
            paths.extend(path);
            Ok(socket)
        });
        Ok(Self {
            metrics: metrics.transpose()?,
            sockets,
            paths,
        })
    }
}

struct Run<'a> {
    args: &'a Serve,
    stats: Arc<Stats>,
    cancel: Cancel,
    connections: usize,
    users: bool,
}

impl Run<'_> {
    fn serve<A: threads::App>(
        &self,
        app: A,
        places: Places,
        writing: Option<&Writing>,
    ) -> Result<(), Failure> {
        let log = writing.map(|writing| writing.log().clone());
        let metrics = places.metrics.map(|socket| {
            let tally = Arc::new(Tally::new());
            let (stats, cancel) = (Arc::clone(&self.stats), self.cancel.clone());
            let endpoint = Endpoint::new(stats, Arc::clone(&tally), log.clone(), cancel);
            (tally, socket, endpoint)
        });
        let observer = Observer {
            tally: metrics.as_ref().map(|(tally, ..)| Arc::clone(tally)),
            log,
            verbose: self.args.observing.verbose,
        };
        let server = Server {
            app,
            limits: self.limits(),
            timeouts: self.timeouts(),
            stats: Arc::clone(&self.stats),
            observer: Some(Arc::new(observer) as Arc<dyn Observe>),
            cancel: self.cancel.clone(),
        };
        let threads = self.threads(places.sockets.len())?;
        let mut lines = vec![announce::line(
            self.args,
            &places.sockets,
            threads,
            self.users,
        )];
        if let Some((_, socket, _)) = &metrics {
            lines.push(format!("metrics on {}", announce::metrics(socket)));
        }
        let beside = Beside {
            metrics: metrics.map(|(_, socket, endpoint)| (socket, endpoint)),
            ready: || self.ready(&lines),
            stopping: self.stopping(places.paths),
        };
        threads::run(places.sockets, threads, &server, beside)
            .map_err(|error| Failure::failed(format_args!("the server cannot start: {error}")))
    }

    /// No more threads than each can have a connection of every socket.
    fn threads(&self, sockets: usize) -> Result<usize, Failure> {
        if self.connections < sockets {
            return Err(Failure::usage(format_args!(
                "{} connections at most are less than one for each of {sockets} addresses",
                self.connections
            )));
        }
        let cpus = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = self.args.threads.map_or_else(cpus, usize::from);
        Ok(threads.min(self.connections / sockets))
    }

    fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        limits.connections = self.connections;
        limits
    }

    fn timeouts(&self) -> Timeouts {
        let given = &self.args.limits;
        let mut timeouts = Timeouts::default();
        timeouts.head = given.head_timeout;
        timeouts.body = given.body_timeout;
        timeouts.send = given.send_timeout;
        timeouts.keep_alive = given.keep_alive;
        timeouts.drain = given.drain;
        timeouts
    }

    fn ready(&self, lines: &[String]) {
        if !self.args.observing.quiet {
            lines.iter().for_each(report::notice);
        }
        systemd::ready();
    }

    fn stopping(&self, paths: Vec<Path>) -> impl Future<Output = ()> + Send + use<> {
        let (stats, quiet) = (Arc::clone(&self.stats), self.args.observing.quiet);
        let drain = self.args.limits.drain;
        async move {
            systemd::stopping();
            drop(paths);
            tokio::time::sleep(AT_ONCE).await;
            if !quiet {
                let open = stats.connections_open.get();
                report::notice(format_args!(
                    "stopping: waiting up to {drain:?} for connections ({open}); Ctrl-C ends at once"
                ));
            }
        }
    }

    fn ended(&self) -> Result<(), Failure> {
        match self.stats.connections_cut.get() {
            0 => Ok(()),
            cut => Err(Failure::incomplete(format_args!(
                "stopped: {cut} connections were still busy after {:?} and were cut off",
                self.args.limits.drain
            ))),
        }
    }
}
