//! Tests of the tokio drivers of a fan-out: only what the drivers add.
#![cfg(feature = "tokio")]

use std::io::Write;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use underpass::Route;
use underpass::StreamSocket;
use underpass::fan_out::{
    Alone, FanOutSettings, Hub, Slow, SourceCounts, SourceEnd, StreamSource, Subscriber,
    SubscriberCounts, SubscriberEnd,
};

mod support;
use support::random_bytes;

const LENGTH: usize = 3_000_000;

fn settings(begin_with: usize) -> FanOutSettings {
    let mut settings = FanOutSettings::default();
    settings.begin_with = begin_with;
    settings
}

/// A producer's end of a connection, and the stream from it.
fn stream(settings: FanOutSettings) -> (UnixStream, StreamSource<OwnedFd>, Hub) {
    let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    let hub = Hub::new(settings);
    let source = hub.source(OwnedFd::from(far)).unwrap();
    (UnixStream::from_std(near).unwrap(), source, hub)
}

async fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).await;
    (near.unwrap(), listener.accept().await.unwrap().0)
}

async fn run_source(mut source: StreamSource<impl std::os::fd::AsFd>) -> (SourceCounts, SourceEnd) {
    source.run().await;
    source.finish()
}

async fn listen(
    mut one: Subscriber<StreamSocket>,
    limit: Option<Duration>,
) -> (SubscriberCounts, SubscriberEnd) {
    one.run(limit).await;
    one.finish()
}

async fn produce(mut producer: UnixStream, content: Vec<u8>) {
    producer.write_all(&content).await.unwrap();
}

async fn read(mut from: TcpStream) -> Vec<u8> {
    let mut got = Vec::new();
    from.read_to_end(&mut got).await.unwrap();
    got
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_get_everything_by_splice() {
    let content = random_bytes(1, LENGTH);
    let mut splicing = settings(16);
    splicing.route = Some(Route::Splice);
    let (producer, source, hub) = stream(splicing);
    let (mut given, mut got) = (Vec::new(), Vec::new());
    for _ in 0..16 {
        let (near, far) = tcp().await;
        given.push(tokio::spawn(listen(
            hub.subscribe(near.into()).unwrap(),
            None,
        )));
        got.push(tokio::spawn(read(far)));
    }
    tokio::spawn(produce(producer, content.clone()));
    let (taken, ended) = run_source(source).await;
    assert_eq!((taken.spliced, taken.copied), (LENGTH as u64, 0));
    assert_eq!(ended, SourceEnd::Ended);
    for (given, got) in given.into_iter().zip(got) {
        let (given, ended) = given.await.unwrap();
        assert_eq!((given.spliced, given.copied), (LENGTH as u64, 0));
        assert_eq!(ended, SubscriberEnd::Closed);
        assert!(got.await.unwrap() == content, "other bytes");
    }
    // One of the subscribers took each part without a tee.
    let stats = hub.stats();
    assert_eq!(stats.given_spliced.get(), 16 * LENGTH as u64);
    assert_eq!((stats.closed.get(), hub.subscribers()), (16, 0));
}

#[tokio::test]
async fn what_a_subscriber_says_does_not_reset_it() {
    let content = random_bytes(2, 500_000);
    let (producer, source, hub) = stream(settings(1));
    let (near, mut far) = tcp().await;
    let given = tokio::spawn(listen(hub.subscribe(near.into()).unwrap(), None));
    far.write_all(&vec![b'x'; 300_000]).await.unwrap();
    tokio::spawn(produce(producer, content.clone()));
    tokio::spawn(run_source(source));
    let got = tokio::spawn(read(far));
    assert_eq!(given.await.unwrap().1, SubscriberEnd::Closed);
    assert!(got.await.unwrap() == content);
}

#[tokio::test]
async fn a_reset_is_seen_while_the_stream_is_silent() {
    let (_producer, source, hub) = stream(settings(1));
    let (near, far) = tcp().await;
    let given = tokio::spawn(listen(hub.subscribe(near.into()).unwrap(), None));
    let source = tokio::spawn(run_source(source));
    sockopt::set_socket_linger(&far, Some(Duration::ZERO)).unwrap();
    drop(far);
    assert!(matches!(given.await.unwrap().1, SubscriberEnd::Gone { .. }));
    assert_eq!(hub.subscribers(), 0);
    source.abort();
}

#[tokio::test]
async fn a_producer_that_dies_resets_who_has_had_all_there_was() {
    for clean_end in [false, true] {
        let mut wanted = settings(1);
        wanted.clean_end = clean_end;
        let (mut producer, source) = tcp().await;
        let source = source.into_std().unwrap();
        let hub = Hub::new(wanted);
        let source = hub.source(source).unwrap();
        let (near, mut far) = tcp().await;
        let given = tokio::spawn(listen(hub.subscribe(near.into()).unwrap(), None));
        let source = tokio::spawn(run_source(source));
        producer.write_all(b"the first part").await.unwrap();
        let mut got = [0; 14];
        far.read_exact(&mut got).await.unwrap();
        sockopt::set_socket_linger(&producer, Some(Duration::ZERO)).unwrap();
        drop(producer);
        assert!(matches!(source.await.unwrap().1, SourceEnd::Died { .. }));
        let end = far.read(&mut got).await;
        let ended = given.await.unwrap().1;
        if clean_end {
            assert_eq!(end.unwrap(), 0);
        } else {
            assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
        }
        assert_eq!(ended, SubscriberEnd::SourceDied);
    }
}

#[tokio::test]
async fn a_source_that_is_dropped_resets_its_subscribers() {
    let (_producer, source, hub) = stream(settings(1));
    let (near, mut far) = tcp().await;
    let given = tokio::spawn(listen(hub.subscribe(near.into()).unwrap(), None));
    drop(source);
    assert_eq!(given.await.unwrap().1, SubscriberEnd::SourceDied);
    let error = far.read(&mut [0; 1]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_laggard_is_dropped_and_told_and_the_others_get_all() {
    const PART: usize = 100_000;
    let content = random_bytes(3, 40_000_000);
    let mut dropping = settings(2);
    dropping.slow = Slow::Drop;
    dropping.lag = 8 << 20;
    let (producer, source, hub) = stream(dropping);
    let (near, mut lazy) = tcp().await;
    let laggard = tokio::spawn(listen(hub.subscribe(near.into()).unwrap(), None));
    let (near, mut far) = tcp().await;
    let eager = tokio::spawn(listen(hub.subscribe(near.into()).unwrap(), None));
    let (send, mut received) = tokio::sync::watch::channel(0);
    let got = tokio::spawn(async move {
        let mut got = Vec::new();
        while far.read_buf(&mut got).await.unwrap() > 0 {
            send.send_replace(got.len());
        }
        got
    });
    // Like a source that follows the pace of the fast subscriber.
    let paced = async {
        let mut producer = producer;
        for (nth, part) in content.chunks(PART).enumerate() {
            let keeps_up = |got: &usize| nth * PART < got + 5 * PART;
            received.wait_for(keeps_up).await.unwrap();
            producer.write_all(part).await.unwrap();
        }
    };
    let reading = tokio::spawn(run_source(source));
    paced.await;
    assert_eq!(reading.await.unwrap().1, SourceEnd::Ended);
    let (given, ended) = laggard.await.unwrap();
    assert_eq!(ended, SubscriberEnd::Lagged);
    assert!(given.undelivered >= 1 << 22, "{given:?}");
    assert_eq!(eager.await.unwrap().1, SubscriberEnd::Closed);
    assert!(got.await.unwrap() == content, "other bytes");
    let mut part = Vec::new();
    let error = lazy.read_to_end(&mut part).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert!(content.starts_with(&part));
    assert_eq!(hub.stats().lagged.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_that_takes_nothing_for_too_long_is_let_go() {
    let (producer, source, hub) = stream(settings(1));
    let (near, _far) = tcp().await;
    let limit = Some(Duration::from_secs(30));
    let given = tokio::spawn(listen(hub.subscribe(near.into()).unwrap(), limit));
    let reading = tokio::spawn(run_source(source));
    // It is not the subscriber's fault that the source is silent.
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(hub.subscribers(), 1);
    let writing = tokio::spawn(produce(producer, vec![7; 100_000_000]));
    assert_eq!(given.await.unwrap().1, SubscriberEnd::TimedOut);
    writing.abort();
    reading.abort();
}

#[tokio::test]
async fn without_subscribers_a_stream_waits_or_is_thrown_away() {
    let (mut producer, source, hub) = stream(settings(0));
    let reading = tokio::spawn(run_source(source));
    producer.write_all(b"kept").await.unwrap();
    let (near, mut far) = tcp().await;
    let given = tokio::spawn(listen(hub.subscribe(near.into()).unwrap(), None));
    let mut got = [0; 4];
    far.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"kept");
    drop(producer);
    assert_eq!(given.await.unwrap().1, SubscriberEnd::Closed);
    assert_eq!(reading.await.unwrap().0.discarded, 0);

    let mut discarding = settings(0);
    discarding.alone = Alone::Discard;
    let (producer, source, _hub) = stream(discarding);
    let ((), (taken, ended)) = tokio::join!(produce(producer, vec![1; LENGTH]), run_source(source));
    assert_eq!((taken.discarded, ended), (LENGTH as u64, SourceEnd::Ended));
}

/// A subscriber that takes nothing, and sends so much that it is never silent. The others get
/// everything, and this one is timed out.
#[tokio::test]
async fn pitfall_35_a_flooding_subscriber_keeps_nobody_waiting() {
    let content = random_bytes(7, 8_000_000);
    let (producer, source, hub) = stream(settings(2));
    let (near, far) = tcp().await;
    sockopt::set_socket_recv_buffer_size(&far, 4096).unwrap();
    let flooding = listen(
        hub.subscribe(near.into()).unwrap(),
        Some(Duration::from_millis(100)),
    );
    let flooding = tokio::spawn(flooding);
    let flood = far.into_std().unwrap();
    flood.set_nonblocking(false).unwrap();
    let floods: [_; 2] = std::array::from_fn(|_| {
        let mut flood = flood.try_clone().unwrap();
        std::thread::spawn(move || while flood.write(&[1; 8192]).is_ok() {})
    });
    let (near, far) = tcp().await;
    let given = tokio::spawn(listen(hub.subscribe(near.into()).unwrap(), None));
    let got = tokio::spawn(read(far));
    tokio::spawn(produce(producer, content.clone()));
    let (_, ended) = run_source(source).await;
    assert_eq!(ended, SourceEnd::Ended);
    assert!(got.await.unwrap() == content, "other bytes");
    assert_eq!(given.await.unwrap().1, SubscriberEnd::Closed);
    assert_eq!(flooding.await.unwrap().1, SubscriberEnd::TimedOut);
    for flood in floods {
        flood.join().unwrap();
    }
}
