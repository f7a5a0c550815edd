//! `underpass serve [DIR]`

use std::sync::Arc;

use underpass::Cancel;
use underpass_http::{Observe, ServerStats, Timeouts};

use crate::args::ServeArgs;
use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::io::listen::ListeningSocket;
use crate::server::{
    self, DescriptorNeeds, Listeners, LogWriter, Reloader, Server, http_url, https_url,
    sentence_list, shown_addresses,
};

mod access_log;
mod auth;
mod https;
mod metrics;
mod observer;
mod service;

use access_log::AccessLog;
use https::{Https, HttpsService};
use metrics::RequestCounts;
use observer::Observer;
use service::{Handler, HttpHandler, HttpService};

pub(crate) fn run(args: &ServeArgs) -> Result<(), Failure> {
    let stats = Arc::<ServerStats>::default();
    let (handler, reading) = service::build(args, &stats)?;
    let (https, certificates) = Https::start(&args.https)?.unzip();
    let (interrupt, hangups) = Interrupt::listen_in_server()?;
    let metrics = args.reporting.monitor.metrics.as_ref();
    let listening = Listeners::open(
        &args.server.listen,
        Some(&ServeArgs::default_address(https.is_some())),
        metrics,
    )?;
    if https.is_some() {
        Https::check(&listening)?;
    }
    let users = args.access.has_users();
    let log_file = args.reporting.access_log_file.as_deref();
    let writing = args.reporting.access_log();
    let writing = writing.map(|form| access_log::start(form, log_file, users));
    let writing = writing.transpose()?;
    let log = writing.as_ref().and_then(LogWriter::renewal);
    let renewals = log.into_iter().chain(reading).chain(certificates).collect();
    let run = Run {
        args,
        stats,
        cancel: interrupt.cancel.clone(),
        users,
        https,
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
    https: Option<Https>,
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
        let registry = metrics::registry(
            Arc::clone(&self.stats),
            Arc::clone(&requests),
            log.clone(),
            self.https.as_ref().map(|https| Arc::clone(&https.stats)),
        );
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
        let line = self.ready_line(&listening.sockets, threads);
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
        match self.https.clone() {
            None => server.run(listening, &files, line, registry),
            Some(https) => {
                let files = HttpsService { http: files, https };
                server.run(listening, &files, line, registry)
            }
        }
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

    /// The line that says the server is ready: `serving /srv on http://127.0.0.1:8080/ (2 threads,
    /// listing on, sendfile)`.
    fn ready_line(&self, sockets: &[ListeningSocket], threads: usize) -> String {
        let dir = &self.args.dir;
        let dir = std::fs::canonicalize(dir).unwrap_or_else(|_| dir.clone());
        let url = if self.https.is_some() {
            https_url
        } else {
            http_url
        };
        let shown_addresses: Vec<_> = sockets
            .iter()
            .flat_map(|socket| shown_addresses(socket, url))
            .collect();
        let features = self.features(threads).join(", ");
        format!(
            "serving {} on {} ({features})",
            dir.display(),
            sentence_list(&shown_addresses)
        )
    }

    fn features(&self, threads: usize) -> Vec<String> {
        let (args, users) = (self.args, self.users);
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
        let sending = if self.https.is_some() {
            "TLS"
        } else {
            "sendfile"
        };
        features.push(sending.to_owned());
        features
    }
}
