//! `relay`: which target a connection goes to, and what the target is told about its client.

use std::io::{ErrorKind, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use crate::support::{Dir, Host, Relay, Running, curl, needs, run};

/// An address at which nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

#[test]
fn targets_are_taken_in_turn() {
    let dir = Dir::new();
    let [one, other] = Host::each(&dir);
    let relay = Relay::to(&one.address(), &["--to", &other.address()]);
    for _ in 0..3 {
        for host in [&one, &other] {
            let mut client = relay.connect();
            client.write_all(b"x").unwrap();
            assert_eq!(host.accept().read_exactly(1), b"x");
        }
    }
    relay.stop().ok();
}

#[test]
fn a_dead_target_is_passed_over() {
    let host = Host::tcp();
    let dead = nobody();
    let relay = Relay::to(
        &dead,
        &["--to", "unix:/nonexistent", "--to", &host.address()],
    );
    for _ in 0..6 {
        let mut client = relay.connect();
        client.write_all(b"x").unwrap();
        assert_eq!(host.accept().read_exactly(1), b"x");
    }
    relay.stop().ok();
}

#[test]
fn without_any_target_the_client_is_reset_and_the_reason_told() {
    let dead = nobody();
    let mut relay = Relay::to(&dead, &["--verbose"]);
    let error = relay.connect().drain().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let line = relay.running.line();
    assert!(line.contains(&dead) && line.contains("refused"), "{line}");
    relay.stop().ok();
}

#[test]
fn mistakes_are_told_in_one_line() {
    let to = ["--to", "127.0.0.1:1"];
    let table: &[(&[&str], &str)] = &[
        (&[], "--listen"),
        (&["--listen", "8080"], ":8080"),
        (
            &["--listen", "127.0.0.1:0", "--route", "sendfile"],
            "splice and read-write",
        ),
        (&["--listen", "127.0.0.1:0", "--to", "80"], "127.0.0.1:80"),
        (
            &["--listen", "127.0.0.1:0", "--idle-timeout", "0"],
            "duration",
        ),
    ];
    for (args, word) in table {
        let outcome = run(&[&["relay"], &to[..], args].concat());
        assert_eq!(outcome.code, 2, "{args:?}: {}", outcome.stderr);
        assert!(
            outcome.stderr.contains(word),
            "{args:?}: {}",
            outcome.stderr
        );
    }
}

#[test]
fn the_proxy_header_is_as_the_specification_has_it() {
    let host = Host::tcp();
    for version in ["v1", "v2"] {
        let relay = Relay::to(&host.address(), &["--proxy-protocol", version]);
        let mut client = relay.connect();
        client.write_all(b"hello").unwrap();
        client.end();
        let got = host.accept().read_all();
        let crate::support::Stream::Tcp(client) = &client else {
            unreachable!("it connected by TCP");
        };
        let port = client.local_addr().unwrap().port();
        let listening = relay
            .place()
            .rsplit(':')
            .next()
            .unwrap()
            .parse::<u16>()
            .unwrap();
        let mut wanted = match version {
            "v1" => format!("PROXY TCP4 127.0.0.1 127.0.0.1 {port} {listening}\r\n").into_bytes(),
            _ => b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01".to_vec(),
        };
        if version == "v2" {
            wanted.extend([port.to_be_bytes(), listening.to_be_bytes()].concat());
        }
        wanted.extend(b"hello");
        assert_eq!(got, wanted, "{version}");
        relay.stop().ok();
    }
}

#[test]
fn nginx_understands_the_proxy_header() {
    if !needs::tool("nginx") || !needs::tool("curl") {
        return;
    }
    let dir = Dir::new();
    let socket = dir.path("nginx");
    let config = format!(
        "daemon off; master_process off; pid {0}/pid; error_log stderr notice; events {{}}
         http {{ access_log off; client_body_temp_path {0}/b; proxy_temp_path {0}/p; fastcgi_temp_path {0}/f;
         uwsgi_temp_path {0}/u; scgi_temp_path {0}/s;
         server {{ listen unix:{socket} proxy_protocol;
         location / {{ return 200 \"$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr\"; }} }} }}",
        dir.root()
    );
    let mut command = Command::new("/usr/sbin/nginx");
    command
        .args([
            "-c",
            &dir.file("nginx.conf", config.as_bytes()),
            "-p",
            dir.root(),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut nginx = Running::start(command);
    while !nginx.line().contains("start worker process") && !std::path::Path::new(&socket).exists()
    {
    }
    for version in ["v1", "v2"] {
        let options = ["--proxy-protocol", version];
        let relay = Relay::to(&format!("unix:{socket}"), &options);
        let args = [
            "--local-port",
            "20000-60000",
            "--write-out",
            " %{local_port}",
        ];
        let url = format!("http://{}/", relay.place());
        let reply = curl(&[&args[..], &[&url]].concat());
        let said: Vec<_> = reply.text().split(' ').collect();
        let [address, port, server, local] = said[..] else {
            panic!("{said:?}");
        };
        assert_eq!(
            (address, server, port),
            ("127.0.0.1", "127.0.0.1", local),
            "{version}"
        );
        relay.stop().ok();
    }
    drop(nginx);
}

#[test]
fn redis_works_through_it() {
    if !needs::tool("redis-server") || !needs::tool("redis-cli") {
        return;
    }
    let dir = Dir::new();
    let socket = dir.path("redis");
    let mut command = Command::new("redis-server");
    command
        .args([
            "--port",
            "0",
            "--unixsocket",
            &socket,
            "--save",
            "",
            "--dir",
            dir.root(),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let redis = Running::start(command);
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        std::thread::yield_now();
    }
    let relay = Relay::to(&format!("unix:{socket}"), &[]);
    let port = relay.place().rsplit(':').next().unwrap().to_owned();
    let value = dir.file("value", &vec![b'v'; 5_000_000]);
    let ask = |args: &[&str], input: Option<&str>| {
        let mut command = Command::new("redis-cli");
        command.args(["-p", &port]);
        if let Some(path) = input {
            command.arg("-x").stdin(std::fs::File::open(path).unwrap());
        }
        command.args(args);
        let outcome = command.output().unwrap();
        assert!(outcome.status.success());
        outcome.stdout
    };
    assert_eq!(ask(&["set", "key"], Some(&value)), b"OK\n");
    assert_eq!(ask(&["get", "key"], None).len(), 5_000_001);
    let piped = dir.file("commands", "INCR n\r\n".repeat(20_000).as_bytes());
    let mut command = Command::new("redis-cli");
    let pipe = std::fs::File::open(&piped).unwrap();
    let outcome = command
        .args(["-p", &port, "--pipe"])
        .stdin(pipe)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&outcome.stdout).into_owned();
    assert!(said.contains("errors: 0, replies: 20000"), "{said}");
    assert_eq!(ask(&["get", "n"], None), b"20000\n");
    relay.stop().ok();
    drop(redis);
}
