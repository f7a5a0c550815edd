//! `relay`: every byte arrives, in both directions, over any mix of sockets, between programs that
//! do not know of the relay.

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

use crate::support::{
    Dir, Host, MIB, Relay, Server, Stream, assert_same, await_listener, bytes, curl, needs,
};

/// Sends on a thread of its own, so that both directions are full at once.
fn send(stream: &Stream, content: &[u8]) -> thread::JoinHandle<()> {
    let (mut stream, content) = (stream.try_clone(), content.to_vec());
    thread::spawn(move || {
        stream.write_all(&content).unwrap();
        stream.end();
    })
}

#[test]
fn both_directions_at_once_over_any_mix_of_sockets() {
    let dir = Dir::new();
    let (up, down) = (bytes(400, 8 * MIB + 11), bytes(401, 5 * MIB + 3));
    for listen in [
        "127.0.0.1:0".to_owned(),
        format!("unix:{}", dir.path("listen")),
    ] {
        for host in Host::each(&dir) {
            let relay = Relay::between(&listen, &host.address(), &[]);
            let mut client = relay.connect();
            let mut target = host.accept();
            let sending = [send(&client, &up), send(&target, &down)];
            let reading = thread::spawn(move || target.read_all());
            assert!(client.read_all() == down, "{}: down", relay.line);
            assert!(reading.join().unwrap() == up, "{}: up", relay.line);
            for sending in sending {
                sending.join().unwrap();
            }
            relay.stop().ok();
        }
    }
}

#[test]
fn curl_gets_what_serve_serves() {
    if !needs::tool("curl") {
        return;
    }
    let (dir, run) = (Dir::new(), Dir::new());
    let content = bytes(402, 20 * MIB + 1);
    dir.file("big", &content);
    dir.file("small", b"small");
    let server = Server::start(&dir, &[]);
    let to = server
        .url
        .strip_prefix("http://")
        .unwrap()
        .trim_end_matches('/');
    let relay = Relay::to(to, &["--listen", &format!("unix:{}", run.path("socket"))]);
    let url = format!("http://{}/", relay.place());
    assert_eq!(curl(&[&format!("{url}small")]).text(), "small");
    assert!(curl(&[&format!("{url}big")]).body == content);
    let socket = ["--unix-socket", &run.path("socket")];
    assert!(curl(&[&socket[..], &["http://any/big"]].concat()).body == content);
    relay.stop().ok();
    assert_eq!(run.names(), [""; 0], "the socket's path is removed");
    server.stop().ok();
}

#[test]
fn socat_sends_through_it_to_socat() {
    if !needs::tool("socat") {
        return;
    }
    let dir = Dir::new();
    let (source, sink) = (dir.file("in", &bytes(403, 4 * MIB + 7)), dir.path("out"));
    let place = dir.path("target");
    let mut target = Command::new("socat")
        .args([
            "-u",
            &format!("UNIX-LISTEN:{place}"),
            &format!("CREATE:{sink}"),
        ])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    await_listener(&place);
    let relay = Relay::to(&format!("unix:{place}"), &[]);
    let sent = Command::new("socat")
        .args([
            "-u",
            &format!("OPEN:{source}"),
            &format!("TCP:{}", relay.place()),
        ])
        .status()
        .unwrap();
    assert!(sent.success() && target.wait().unwrap().success());
    assert_same(&source, &sink);
    relay.stop().ok();
}
