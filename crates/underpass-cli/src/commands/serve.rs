//! `underpass serve [DIR]`

use std::sync::Arc;

use underpass::Cancel;
use underpass_http::{Observe, ServerStats, Timeouts};

use crate::args::ServeArgs;
use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::io::listen::ListeningSocket;
use crate::server::{
    self, DescriptorNeeds, Listeners, LogWriter, Reloader, Server, sentence_list, shown_addresses,
    url,
};

mod access_log;
mod auth;
mod metrics;
mod observer;
mod service;

use access_log::AccessLog;
use metrics::RequestCounts;
use observer::Observer;
use service::{Handler, HttpHandler, HttpService};

pub(crate) fn run(args: &ServeArgs) -> Result<(), Failure> {
    let stats = Arc::<ServerStats>::default();
    let (handler, reading) = service::build(args, &stats)?;
    let (interrupt, hangups) = Interrupt::listen_in_server()?;
    let metrics = args.reporting.monitor.metrics.as_ref();
    let listening = Listeners::open(
        &args.server.listen,
        Some(&ServeArgs::default_address()),
        metrics,
    )?;
    let users = args.access.has_users();
    let log_file = args.reporting.access_log_file.as_deref();
    let writing = args.reporting.access_log();
    let writing = writing.map(|form| access_log::start(form, log_file, users));
    let writing = writing.transpose()?;
    let log = writing.as_ref().and_then(LogWriter::renewal);
    let renewals = log.into_iter().chain(reading).collect();
    let run = Run {
        args,
        stats,
        cancel: interrupt.cancel.clone(),
        users,
    };
    let log = writing.as_ref().map(|writing| writing.lines().clone());
    let reload = Reloader { hangups, renewals };
    match handler {
        Handler::Files(handler) => run.serve(handler, listening, log, reload)?,
        Handler::Guarded(handler) => run.serve(handler, listening, log, reload)?,
    }
    if let Some(writing) = writing {
        writing.finish();
    }
    server::drain_outcome(run.stats.connections_cut.get(), args.limits.capacity.drain)
}

struct Run<'a> {
    args: &'a ServeArgs,
    stats: Arc<ServerStats>,
    cancel: Cancel,
    users: bool,
}

impl Run<'_> {
    fn serve<A: HttpHandler>(
        &self,
        handler: A,
        listening: Listeners,
        log: Option<AccessLog>,
        reload: Reloader,
    ) -> Result<(), Failure> {
        let args = self.args;
        let wanted = DescriptorNeeds {
            connections: args.limits.capacity.max_connections,
            each: 1,
            others: server::kept_open(args.memory.cache_entries),
            lower: "--max-connections or --cache-entries",
        };
        let connections = server::connections(&wanted, args.reporting.monitor.quiet);
        let threads = listening.threads(args.server.threads, connections)?;
        let requests = Arc::new(RequestCounts::new());
        let registry =
            metrics::registry(Arc::clone(&self.stats), Arc::clone(&requests), log.clone());
        let observer = Observer {
            // Requests are counted only if the metrics can be read.
            requests: args.reporting.monitor.metrics.is_some().then_some(requests),
            log,
            verbose: args.reporting.monitor.verbose,
        };
        let files = HttpService {
            handler,
            timeouts: self.timeouts(),
            stats: Arc::clone(&self.stats),
            observer: Arc::new(observer) as Arc<dyn Observe>,
        };
        let line = ready_line(args, &listening.sockets, threads, self.users);
        let stats = Arc::clone(&self.stats);
        let server = Server {
            threads,
            connections,
            drain: args.limits.capacity.drain,
            quiet: args.reporting.monitor.quiet,
            cancel: self.cancel.clone(),
            reload,
            open: move || stats.connections_open.get(),
        };
        server.run(listening, &files, line, registry)
    }

    fn timeouts(&self) -> Timeouts {
        let given = &self.args.limits;
        let mut timeouts = Timeouts::default();
        timeouts.head = given.head_timeout;
        timeouts.body = given.body_timeout;
        timeouts.send = given.send_timeout;
        timeouts.keep_alive = given.keep_alive;
        timeouts.drain = given.capacity.drain;
        timeouts
    }
}

/// The line that says the server is ready: `serving /srv on http://127.0.0.1:8080/ (2 threads,
/// listing on, sendfile)`.
fn ready_line(
    args: &ServeArgs,
    sockets: &[ListeningSocket],
    threads: usize,
    users: bool,
) -> String {
    let dir = std::fs::canonicalize(&args.dir).unwrap_or_else(|_| args.dir.clone());
    let shown_addresses: Vec<_> = sockets
        .iter()
        .flat_map(|socket| shown_addresses(socket, url))
        .collect();
    let features = features(args, threads, users).join(", ");
    format!(
        "serving {} on {} ({features})",
        dir.display(),
        sentence_list(&shown_addresses)
    )
}

fn features(args: &ServeArgs, threads: usize, users: bool) -> Vec<String> {
    let on = |on| if on { "on" } else { "off" };
    let mut features = vec![
        server::threads(threads),
        format!("listing {}", on(!args.files.no_listing)),
    ];
    if args.uploads.wanted() {
        features.push(
            if users {
                "uploads on"
            } else {
                "uploads from anybody"
            }
            .to_owned(),
        );
    }
    if users {
        features.push("with passwords".to_owned());
    }
    features.push("sendfile".to_owned());
    features
}
