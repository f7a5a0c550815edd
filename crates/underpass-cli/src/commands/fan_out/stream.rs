//! Fan-out of a stream: one task reads the source, and one task writes to each subscriber.

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use underpass::StreamSocket;
use underpass::accept::Listener;
use underpass::fan_out::{
    self, FanOutEndpoint, FanOutSettings, Hub, SourceCounts, SourceEnd, Subscriber,
    SubscriberCounts, SubscriberEnd,
};
use underpass::witness::Witness;
use underpass::{close_in_order, close_lingering_async, units};

use super::producer::{OpenProducer, Producer};
use super::receipts::FanOutReceipt;
use super::receipts::SubscriberReporter;
use super::{FanOutServer, metrics};
use crate::args::{AlonePolicy, FanOutArgs, SlowPolicy};
use crate::exit::Failure;
use crate::server::{self, ConnectionCounts, Drain, Service, ServiceFuture};

pub(super) fn run(args: &FanOutArgs, producer: Producer) -> Result<(), Failure> {
    let fan_out = FanOutServer::prepare(args)?;
    let (wanted, most) = (args.stream.begin_with, fan_out.most);
    if wanted > most {
        return Err(Failure::usage(format_args!(
            "--await {wanted} would wait for ever: at most {} allowed; raise --max-connections or ulimit -Hn",
            units::count(most as u64, "connection")
        )));
    }
    let name = producer.name();
    let stream = Arc::new(StreamFanOut {
        hub: Hub::new(settings(args)),
        producer: Mutex::new(Some(producer)),
        outcome: Mutex::new(None),
        ended: watch::Sender::new(false),
        stopped: watch::Sender::new(false),
        allow_empty: args.stream.allow_empty,
        clean_end: args.stream.clean_end,
        idle_timeout: args.limits.idle_timeout,
        drain: fan_out.drain.clone(),
        connections: Arc::clone(&fan_out.connections),
        reporter: fan_out.receipt_log.reporter(args),
    });
    let registry = metrics::of_stream(&stream.hub, &stream.connections);
    let streaming = StreamService(Arc::clone(&stream));
    fan_out.run(args, &name, &streaming, registry, || stream.receipt())?;
    stream.outcome(&name)
}

fn settings(args: &FanOutArgs) -> FanOutSettings {
    let stream = &args.stream;
    let slow = match stream.slow {
        SlowPolicy::Wait => fan_out::Slow::Wait,
        SlowPolicy::Drop => fan_out::Slow::Drop,
    };
    let alone = match stream.alone {
        AlonePolicy::Wait => fan_out::Alone::Wait,
        AlonePolicy::Discard => fan_out::Alone::Discard,
    };
    FanOutSettings::new()
        .lag(stream.lag)
        .slow(slow)
        .alone(alone)
        .begin_with(stream.begin_with)
        .clean_end(stream.clean_end)
        .route(stream.route)
}

/// State shared by all threads.
struct StreamFanOut {
    hub: Hub,
    /// Taken by the first thread that starts.
    producer: Mutex<Option<Producer>>,
    /// The outcome of the source, once it has ended.
    outcome: Mutex<Option<io::Result<SourceOutcome>>>,
    /// The source has ended, well or not.
    ended: watch::Sender<bool>,
    /// The server was asked to stop.
    stopped: watch::Sender<bool>,
    /// A producer that ends without a byte is an empty stream.
    allow_empty: bool,
    /// If the producer breaks off, connections are closed as if it had ended normally.
    clean_end: bool,
    idle_timeout: Option<Duration>,
    drain: Drain,
    connections: Arc<ConnectionCounts>,
    reporter: SubscriberReporter,
}

/// How a source that was opened has ended.
struct SourceOutcome {
    taken: SourceCounts,
    ended: SourceEnd,
    end: FanOutEndpoint,
}

#[derive(Clone)]
struct StreamService(Arc<StreamFanOut>);

impl Service for StreamService {
    fn serve(
        &self,
        listener: impl Listener<Socket: Into<StreamSocket>>,
        connections: usize,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> ServiceFuture {
        let stream = Arc::clone(&self.0);
        Box::pin(async move {
            let stop_watch = tokio::spawn({
                let stream = Arc::clone(&stream);
                async move {
                    stop.await;
                    stream.stopped.send_replace(true);
                }
            });
            let producer = locked(&stream.producer).take();
            let reading =
                producer.map(|producer| tokio::spawn(read_producer(Arc::clone(&stream), producer)));
            let (stop_accepting, cut) = (stream.no_more_accepted(), stream.cut());
            let counts = Arc::clone(&stream.connections);
            let serve_subscriber = move |socket| serve_subscriber(Arc::clone(&stream), socket);
            counts
                .accept(listener, connections, stop_accepting, cut, serve_subscriber)
                .await;
            if let Some(reading) = reading {
                let _ = reading.await;
            }
            stop_watch.abort();
            Ok(())
        })
    }
}

impl StreamFanOut {
    /// Ready when no more subscribers are accepted.
    fn no_more_accepted(&self) -> impl Future<Output = ()> + use<> {
        let (ended, stopped) = (until_set(&self.ended), until_set(&self.stopped));
        async {
            tokio::select! {
                () = ended => {}
                () = stopped => {}
            }
        }
    }

    /// Ready when the remaining subscribers are cut off. They have as long as they need after the
    /// source has ended, and `drain` after the server was asked to stop.
    fn cut(&self) -> impl Future<Output = ()> + use<> {
        let (stopped, drain) = (until_set(&self.stopped), self.drain.clone());
        async move {
            stopped.await;
            drain.over().await;
        }
    }

    /// The receipt of the source, after everything has ended.
    fn receipt(&self) -> Option<FanOutReceipt> {
        let outcome = locked(&self.outcome);
        let outcome = outcome.as_ref()?.as_ref().ok()?;
        let SourceOutcome { taken, ended, end } = outcome;
        Some(FanOutReceipt::Source(taken.receipt(*ended, end, &self.hub)))
    }

    /// The outcome of the command, after everything has ended.
    fn outcome(&self, name: &str) -> Result<(), Failure> {
        let SourceOutcome { taken, ended, .. } = match locked(&self.outcome).take() {
            Some(Ok(outcome)) => outcome,
            Some(Err(error)) => return Err(Failure::failed(format_args!("{name}: {error}"))),
            None => {
                let line = format!("{name}: stopped before there was a producer");
                return Err(Failure::incomplete(line));
            }
        };
        let bytes = units::count(taken.bytes(), "byte");
        match ended {
            SourceEnd::Died { error } => {
                let line = format!("{name}: broke off after {bytes}: {error}");
                return Err(Failure::incomplete(line));
            }
            SourceEnd::Cut => {
                let line = format!("{name}: stopped after {bytes}, before it ended");
                return Err(Failure::incomplete(line));
            }
            _ => {}
        }
        let sent = self.connections.sent_when_cut();
        self.drain.outcome(self.connections.cut.get(), &sent)?;
        let stats = self.hub.stats();
        let early = stats.gone.get() + stats.lagged.get() + stats.timed_out.get();
        match (early, stats.joined.get()) {
            (0, _) => Ok(()),
            (early, all) => Err(Failure::incomplete(format_args!(
                "{early} of {} did not get everything",
                units::count(all, "subscriber")
            ))),
        }
    }
}

fn until_set(flag: &watch::Sender<bool>) -> impl Future<Output = ()> + use<> {
    let mut flag = flag.subscribe();
    async move {
        // The sender lives longer than this future.
        let _ = flag.wait_for(|set| *set).await;
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads the producer until it ends or the server is asked to stop.
async fn read_producer(stream: Arc<StreamFanOut>, producer: Producer) {
    let end_guard = EndGuard(Arc::clone(&stream));
    let opened = tokio::select! {
        () = until_set(&stream.stopped) => None,
        opened = producer.open(stream.allow_empty) => Some(opened),
    };
    let outcome = match opened {
        None => None,
        Some(Err(error)) => Some(Err(error)),
        Some(Ok(source)) => Some(run_source(&stream, source).await),
    };
    *locked(&stream.outcome) = outcome;
    drop(end_guard);
}

/// Closes the stream when it is dropped, also if the source never began or a panic ended it.
struct EndGuard(Arc<StreamFanOut>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.0.hub.close();
        self.0.ended.send_replace(true);
    }
}

async fn run_source(stream: &StreamFanOut, mut source: OpenProducer) -> io::Result<SourceOutcome> {
    let layer = source.layer().cloned();
    let end = FanOutEndpoint::of_source(&source)?.named(source.name.clone());
    let end = end.with_layer(layer.as_ref());
    let (witness, meant) = (source.witness.take(), source.meant);
    let producers_layer = layer.clone();
    let mut source = stream.hub.source_through(source, layer)?;
    if witness.is_some() {
        source.doubt_end();
    }
    let reading = async {
        source.run().await;
        if let Some(witness) = &witness {
            let meant = meant || witness.hear_async().await.unwrap_or(false);
            source.settle_end(meant);
            // The producer may be gone.
            let _ = witness.say();
        }
        // Everything was read, so the producer's socket is closed in an orderly way. Other sources
        // do not need this.
        match &producers_layer {
            Some(layer) => close_lingering_async(Some(layer), source.source()).await,
            None => drop(close_in_order(source.source())),
        }
    };
    tokio::select! {
        // Subscribers still get what was read so far, and learn that it is not everything.
        () = until_set(&stream.stopped) => {}
        () = reading => {}
    }
    let (taken, ended) = source.finish();
    Ok(SourceOutcome { taken, ended, end })
}

/// Sends the stream to a subscriber.
async fn serve_subscriber(stream: Arc<StreamFanOut>, socket: StreamSocket) {
    let wants = stream.reporter.wants_receipts();
    let peer = server::peer_name(server::peer_address(&socket));
    let Ok(witness) = Witness::of(&socket) else {
        // The subscriber is gone.
        return;
    };
    let end = wants
        .then(|| FanOutEndpoint::of_subscriber(&socket).ok())
        .flatten();
    let end = end.map(|end| end.with_layer(socket.layer()));
    let layer = socket.layer().cloned();
    let Ok(subscriber) = stream.hub.subscribe_through(socket, layer) else {
        return;
    };
    let mut served = StreamSubscriber {
        end: end.map(|end| end.named(peer.clone())),
        peer,
        subscriber: Some(subscriber),
        witness,
        stream,
    };
    served.run().await;
}

/// A subscriber. Its receipt is written when this is dropped, also if it was cut off.
struct StreamSubscriber {
    stream: Arc<StreamFanOut>,
    subscriber: Option<Subscriber<StreamSocket>>,
    /// The witness of an underpass recv at a Unix socket, which waits for the word that it has
    /// everything.
    witness: Option<Witness>,
    peer: String,
    end: Option<FanOutEndpoint>,
}

impl StreamSubscriber {
    async fn run(&mut self) {
        if let Some(subscriber) = &mut self.subscriber {
            subscriber.run(self.stream.idle_timeout).await;
        }
    }
}

impl Drop for StreamSubscriber {
    fn drop(&mut self) {
        let Some(subscriber) = self.subscriber.take() else {
            return;
        };
        let (given, ended) = subscriber.finish();
        let is_all = ended == SubscriberEnd::Closed
            || ended == SubscriberEnd::SourceDied && self.stream.clean_end;
        if let Some(witness) = self.witness.as_ref().filter(|_| is_all) {
            // The subscriber may be gone.
            let _ = witness.say();
        }
        let reporter = &self.stream.reporter;
        if let Some(end) = &self.end {
            reporter.receipt(FanOutReceipt::Subscriber(given.receipt(ended, end)));
        }
        let after = Delivered(&given);
        let peer = &self.peer;
        match ended {
            SubscriberEnd::Closed => {}
            SubscriberEnd::Gone { error } => {
                reporter.ended_early(peer, format_args!("went away after {after}: {error}"));
            }
            SubscriberEnd::Lagged => {
                reporter.ended_early(peer, format_args!("too slow: reset after {after}"));
            }
            SubscriberEnd::TimedOut => reporter.ended_early(
                peer,
                format_args!("took nothing within the idle timeout: reset after {after}"),
            ),
            SubscriberEnd::SourceDied => {
                reporter.ended_early(peer, format_args!("the stream broke off after {after}"));
            }
            _ => {
                self.stream.connections.cut_bytes.add(given.bytes());
                reporter.ended_early(peer, format_args!("cut off after {after}"));
            }
        }
    }
}

/// Says how much was delivered, as in `5 bytes, with 7 more not delivered`.
struct Delivered<'a>(&'a SubscriberCounts);

impl fmt::Display for Delivered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&units::count(self.0.bytes(), "byte"))?;
        if self.0.unacknowledged > 0 {
            let of_them = units::grouped(self.0.unacknowledged);
            write!(f, ", {of_them} of them not acknowledged")?;
        }
        if self.0.undelivered > 0 {
            let more = units::grouped(self.0.undelivered);
            write!(f, ", with {more} more not delivered")?;
        }
        Ok(())
    }
}
