//! The asynchronous driver.
#![cfg(feature = "tokio")]

use std::future::Future;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use underpass::connect::{Peer, connect};
use underpass::fan_out::Hub;
use underpass::{Cancel, Route, Running, Transfer};

use support::{file_of, random_bytes, tcp_pair};

mod support;

async fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap());
    let (near, far) = tokio::join!(near, listener.accept());
    (near.unwrap(), far.unwrap().0)
}

/// Reads to the end, so slowly that the sender has to wait.
async fn read_all(mut from: impl AsyncReadExt + Unpin) -> Vec<u8> {
    let mut got = Vec::new();
    let mut chunk = vec![0; 50_000];
    loop {
        match from.read(&mut chunk).await.unwrap() {
            0 => return got,
            count => got.extend_from_slice(&chunk[..count]),
        }
        tokio::task::yield_now().await;
    }
}

async fn write_all(mut to: impl AsyncWriteExt + Unpin, bytes: Vec<u8>) {
    to.write_all(&bytes).await.unwrap();
    to.shutdown().await.unwrap();
}

/// A server gives each transfer a task of its own, on any thread.
const _: fn() = || {
    fn is_sent<T: Send>(_: &T) {}
    let (file, (near, _far)) = (file_of(b""), tcp_pair());
    is_sent(&Transfer::new(file, near).run_async());
};

#[tokio::test]
async fn file_to_tcp() {
    let bytes = random_bytes(1, 8 << 20);
    for route in [Route::Sendfile, Route::Splice, Route::ReadWrite] {
        let (near, far) = tcp().await;
        let file = file_of(&bytes);
        let transfer = async move { Transfer::new(file, near).route(route).run_async().await };
        let (sent, got) = tokio::join!(transfer, read_all(far));
        let receipt = sent.unwrap();
        assert_eq!((receipt.bytes, receipt.route), (8 << 20, Some(route)));
        assert!(got == bytes, "{route}");
        assert!(receipt.syscalls < 3000, "{route}: {}", receipt.syscalls);
    }
}

/// Both ends belong to the runtime, and are registered with its reactor already.
#[tokio::test]
async fn tcp_to_tcp() {
    let bytes = random_bytes(2, 4 << 20);
    for route in [Route::Splice, Route::ReadWrite] {
        let (client, near) = tcp().await;
        let (sink, server) = tcp().await;
        let relay = async move {
            near.readable().await.unwrap();
            sink.writable().await.unwrap();
            Transfer::new(near, sink).route(route).run_async().await
        };
        let write = write_all(client, bytes.clone());
        let (relayed, got, ()) = tokio::join!(relay, read_all(server), write);
        assert_eq!(relayed.unwrap().route, Some(route));
        assert!(got == bytes, "{route}");
    }
}

#[tokio::test]
async fn borrowed_ends_go_on_being_the_runtimes() {
    let (mut client, mut near) = tcp().await;
    let (mut sink, mut server) = tcp().await;
    for _ in 0..3 {
        client.write_all(b"five!").await.unwrap();
        let transfer = Transfer::new(&near, &sink).range(..5);
        assert_eq!(transfer.run_async().await.unwrap().bytes, 5);
        sink.write_all(b"+").await.unwrap();
        let mut got = [0; 6];
        server.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"five!+");
        near.write_all(b"?").await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'?');
    }
}

#[tokio::test]
async fn pipes() {
    use tokio::net::unix::pipe;
    let bytes = random_bytes(3, 1 << 20);
    for route in [Route::Splice, Route::ReadWrite] {
        let (writer, source) = pipe::pipe().unwrap();
        let (sink, reader) = pipe::pipe().unwrap();
        let pump = async move { Transfer::new(source, sink).route(route).run_async().await };
        let write = write_all(writer, bytes.clone());
        let (pumped, got, ()) = tokio::join!(pump, read_all(reader), write);
        assert_eq!(pumped.unwrap().bytes, 1 << 20);
        assert!(got == bytes, "{route}");
    }
}

/// Blocking pipes, like those of a child process.
#[tokio::test]
async fn pipes_that_block() {
    let bytes = random_bytes(4, 1 << 20);
    let (source, writer) = std::io::pipe().unwrap();
    let (reader, sink) = std::io::pipe().unwrap();
    let want = bytes.clone();
    let feeder = std::thread::spawn(move || std::io::Write::write_all(&mut { writer }, &bytes));
    let drain = support::collect(reader);
    let receipt = Transfer::new(source, sink).run_async().await.unwrap();
    assert_eq!(receipt.bytes, 1 << 20);
    feeder.join().unwrap().unwrap();
    assert!(drain.join().unwrap() == want);
}

/// The reader shares its thread with the sender. A driver that spins instead of waiting never gets
/// to the end.
#[tokio::test]
async fn memory_to_tcp_waits_for_its_notifications() {
    let bytes = random_bytes(5, 16 << 20);
    for route in [None, Some(Route::SendZerocopy), Some(Route::ReadWrite)] {
        let (near, far) = tcp().await;
        let transfer = Transfer::from_memory(bytes.clone(), near).route(route);
        let (sent, got) = tokio::join!(transfer.run_async(), read_all(far));
        let receipt = sent.unwrap();
        assert!(got == bytes, "{route:?}");
        assert!(receipt.syscalls < 10_000, "{route:?}: {}", receipt.syscalls);
    }
}

/// Polls `future` a few times and drops it.
async fn poll_and_drop(times: usize, future: impl Future) -> bool {
    let mut future = std::pin::pin!(future);
    for _ in 0..times {
        let ready = std::future::poll_fn(|context| {
            std::task::Poll::Ready(future.as_mut().poll(context).is_ready())
        });
        if ready.await {
            return true;
        }
        tokio::task::yield_now().await;
    }
    false
}

/// Drops the future of `run_async` again and again. Lost bytes would show in the result.
async fn interrupted<S: underpass::Input, D: AsFd>(running: &mut Running<'_, S, D>) -> usize {
    let mut drops = 0;
    loop {
        if poll_and_drop(1 + drops % 4, running.run_async()).await {
            return drops;
        }
        drops += 1;
    }
}

#[tokio::test]
async fn dropping_the_future_loses_no_byte() {
    let bytes = random_bytes(6, 2 << 20);
    for route in [Route::Splice, Route::ReadWrite] {
        let (client, near) = tcp().await;
        let (sink, server) = tcp().await;
        let relay = async move {
            let transfer = Transfer::new(near, sink).budget(30_000).route(route);
            let mut running = transfer.start().unwrap();
            let drops = interrupted(&mut running).await;
            (drops, running.receipt())
        };
        let write = write_all(client, bytes.clone());
        let ((drops, receipt), got, ()) = tokio::join!(relay, read_all(server), write);
        assert!(receipt.complete && receipt.undelivered == 0);
        assert!(got == bytes, "{route}");
        assert!(drops > 5, "{drops} drops");
    }
}

#[tokio::test]
async fn select_may_drop_it_too() {
    let bytes = random_bytes(7, 2 << 20);
    let (near, far) = tcp().await;
    let transfer = Transfer::new(file_of(&bytes), near).budget(30_000);
    let mut running = transfer.start().unwrap();
    let send = async {
        let mut lost = 0;
        loop {
            tokio::select! {
                biased;
                done = running.run_async() => {
                    done.unwrap();
                    break;
                }
                () = tokio::task::yield_now() => lost += 1,
            }
        }
        drop(running);
        lost
    };
    let (lost, got) = tokio::join!(send, read_all(far));
    assert!(lost > 0);
    assert!(got == bytes);
}

#[tokio::test(flavor = "current_thread")]
async fn two_transfers_share_one_thread() {
    let turns = Mutex::new(Vec::new());
    let bytes = random_bytes(8, 1 << 20);
    let one = |name: char| {
        let (file, sink) = (file_of(&bytes), tempfile::tempfile().unwrap());
        let turns = &turns;
        Transfer::new(file, sink)
            .budget(16_384)
            .progress(move |_| turns.lock().unwrap().push(name))
            .run_async()
    };
    let (a, b) = tokio::join!(one('a'), one('b'));
    a.unwrap();
    b.unwrap();
    let turns = turns.into_inner().unwrap();
    assert_eq!(turns.len(), 128);
    // join! polls its futures in varying order, so two turns in a row are fair.
    let starved = turns.windows(3).any(|three| three == [three[0]; 3]);
    assert!(!starved, "{turns:?}");
}

#[tokio::test]
async fn cancelling_ends_a_transfer_that_waits() {
    let cancel = Cancel::new().unwrap();
    let (mut client, near) = tcp().await;
    let (sink, mut server) = tcp().await;
    client.write_all(b"first").await.unwrap();
    let relay = Transfer::new(near, sink).cancel(&cancel).run_async();
    let stop = async {
        // The bytes that arrived show that the next step had to wait.
        server.read_exact(&mut [0; 5]).await.unwrap();
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    };
    let (relayed, ()) = tokio::join!(relay, stop);
    let error = relayed.unwrap_err();
    assert!(error.is_cancelled(), "{error}");
    assert_eq!(error.bytes(), 5);
}

#[tokio::test(start_paused = true)]
async fn idle_too_long_is_an_error() {
    let (mut client, near) = UnixStream::pair().unwrap();
    let (sink, _server) = UnixStream::pair().unwrap();
    client.write_all(b"first").await.unwrap();
    let transfer = Transfer::new(near, sink).idle_timeout(Duration::from_secs(3600));
    let begun = tokio::time::Instant::now();
    let error = transfer.run_async().await.unwrap_err();
    assert!(error.is_timed_out(), "{error}");
    assert_eq!(error.bytes(), 5);
    assert_eq!(begun.elapsed().as_secs(), 3600);
}

/// The clock can express any limit. Here the time passes at once.
#[tokio::test(start_paused = true)]
async fn pitfall_36_the_longest_limits_are_limits() {
    for limit in [Duration::MAX, Duration::from_secs(1 << 62)] {
        let (_client, near) = UnixStream::pair().unwrap();
        let (far, _server) = UnixStream::pair().unwrap();
        let transfer = Transfer::new(near, far).idle_timeout(limit);
        assert!(transfer.run_async().await.unwrap_err().is_timed_out());

        let (_client, near) = UnixStream::pair().unwrap();
        let (far, _server) = UnixStream::pair().unwrap();
        let mut settings = underpass::relay::RelaySettings::default();
        settings.idle_timeout = Some(limit);
        let relayed = underpass::relay::run(near, far, &settings).await;
        assert_eq!(relayed.ended, underpass::relay::RelayEnd::TimedOut);

        let (_producer, near) = UnixStream::pair().unwrap();
        let hub = Hub::new(underpass::fan_out::FanOutSettings::default());
        let mut one = hub.subscribe(near.into()).unwrap();
        let silent = tokio::time::sleep(Duration::from_secs(40 * 365 * 86400));
        tokio::select! {
            () = one.run(Some(limit)) => unreachable!("silence is not its fault"),
            () = silent => {}
        }
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = Peer::Tcp(vec![listener.local_addr().unwrap()]);
    connect(&peer, Some(Duration::MAX), None).unwrap();
    let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
    drop(far);
    underpass::await_delivery(&near, Some(Duration::MAX), None).unwrap();
    underpass::await_taken(&near, Some(Duration::MAX))
        .await
        .unwrap();
}

/// A source that keeps sending does not hide a sink that takes nothing.
#[tokio::test(start_paused = true)]
async fn idle_time_counts_from_the_last_byte_delivered() {
    let (client, near) = UnixStream::pair().unwrap();
    let (sink, _server) = UnixStream::pair().unwrap();
    support::fill(&sink);
    let transfer = Transfer::new(near, sink).idle_timeout(Duration::from_secs(10));
    let begun = tokio::time::Instant::now();
    let talk = async {
        tokio::time::sleep(Duration::from_secs(7)).await;
        { client }.write_all(b"late").await.unwrap();
        std::future::pending::<()>().await;
    };
    let error = tokio::select! {
        ended = transfer.run_async() => ended.unwrap_err(),
        () = talk => unreachable!(),
    };
    assert!(error.is_timed_out(), "{error}");
    assert_eq!(begun.elapsed().as_secs(), 10);
}

#[tokio::test]
async fn a_reader_that_leaves_is_seen_while_the_source_is_silent() {
    let (_client, near) = UnixStream::pair().unwrap();
    let (sink, server) = UnixStream::pair().unwrap();
    let leave = async {
        tokio::task::yield_now().await;
        drop(server);
    };
    let (ended, ()) = tokio::join!(Transfer::new(near, sink).run_async(), leave);
    assert!(ended.unwrap_err().is_disconnected());
}

#[tokio::test]
async fn a_finished_transfer_only_says_so_again() {
    let to = tempfile::tempfile().unwrap();
    let mut running = Transfer::new(file_of(b"once"), &to).start().unwrap();
    assert_eq!(running.run_async().await.unwrap().bytes, 4);
    assert_eq!(running.run_async().await.unwrap().bytes, 4);
    assert_eq!(support::whole(&to), b"once");
}

/// Bytes that devices have read for this thread (proc_pid_io(5)).
fn device_bytes_of_thread() -> u64 {
    let io = std::fs::read_to_string("/proc/thread-self/io").unwrap();
    let line = io
        .lines()
        .find_map(|line| line.strip_prefix("read_bytes: "));
    line.unwrap().parse().unwrap()
}

#[tokio::test]
async fn pitfall_21_a_cold_file_is_read_by_a_blocking_thread() {
    let content = random_bytes(21, 20_000_000);
    let file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    file.write_all_at(&content, 0).unwrap();
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    let before = device_bytes_of_thread();
    let (near, far) = tcp().await;
    let got = tokio::spawn(read_all(far));
    let transfer = Transfer::new(&file, near).range(..);
    let receipt = transfer.run_async().await.unwrap();
    assert_eq!(receipt.route, Some(Route::Sendfile));
    assert!(got.await.unwrap() == content);
    let own = device_bytes_of_thread() - before;
    assert_eq!(own, 0, "of {} bytes", content.len());
}
