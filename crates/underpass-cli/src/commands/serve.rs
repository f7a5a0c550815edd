//! `underpass serve [DIR|FILE|s3://BUCKET/PREFIX]`

use std::io::IsTerminal;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use underpass::units;
use underpass_http::{Exchange, Observe, ServerStats, Timeouts, TrustedProxies};

use crate::args::{AccessArgs, ServeArgs};
use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::server::{
    self, DescriptorNeeds, Drain, Listeners, LogWriter, Reloader, Server, TotalRate,
};
use crate::values::Trusted;

mod access_log;
mod acme;
mod auth;
mod bucket;
mod check_config;
mod https;
mod metrics;
mod observer;
mod path_rules;
mod ready_lines;
mod reload_config;
mod service;
mod target;

use access_log::AccessLog;
use acme::Acme;
use bucket::Bucket;
use https::{Https, HttpsService, Redirect};
use metrics::RequestCounts;
use observer::Observer;
use service::{Handler, HttpHandler, HttpService, TrustsProxy};
use target::Target;

pub(crate) fn run(args: &ServeArgs) -> Result<(), Failure> {
    if args.config.check_config {
        return check_config::check(args);
    }
    let stats = Arc::<ServerStats>::default();
    let target = Target::of(args)?;
    let rules = path_rules::of(&args.config, args.access.has_users())?;
    let (handler, authenticator) = service::build(args, &target, &stats, rules.as_ref())?;
    let (interrupt, hangups) = Interrupt::listen_in_server()?;
    let mut listening = listen(args)?;
    let (https, certificates) =
        Https::start(&args.https, !args.http2.no_http2, &mut listening)?.unzip();
    let writing = start_log(args)?;
    let total = args.limits.rate_total;
    let run = Run {
        args,
        target,
        stats,
        drain: Drain::new(args.limits.capacity.drain, &interrupt),
        users: args.access.has_users(),
        https,
        rate: total.map(|total| TotalRate::new(total, args.limits.rate)),
    };
    let log = writing.as_ref().map(|writing| writing.lines().clone());
    let renewal = writing.as_ref().and_then(LogWriter::renewal);
    let config = reload_config::action(&args.config, authenticator.clone(), rules);
    let reload = Reloader::new(hangups, renewal.into_iter().chain(config).collect())
        .watch(certificates.flatten())
        .watch(authenticator.and_then(|it| it.watch()))
        .start(Some(run.in_background()));
    match handler {
        Handler::Files(handler) => run.serve(handler, listening, log, reload)?,
        Handler::Guarded(handler) => run.serve(handler, listening, log, reload)?,
    }
    if let Some(writing) = writing {
        writing.finish();
    }
    if let Some(bucket) = run.target.bucket() {
        bucket.keep();
    }
    run.outcome()
}

fn listen(args: &ServeArgs) -> Result<Listeners, Failure> {
    let listening = Listeners::open(
        &args.listen(),
        args.server.access(),
        Some(&args.default_address()),
        args.reporting.monitor.metrics.as_ref(),
        None,
    )?;
    pace(args, &listening)?;
    Ok(listening)
}

fn start_log(args: &ServeArgs) -> Result<Option<LogWriter<Box<Exchange>>>, Failure> {
    let users = args.access.has_users();
    let file = args.reporting.access_log_file.as_deref();
    let proxies = trusted_proxies(&args.access);
    let form = args.reporting.access_log(std::io::stdout().is_terminal());
    form.map(|form| access_log::start(form, file, users, proxies))
        .transpose()
}

/// Sets the rate of each connection. The kernel paces TCP only.
fn pace(args: &ServeArgs, listening: &Listeners) -> Result<(), Failure> {
    let limits = &args.limits;
    let given = [(limits.rate, "--rate"), (limits.rate_total, "--rate-total")];
    let given = given.into_iter().find(|(rate, _)| rate.is_some());
    if let Some((_, option)) = given.filter(|_| !listening.has_tcp()) {
        return Err(Failure::usage(format_args!(
            "{option} is for TCP, and all addresses are Unix sockets: leave {option} out"
        )));
    }
    let Some(rate) = limits.rate else {
        return Ok(());
    };
    let failed = |error| Failure::failed(format_args!("--rate: {error}"));
    listening.pace(rate).map_err(failed)
}

/// Who is believed with a header of the PROXY protocol, if connections begin with one.
fn accept_proxy(trusted: &[Trusted]) -> Option<TrustsProxy> {
    if trusted.is_empty() {
        return None;
    }
    let trusts = trusts(trusted);
    Some(Arc::new(move |peer: Option<SocketAddr>| {
        trusts(peer.map(|peer| peer.ip().to_canonical()))
    }))
}

/// Who is believed with a header of HTTP.
fn trusted_proxies(args: &AccessArgs) -> TrustedProxies {
    let header = args.proxy_header.unwrap_or_default();
    TrustedProxies::new(trusts(&args.trusted_proxy)).header(header.into())
}

fn trusts(trusted: &[Trusted]) -> impl Fn(Option<IpAddr>) -> bool + Send + Sync + 'static {
    let trusted = trusted.to_vec();
    move |peer| trusted.iter().any(|it| it.includes(peer))
}

struct Run<'a> {
    args: &'a ServeArgs,
    target: Target,
    stats: Arc<ServerStats>,
    drain: Drain,
    users: bool,
    https: Option<Https>,
    rate: Option<Arc<TotalRate>>,
}

impl Run<'_> {
    /// What is started with the threads, beside the connections.
    fn in_background(&self) -> Box<dyn FnOnce() + Send> {
        let bucket = self.target.bucket().cloned();
        let quiet = self.args.reporting.monitor.quiet;
        let acme = self.https.as_ref().and_then(|it| it.acme_starter(quiet));
        let rate = self.rate.clone();
        Box::new(move || {
            if let Some(bucket) = bucket {
                tokio::spawn(bucket.look());
            }
            if let Some(start) = acme {
                start();
            }
            if let Some(rate) = rate {
                tokio::spawn(rate.look_after());
            }
        })
    }

    fn outcome(&self) -> Result<(), Failure> {
        let sent = units::count(self.stats.bytes_cut.get(), "byte");
        let passed = format!("{sent} of responses");
        self.drain
            .outcome(self.stats.connections_cut.get(), &passed)
    }

    fn serve<A: HttpHandler>(
        &self,
        handler: A,
        listening: Listeners,
        log: Option<AccessLog>,
        reload: Reloader,
    ) -> Result<(), Failure> {
        let args = self.args;
        let connections = self.connections();
        let threads = listening.threads(args.server.threads, connections)?;
        let requests = Arc::new(RequestCounts::new());
        let registry = metrics::registry(
            Arc::clone(&self.stats),
            Arc::clone(&requests),
            log.clone(),
            self.https.as_ref(),
            self.rate.clone(),
            self.target.bucket(),
        );
        let hsts = self.https.as_ref().and_then(|https| https.hsts.clone());
        let files = HttpService {
            handler,
            timeouts: self.timeouts(),
            stats: Arc::clone(&self.stats),
            observer: self.observer(requests, log),
            hsts,
            accept_proxy: accept_proxy(&args.access.accept.accept_proxy),
            rate: self.rate.clone(),
            h2c: !args.http2.no_http2 && !args.http2.no_h2c,
            streams: args.http2.max_streams,
            drain: self.drain.clone(),
        };
        let lines = self.ready_lines(&listening.sockets, threads);
        let stats = Arc::clone(&self.stats);
        let server = Server {
            threads,
            connections,
            drain: self.drain.clone(),
            quiet: args.reporting.monitor.quiet,
            reload,
            open: move || stats.connections_open.get(),
        };
        match self.https.clone() {
            None => server.run(listening, &files, lines, registry),
            Some(https) => {
                let redirect = Redirect {
                    port: https.port,
                    challenges: https.acme.as_ref().map(Acme::challenges),
                };
                let files = HttpsService {
                    redirect: files.replaced(redirect),
                    http: files,
                    https,
                    verbose: args.reporting.monitor.verbose,
                };
                server.run(listening, &files, lines, registry)
            }
        }
    }

    /// As many as there are descriptors for.
    fn connections(&self) -> usize {
        let args = self.args;
        let wanted = DescriptorNeeds {
            connections: args.limits.capacity.max_connections,
            each: 1,
            others: self.kept_open(),
            lower: "--max-connections or --cache-entries",
        };
        server::connections(&wanted, args.reporting.monitor.quiet)
    }

    fn observer(&self, requests: Arc<RequestCounts>, log: Option<AccessLog>) -> Arc<dyn Observe> {
        let monitor = &self.args.reporting.monitor;
        let bucket = self.target.bucket();
        Arc::new(Observer {
            // Requests are counted only if the metrics can be read.
            requests: monitor.metrics.is_some().then_some(requests),
            log,
            verbose: monitor.verbose,
            store_failures: bucket.map(Bucket::failures).unwrap_or_default(),
        })
    }

    /// Files that caches keep open. The cache of a bucket has one of its own, most often of the
    /// same files.
    fn kept_open(&self) -> usize {
        let each = if self.target.bucket().is_some() { 2 } else { 1 };
        each * server::kept_open(self.args.memory.cache_entries)
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
