//! Relays one connection: connects to a target, sends the PROXY header, and passes bytes on.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use underpass::StreamSocket;
use underpass::accept::Listener;
use underpass::proxy_protocol::{ProxiedAddresses, receive};
use underpass::relay::{
    RelayEnd, RelayEndpoints, RelayOutcome, RelayReceipt, RelaySettings, RunningRelay, Side,
};
use underpass::{reset_on_close, units};

use super::metrics::RelayCounts;
use super::proxy_header;
use super::targets::{Target, Targets};
use crate::io::tls::{HANDSHAKE, TlsServer};
use crate::report;
use crate::server::{self, Drain, LogSender, LogWriter, Service, ServiceFuture, TlsListener};
use crate::values::{ProxyVersion, Trusted};

#[derive(Clone)]
pub(super) struct RelayService {
    pub(super) connector: Arc<Connector>,
    /// How long connections may continue after the relay was asked to stop.
    pub(super) drain: Drain,
}

impl Service for RelayService {
    fn serve(
        &self,
        listener: impl Listener<Socket: Into<StreamSocket>>,
        connections: usize,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> ServiceFuture {
        self.relay(listener, None, connections, stop)
    }

    fn serve_tls(
        &self,
        listener: TcpListener,
        server: TlsServer,
        connections: usize,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> ServiceFuture {
        if self.connector.accept_proxy.is_empty() {
            return self.serve(TlsListener::new(listener, server), connections, stop);
        }
        // The header comes before TLS.
        self.relay(listener, Some(server), connections, stop)
    }
}

impl RelayService {
    /// Relays the connections of a listener. If they have `tls`, it begins after the header of a
    /// proxy.
    fn relay(
        &self,
        listener: impl Listener<Socket: Into<StreamSocket>>,
        tls: Option<TlsServer>,
        connections: usize,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> ServiceFuture {
        let connector = Arc::clone(&self.connector);
        let counts = Arc::clone(&connector.counts.connections);
        let settings = connector.settings.clone();
        let settings = settings.stats(connector.counts.of_thread());
        let settings = Arc::new(settings);
        let cut = self.drain.over();
        // Connections that are dropped are reset.
        let relay = move |near| {
            let (connector, settings) = (Arc::clone(&connector), Arc::clone(&settings));
            let tls = tls.clone();
            async move { connector.relay(near, tls.as_ref(), &settings).await }
        };
        Box::pin(async move {
            counts.accept(listener, connections, stop, cut, relay).await;
            Ok(())
        })
    }
}

/// What every connection needs to be relayed.
pub(super) struct Connector {
    pub(super) targets: Targets,
    pub(super) settings: RelaySettings,
    pub(super) connect_timeout: Duration,
    pub(super) proxy_header: Option<ProxyVersion>,
    /// The proxies that are believed, if all connections begin with a header of the PROXY protocol.
    pub(super) accept_proxy: Vec<Trusted>,
    /// Whether to print why connections ended early.
    pub(super) verbose: bool,
    pub(super) receipts: Option<ReceiptSender>,
    pub(super) counts: Arc<RelayCounts>,
}

impl Connector {
    /// Relays `near` to its end. If it has `tls`, that begins after the header of a proxy.
    /// `settings` are [`Self::settings`] with the counters of this thread.
    pub(super) async fn relay(
        &self,
        near: StreamSocket,
        tls: Option<&TlsServer>,
        settings: &RelaySettings,
    ) {
        let proxy = server::peer_address(&near);
        let mut opening = Opening {
            connector: self,
            peer: proxy,
            stage: Some("before it named its client"),
        };
        let named = match self.client(&near, proxy).await {
            Ok(named) => named,
            Err(error) => {
                self.counts.refused.add(1);
                return opening.failed(&error);
            }
        };
        let peer = named.map(|it| it.source).or(proxy);
        opening.peer = peer;
        let near = match (near, tls) {
            (StreamSocket::Tcp(socket), Some(tls)) => {
                opening.stage = Some("in its TLS handshake");
                let Ok(near) = server::shake_hands(socket, peer, tls).await else {
                    // It has been told.
                    opening.stage = None;
                    return self.counts.refused.add(1);
                };
                near.into()
            }
            (near, _) => near,
        };
        opening.stage = Some("before a target was reached");
        // Until the target has ended normally, closing the client's connection resets it: an
        // orderly close would look like an empty response.
        let _ = reset_on_close(&near);
        let (far, target) = match self.open(&near, named).await {
            Ok(opened) => opened,
            Err(error) => {
                self.counts.unreached.add(1);
                return opening.failed(&error);
            }
        };
        opening.stage = None;
        let receipts = self.receipts.as_ref();
        let ends =
            receipts.and_then(|_| ReceiptSender::endpoints(&near, peer, &far, target.name()));
        let mut relayed = RelayedConnection {
            connector: self,
            running: Some(RunningRelay::new(near, far, settings)),
            peer,
            target,
            ends,
        };
        relayed.run().await;
    }

    /// Whom the proxy names, where connections come from proxies. `None` if it names nobody.
    async fn client(
        &self,
        near: &StreamSocket,
        proxy: Option<SocketAddr>,
    ) -> io::Result<Option<ProxiedAddresses>> {
        if self.accept_proxy.is_empty() {
            return Ok(None);
        }
        let address = proxy.map(|proxy| proxy.ip().to_canonical());
        if !self.accept_proxy.iter().any(|it| it.includes(address)) {
            let told = "this peer is no proxy of --accept-proxy";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, told));
        }
        let received = async {
            match near {
                StreamSocket::Tcp(socket) => receive(socket).await,
                StreamSocket::Unix(socket) => receive(socket).await,
                StreamSocket::Tls(_) => Ok(None),
            }
        };
        match tokio::time::timeout(HANDSHAKE, received).await {
            Ok(received) => received,
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no PROXY protocol header came within {HANDSHAKE:?}"),
            )),
        }
    }

    /// Connects to a target, and sends it the PROXY header.
    async fn open(
        &self,
        near: &StreamSocket,
        named: Option<ProxiedAddresses>,
    ) -> io::Result<(StreamSocket, &Target)> {
        let header = self
            .proxy_header
            .map(|version| proxy_header::header(version, near, named));
        let header = header.unwrap_or_default().into();
        self.targets
            .connect(self.connect_timeout, &header, &self.counts)
            .await
    }

    fn log(&self, peer: Option<SocketAddr>, why: &dyn fmt::Display) {
        if self.verbose {
            let peer = server::peer_name(peer);
            report::notice(format_args!("{peer}: {why}"));
        }
    }
}

/// A connection for which there is no target yet. If it is dropped then, it was cut off.
struct Opening<'a> {
    connector: &'a Connector,
    peer: Option<SocketAddr>,
    /// What it waits for, while it does.
    stage: Option<&'static str>,
}

impl Opening<'_> {
    fn failed(mut self, error: &io::Error) {
        self.stage = None;
        self.connector.log(self.peer, error);
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        if let Some(stage) = self.stage {
            self.connector
                .log(self.peer, &format_args!("cut off {stage}"));
        }
    }
}

/// A connection and its target. Its receipt is written when this is dropped, also if it was cut
/// off.
struct RelayedConnection<'a> {
    connector: &'a Connector,
    running: Option<RunningRelay>,
    peer: Option<SocketAddr>,
    target: &'a Target,
    /// For the receipt, if one is written.
    ends: Option<RelayEndpoints>,
}

impl RelayedConnection<'_> {
    async fn run(&mut self) {
        if let Some(running) = &mut self.running {
            running.run().await;
        }
    }

    /// Reports a connection that did not end normally.
    fn ended_early(&self, relayed: &RelayOutcome) {
        let after = Delivered(relayed);
        match relayed.ended {
            RelayEnd::Reset { error, by } => {
                let side = match by {
                    Side::Near => "the client",
                    Side::Far => self.target.name(),
                };
                self.log(&format_args!("{side} went away after {after}: {error}"));
            }
            RelayEnd::TimedOut => self.log(&format_args!(
                "nothing moved within the idle timeout, after {after}"
            )),
            RelayEnd::Cut => self.log(&format_args!("cut off after {after}")),
            _ => {}
        }
    }

    fn log(&self, why: &dyn fmt::Display) {
        self.connector.log(self.peer, why);
    }
}

impl Drop for RelayedConnection<'_> {
    fn drop(&mut self) {
        let Some(running) = self.running.take() else {
            return;
        };
        let relayed = running.finish();
        if relayed.ended == RelayEnd::Cut {
            self.connector.counts.cut_off(&relayed);
        }
        if let Some((receipts, ends)) = self.connector.receipts.as_ref().zip(self.ends.as_ref()) {
            receipts.send(&relayed, ends);
        }
        self.ended_early(&relayed);
    }
}

/// Says how much was passed on, as in `5 bytes up, 7 bytes down, with 2 more not delivered`.
struct Delivered<'a>(&'a RelayOutcome);

impl fmt::Display for Delivered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ways = [&self.0.up, &self.0.down];
        let [up, down] = ways.map(|way| units::count(way.bytes(), "byte"));
        write!(f, "{up} up, {down} down")?;
        let unacknowledged: u64 = ways.iter().map(|way| way.unacknowledged).sum();
        if unacknowledged > 0 {
            let of_them = units::grouped(unacknowledged);
            write!(f, ", {of_them} of them not acknowledged")?;
        }
        let undelivered: u64 = ways.iter().map(|way| way.undelivered).sum();
        if undelivered > 0 {
            let more = units::grouped(undelivered);
            write!(f, ", with {more} more not delivered")?;
        }
        Ok(())
    }
}

/// Queues the receipts of connections.
#[derive(Clone)]
pub(super) struct ReceiptSender(LogSender<Box<RelayReceipt>>);

impl ReceiptSender {
    pub(super) fn new(writing: &LogWriter<Box<RelayReceipt>>) -> Self {
        Self(writing.lines().clone())
    }

    /// Collects the names of both sides for a receipt, while the sockets are open.
    pub(super) fn endpoints(
        near: &StreamSocket,
        peer: Option<SocketAddr>,
        far: &StreamSocket,
        target: &str,
    ) -> Option<RelayEndpoints> {
        let ends = RelayEndpoints::of(near, far).ok()?;
        let layers = [near.layer(), far.layer()];
        let near = server::peer_name(peer);
        let ends = ends.with_layers(layers[0], layers[1]);
        Some(ends.named(near, target.to_owned()))
    }

    pub(super) fn send(&self, relayed: &RelayOutcome, ends: &RelayEndpoints) {
        self.0.push(Box::new(relayed.receipt(ends)));
    }
}
