//! `underpass serve [DIR]`

use std::sync::Arc;

use underpass::Cancel;
use underpass_http::{Observe, Stats, Timeouts};

use crate::args::{AccessLog as Form, Serve};
use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::server::{self, Listening, Server, Wanted};

mod access_log;
mod announce;
mod app;
mod auth;
mod cors;
mod files;
mod metrics;
mod observer;

pub(crate) use cors::Origin;

use access_log::AccessLog;
use app::App;
use files::Files;
use metrics::Tally;
use observer::Observer;

pub(crate) fn run(args: &Serve) -> Result<(), Failure> {
    let stats = Arc::<Stats>::default();
    let app = app::build(args, &stats)?;
    let interrupt = Interrupt::listen()?;
    let metrics = args.observing.telling.metrics.as_ref();
    let listening = Listening::open(&args.on.listen, Some(&Serve::address()), metrics)?;
    let users = args.access.has_users();
    let writing = match args.observing.access_log {
        Form::None => None,
        form => Some(access_log::start(form, users)?),
    };
    let run = Run {
        args,
        stats,
        cancel: interrupt.cancel.clone(),
        users,
    };
    let log = writing.as_ref().map(|writing| writing.lines().clone());
    match app {
        App::Files(app) => run.serve(app, listening, log)?,
        App::Guarded(app) => run.serve(app, listening, log)?,
    }
    if let Some(writing) = writing {
        writing.finish();
    }
    server::ended(run.stats.connections_cut.get(), args.limits.bounds.drain)
}

struct Run<'a> {
    args: &'a Serve,
    stats: Arc<Stats>,
    cancel: Cancel,
    users: bool,
}

impl Run<'_> {
    fn serve<A: files::App>(
        &self,
        app: A,
        listening: Listening,
        log: Option<AccessLog>,
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
