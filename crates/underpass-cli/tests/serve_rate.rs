//! `serve --rate-total`: the shares of connections that come and go.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{Dir, MORE_THAN_BUFFERS, Metrics, Server, needs, run};

/// Nothing in a passing test takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

const MIB: u64 = 1 << 20;

/// A client that has asked for `path`, and has read the first byte.
fn client(server: &Server, path: &str) -> TcpStream {
    let address = server.url["http://".len()..].trim_end_matches('/');
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET /{path} HTTP/1.1\r\nHost: a\r\n\r\n");
    client.write_all(request.as_bytes()).unwrap();
    client.read_exact(&mut [0]).unwrap();
    client
}

/// Waits until this many connections have a share of so much.
#[track_caller]
fn await_shares(metrics: &mut Metrics, connections: u64, share: u64) {
    let begun = Instant::now();
    loop {
        let now = (
            metrics.sample("underpass_http_rate_connections"),
            metrics.sample("underpass_http_rate_share"),
        );
        if now == (connections, share) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{now:?}");
        std::thread::yield_now();
    }
}

/// Checks the highest pacing rates of the server's connections, as the kernel has them.
#[track_caller]
fn are_set(server: &Server, connections: usize, share: u64) {
    if !needs::tool("ss") {
        return;
    }
    let port = server.url.trim_end_matches('/').rsplit(':').next().unwrap();
    let sport = format!(":{port}");
    let mut ss = Command::new("ss");
    ss.args(["-tinH", "state", "established", "sport", "=", &sport]);
    let said = String::from_utf8(ss.output().unwrap().stdout).unwrap();
    // Versions of ss differ in how they write bits per second.
    let bits = share * 8;
    let exact = format!("/{bits}bps");
    let rounded = format!("/{:.1}Mbps", bits as f64 / 1e6);
    let found = said.matches(&exact).count() + said.matches(&rounded).count();
    assert_eq!(found, connections, "{exact}: {said}");
}

#[test]
fn connections_that_send_share_the_rate() {
    let dir = Dir::in_memory();
    dir.file("large", &vec![b'x'; MORE_THAN_BUFFERS]);
    let rates = ["--rate-total=1200MiB/s", "--rate=800MiB/s"];
    let options = [&rates[..], &["--metrics=127.0.0.1:0"]].concat();
    let mut server = Server::start(&dir, &options);
    let mut metrics = Metrics::of(&server.running.line());
    await_shares(&mut metrics, 0, 800 * MIB);
    // Who does not read is still being sent to.
    let mut clients = vec![client(&server, "large")];
    // No more than one may have.
    await_shares(&mut metrics, 1, 800 * MIB);
    clients.push(client(&server, "large"));
    await_shares(&mut metrics, 2, 600 * MIB);
    clients.extend([client(&server, "large"), client(&server, "large")]);
    await_shares(&mut metrics, 4, 300 * MIB);
    are_set(&server, 4, 300 * MIB);
    drop(clients.pop());
    await_shares(&mut metrics, 3, 400 * MIB);
    are_set(&server, 3, 400 * MIB);
    // One that has been sent all has no share, although it stays.
    let mut rest = Read::by_ref(&mut clients[2]).take(MORE_THAN_BUFFERS as u64);
    let read = std::io::copy(&mut rest, &mut std::io::sink()).unwrap();
    assert_eq!(read, MORE_THAN_BUFFERS as u64);
    await_shares(&mut metrics, 2, 600 * MIB);
    are_set(&server, 2, 600 * MIB);
    drop(clients);
    await_shares(&mut metrics, 0, 800 * MIB);
    server.stop().ok();
}

/// What is sent is what it would be without: by sendfile, and whole.
#[test]
fn a_shared_rate_copies_nothing() {
    let dir = Dir::in_memory();
    let content: Vec<u8> = (0..4 * MIB).map(|at| (at / 5) as u8).collect();
    dir.file("large", &content);
    let mut server = Server::start(&dir, &["--rate-total=1GiB/s", "--metrics=127.0.0.1:0"]);
    let mut metrics = Metrics::of(&server.running.line());
    assert!(crate::support::curl(&[&format!("{}large", server.url)]).body == content);
    let route = "underpass_http_response_bytes_total{route=\"sendfile\"}";
    assert_eq!(metrics.sample(route), content.len() as u64);
    server.stop().ok();
}

#[test]
fn rates_that_cannot_be() {
    for rate in ["0", "fast", "5 parsecs/s"] {
        let outcome = run(&["serve", "--rate-total", rate]);
        assert_eq!(outcome.code, 2, "{rate}");
        assert!(
            outcome.stderr.contains("--rate-total"),
            "{}",
            outcome.stderr
        );
    }
}
