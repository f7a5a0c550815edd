//! `underpass serve [DIR]`

use std::sync::Arc;

use underpass::Cancel;
use underpass_http::{Observe, ServerStats, Timeouts};

use crate::args::Serve;
use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::server::{self, Listening, Reload, Server, Wanted, Writing};

mod access_log;
mod announce;
mod app;
mod auth;
mod cors;
mod files;
mod metrics;
mod observer;

use access_log::AccessLog;
use app::App;
use files::Files;
use metrics::Tally;
use observer::Observer;

pub(crate) fn run(args: &Serve) -> Result<(), Failure> {
    let stats = Arc::<ServerStats>::default();
    let (app, reading) = app::build(args, &stats)?;
    let (interrupt, hangups) = Interrupt::listen_in_server()?;
    let metrics = args.observing.telling.metrics.as_ref();
    let listening = Listening::open(&args.on.listen, Some(&Serve::address()), metrics)?;
    let users = args.access.has_users();
    let log_file = args.observing.access_log_file.as_deref();
    let writing = args.observing.access_log();
    let writing = writing.map(|form| access_log::start(form, log_file, users));
    let writing = writing.transpose()?;
    let log = writing.as_ref().and_then(Writing::renewal);
    let renewals = log.into_iter().chain(reading).collect();
    let run = Run {
        args,
        stats,
        cancel: interrupt.cancel.clone(),
        users,
    };
    let log = writing.as_ref().map(|writing| writing.lines().clone());
    let reload = Reload { hangups, renewals };
    match app {
        App::Files(app) => run.serve(app, listening, log, reload)?,
        App::Guarded(app) => run.serve(app, listening, log, reload)?,
    }
    if let Some(writing) = writing {
        writing.finish();
    }
    server::ended(run.stats.connections_cut.get(), args.limits.bounds.drain)
}

struct Run<'a> {
    args: &'a Serve,
    stats: Arc<ServerStats>,
    cancel: Cancel,
    users: bool,
}

impl Run<'_> {
    fn serve<A: files::App>(
        &self,
        app: A,
        listening: Listening,
        log: Option<AccessLog>,
        reload: Reload,
    ) -> Result<(), Failure> {
        let args = self.args;
        let wanted = Wanted {
            connections: args.limits.bounds.max_connections,
            each: 1,
            others: server::kept_open(args.memory.cache_entries),
            lower: "--max-connections or --cache-entries",
        };
        let connections = server::connections(&wanted, args.observing.telling.quiet);
        let threads = listening.threads(args.on.threads, connections)?;
        let tally = Arc::new(Tally::new());
        let registry = metrics::registry(Arc::clone(&self.stats), Arc::clone(&tally), log.clone());
        let observer = Observer {
            // Nobody asks for it otherwise.
            tally: args.observing.telling.metrics.is_some().then_some(tally),
            log,
            verbose: args.observing.telling.verbose,
        };
        let files = Files {
            app,
            timeouts: self.timeouts(),
            stats: Arc::clone(&self.stats),
            observer: Arc::new(observer) as Arc<dyn Observe>,
        };
        let line = announce::line(args, &listening.sockets, threads, self.users);
        let stats = Arc::clone(&self.stats);
        let server = Server {
            threads,
            connections,
            drain: args.limits.bounds.drain,
            quiet: args.observing.telling.quiet,
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
        timeouts.drain = given.bounds.drain;
        timeouts
    }
}
