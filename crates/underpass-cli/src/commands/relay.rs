//! `underpass relay --listen ADDR --to ADDR`

use std::sync::Arc;

use underpass::relay::{RelayReceipt, RelaySettings};

use crate::args::RelayArgs;
use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::io::tls::{self, TlsServer};
use crate::server::{
    self, DescriptorNeeds, Drain, Listeners, LogWriter, Reloader, Server, sentence_list,
    shown_addresses,
};
use crate::values::Address;

mod connection;
mod metrics;
mod proxy_header;
mod targets;

use connection::{Connector, ReceiptSender, RelayService};
use metrics::RelayCounts;
use targets::{Notices, Targets};

pub(crate) fn run(args: &RelayArgs) -> Result<(), Failure> {
    tls::refuse_without_tls(args.to.iter(), args.tls_client.given())?;
    let notices = match &args.reporting.monitor {
        monitor if monitor.verbose => Notices::None,
        monitor if monitor.quiet => Notices::Failures,
        _ => Notices::Changes,
    };
    let targets = Targets::resolve(&args.to, &args.tls_client, args.ktls, notices)?;
    let tls = TlsServer::of_addresses(&args.server.listen, &args.tls, args.ktls)?;
    let tls = tls.map(|tls| tls.verbose(args.reporting.monitor.verbose));
    let (interrupt, hangups) = Interrupt::listen_in_server()?;
    let metrics = args.reporting.monitor.metrics.as_ref();
    let listening = Listeners::open_required(
        "relay",
        &args.server.listen,
        args.server.access(),
        metrics,
        tls.as_ref(),
    )?;
    own_listener(&targets, &listening)?;
    listening.keep_alive();
    let wanted = DescriptorNeeds {
        connections: args.limits.capacity.max_connections,
        each: 2,
        others: server::kept_open(PIPES),
        lower: "--max-connections",
    };
    let connections = server::connections(&wanted, args.reporting.monitor.quiet);
    let threads = listening.threads(args.server.threads, connections)?;
    let line = line(args, &listening, threads);
    let counts = Arc::new(RelayCounts::default());
    let writing = server::receipts(
        args.reporting.form(),
        args.reporting.receipt_file.as_deref(),
        args.reporting.monitor.verbose,
        RelayReceipt::summary,
    )?;
    let connector = Connector {
        targets,
        settings: settings(args),
        connect_timeout: args.limits.connect_timeout,
        proxy_header: args.proxy_protocol,
        accept_proxy: args.accept.accept_proxy.clone(),
        verbose: args.reporting.monitor.verbose,
        receipts: writing.as_ref().map(ReceiptSender::new),
        counts: Arc::clone(&counts),
    };
    let drain = Drain::new(args.limits.capacity.drain, &interrupt);
    let service = RelayService {
        connector: Arc::new(connector),
        drain: drain.clone(),
    };
    let open = Arc::clone(&counts.connections);
    let server = Server {
        threads,
        connections,
        drain: drain.clone(),
        quiet: args.reporting.monitor.quiet,
        reload: Reloader::new(
            hangups,
            writing.iter().filter_map(LogWriter::renewal).collect(),
        ),
        open: move || open.open.get(),
    };
    server.run(listening, &service, vec![line], metrics::registry(&counts))?;
    if let Some(writing) = writing {
        writing.finish();
    }
    drain.outcome(counts.connections.cut.get(), &counts.passed_when_cut())
}

/// Refuses a target that is the relay itself. Each connection would make another one, until there
/// are no descriptors left.
fn own_listener(targets: &Targets, listening: &Listeners) -> Result<(), Failure> {
    let leads_here = |peer| {
        listening
            .sockets
            .iter()
            .any(|own| server::leads_to(peer, own))
    };
    match targets.peers().find(|(_, peer)| leads_here(peer)) {
        None => Ok(()),
        Some((name, _)) => Err(Failure::usage(format_args!(
            "--to {name}: the relay itself listens there, and would connect to itself without end; name another target"
        ))),
    }
}

/// Descriptors for pooled pipes.
const PIPES: usize = 32;

fn settings(args: &RelayArgs) -> RelaySettings {
    RelaySettings::new()
        .route(args.route)
        .idle_timeout(args.limits.idle_timeout)
}

/// The line that says the relay is ready: `relaying 127.0.0.1:9000 to 127.0.0.1:5432 (2 threads)`.
fn line(args: &RelayArgs, listening: &Listeners, threads: usize) -> String {
    let shown_addresses = |socket| shown_addresses(socket, |number| number.to_string());
    let from: Vec<_> = listening.sockets.iter().flat_map(shown_addresses).collect();
    let to: Vec<_> = args.to.iter().map(Address::short).collect();
    let threads = server::threads(threads);
    format!(
        "relaying {} to {} ({threads})",
        sentence_list(&from),
        sentence_list(&to)
    )
}
