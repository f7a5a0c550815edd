//! `relay`: clients and targets that misbehave.

use std::io::{ErrorKind, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use std::fs::File;
use std::process::{Command, Stdio};

use crate::support::{Dir, Host, MIB, MORE_THAN_BUFFERS, Relay, Running, bytes};

#[test]
fn a_target_that_never_reads_holds_the_client_back_until_the_idle_timeout() {
    let host = Host::tcp();
    let content = vec![1; MORE_THAN_BUFFERS];
    let options = ["--idle-timeout", "1s", "--receipt", "json"];
    let relay = Relay::to(&host.address(), &options);
    let (mut client, mut target) = (relay.connect(), host.accept());
    let error = client.write_all(&content).unwrap_err();
    let gone = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
    assert!(gone.contains(&error.kind()), "{error}");
    assert!(target.drain().is_err(), "a part is not taken for the whole");
    let outcome = relay.stop().ok();
    let receipt: serde_json::Value = serde_json::from_str(outcome.text()).unwrap();
    assert_eq!(receipt["ended"], "timed_out");
    assert!(
        receipt["up"]["undelivered"].as_u64().unwrap() > 0,
        "{receipt}"
    );
}

#[test]
fn a_reset_of_a_client_frees_a_target_that_never_reads() {
    let dir = Dir::new();
    for host in Host::each(&dir) {
        let options = ["--receipt", "json", "--threads", "1"];
        let relay = Relay::to(&host.address(), &options);
        let (mut client, target) = (relay.connect(), host.accept());
        // Until the bytes of the target, the relay and the client all wait.
        while client.fill() > 0 {
            relay.running.await_sleep();
        }
        client.reset();
        target.await_hang_up();
        let receipts = relay.receipts();
        let receipt = &receipts[0];
        assert_eq!(receipt["ended"], "reset", "{receipt}");
        assert_eq!(receipt["by"], "near", "{receipt}");
        assert!(receipt["up"]["undelivered"].as_u64() > Some(0), "{receipt}");
    }
}

#[test]
fn both_sides_half_close_at_once() {
    let host = Host::tcp();
    let relay = Relay::to(&host.address(), &["--receipt", "json"]);
    let pairs: Vec<_> = (0..100).map(|_| (relay.connect(), host.accept())).collect();
    for (mut client, mut target) in pairs {
        client.write_all(b"up").unwrap();
        target.write_all(b"down").unwrap();
        let ending = std::thread::spawn(move || {
            target.end();
            target.read_all()
        });
        client.end();
        assert_eq!(client.read_all(), b"down");
        assert_eq!(ending.join().unwrap(), b"up");
    }
    let outcome = relay.stop().ok();
    let closed = outcome
        .text()
        .lines()
        .filter(|line| line.contains("\"ended\":\"closed\""));
    assert_eq!(closed.count(), 100);
}

#[test]
fn pitfall_15_a_million_one_byte_writes() {
    let dir = Dir::new();
    for host in Host::each(&dir) {
        let relay = Relay::to(&host.address(), &[]);
        let (mut client, mut target) = (relay.connect(), host.accept());
        let content = bytes(430, 1_000_000);
        let sending = std::thread::spawn({
            let content = content.clone();
            move || {
                for byte in content {
                    client.write_all(&[byte]).unwrap();
                }
                client.end();
                client.read_all()
            }
        });
        assert!(target.read_all() == content);
        target.end();
        assert_eq!(sending.join().unwrap(), b"");
        relay.stop().ok();
    }
}

#[test]
fn pitfall_13_after_50_000_connections_no_descriptor_is_left() {
    const THREADS: usize = 4;
    let dir = Dir::new();
    let place = dir.path("target");
    let listener = UnixListener::bind(&place).unwrap();
    // It sends back what it gets, and ends with this process.
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = std::io::copy(&mut stream.try_clone().unwrap(), &mut stream);
        }
    });
    let listen = format!("unix:{}", dir.path("listen"));
    let relay = Relay::between(&listen, &format!("unix:{place}"), &["--route", "splice"]);
    let path = listen.strip_prefix("unix:").unwrap();
    let once = || {
        let mut stream = UnixStream::connect(path).unwrap();
        stream.write_all(b"short").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
        assert_eq!(answer, "short");
    };
    let churn = |count: usize| {
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| (0..count / THREADS).for_each(|_| once()));
            }
        });
    };
    // By now the pools are full.
    churn(1000);
    let before = relay.running.descriptors();
    churn(49_000);
    // The last of them may still be closing.
    while relay.running.descriptors() > before + 2 * THREADS {
        std::thread::yield_now();
    }
    relay.stop().ok();
}

#[test]
fn a_client_that_resets_in_mid_stream_takes_its_target_with_it() {
    let host = Host::tcp();
    let relay = Relay::to(&host.address(), &[]);
    let (mut client, mut target) = (relay.connect(), host.accept());
    let reading = std::thread::spawn(move || target.drain());
    client.write_all(&bytes(431, 3 * MIB)).unwrap();
    client.reset();
    let error = reading.join().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    relay.stop().ok();
}

/// `ulimit -f`: receipts that reach the limit end, with a message; the relay and its connections
/// continue.
#[test]
fn pitfall_31_receipts_that_reach_a_limit_end_no_connection() {
    let dir = Dir::new();
    let host = Host::tcp();
    let mut command = Command::new("bash");
    command.args(["-c", "ulimit -f 1; exec \"$@\"", "bash"]);
    command.arg(env!("CARGO_BIN_EXE_underpass"));
    command.args(["relay", "--listen", "127.0.0.1:0", "--receipt=json"]);
    command.args(["--to", host.address().trim_start_matches("tcp://")]);
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    command.stdout(File::create(dir.path("receipts")).unwrap());
    let mut relay = Relay::of(Running::start(command));
    let (mut client, mut target) = (relay.connect(), host.accept());
    for _ in 0..4 {
        let (short, _) = (relay.connect(), host.accept());
        drop(short);
    }
    let line = relay.running.line();
    assert!(line.contains("File too large"), "{line}");
    client.write_all(b"there").unwrap();
    assert_eq!(target.read_exactly(5), b"there");
    target.write_all(b"back").unwrap();
    assert_eq!(client.read_exactly(4), b"back");
    assert_eq!(std::fs::read(dir.path("receipts")).unwrap().len(), 1024);
    drop((client, target));
    relay.stop().ok();
}
