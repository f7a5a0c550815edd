//! Connecting, by every command that connects: never to itself, never waiting for one address
//! alone, and never for ever at a full backlog.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{Dir, FanOut, Relay, Running, Stream, needs, run, underpass, underpass_by};

/// The commands that connect to an address and end by themselves.
fn connecting<'a>(dir: &Dir, address: &'a str) -> [Vec<String>; 2] {
    let table: [[&'a str; 3]; 2] = [["send", "IN", address], ["recv", "--connect", address]];
    let [send, recv] = table.map(|args| args.map(str::to_owned).to_vec());
    let input = dir.file("in", b"some bytes");
    [
        send.into_iter()
            .map(|arg| arg.replace("IN", &input))
            .collect(),
        [recv, vec![dir.path("out")]].concat(),
    ]
}

fn strs(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

/// A command in a network namespace with only four client ports.
fn among_four_ports(args: &[&str]) -> Command {
    const SCRIPT: &str = "ip link set lo up && \
        echo 40000 40003 > /proc/sys/net/ipv4/ip_local_port_range && exec \"$@\"";
    underpass_by("unshare", &["-n", "sh", "-c", SCRIPT, "sh"], args)
}

#[test]
fn pitfall_25_nobody_connects_to_themselves() {
    if !needs::root() || !needs::tool("unshare") || !needs::tool("ip") {
        return;
    }
    let dir = Dir::in_memory();
    let address = "tcp://127.0.0.1:40002";
    for args in connecting(&dir, address) {
        let outcome = Running::start(among_four_ports(&strs(&args))).finish();
        outcome.fails(1, &[address, "refused"]);
    }
    let listen = format!("unix:{}", dir.path("relay"));
    let args = [
        "relay",
        "--listen",
        &listen,
        "--to",
        "127.0.0.1:40002",
        "-v",
    ];
    let mut relay = Relay::of(Running::start(among_four_ports(&args)));
    for _ in 0..20 {
        let mut client = relay.connect();
        let _ = client.write_all(b"echo?");
        client.end();
        assert_eq!(client.read_to_end(&mut Vec::new()).unwrap_or(0), 0);
        let line = relay.running.line();
        assert!(line.contains("40002") && line.contains("refused"), "{line}");
    }
    relay.stop().ok();
}

/// A listener whose queue is full, so that the kernel drops new connections; and the sockets that
/// fill the queue.
fn swallowing(address: SocketAddr) -> (TcpListener, Vec<TcpStream>) {
    let listener = TcpListener::bind(address).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let address = listener.local_addr().unwrap();
    let fill = || TcpStream::connect_timeout(&address, Duration::from_millis(300)).ok();
    let filling = std::iter::from_fn(fill).collect();
    (listener, filling)
}

/// A command for which the host name `two` has two addresses.
fn with_two_addresses(dir: &Dir, args: &[&str]) -> Command {
    const SCRIPT: &str = "hosts=$1; shift; mount --bind $hosts /etc/hosts && exec \"$@\"";
    let hosts = dir.file("hosts", b"127.0.0.2 two\n127.0.0.3 two\n");
    underpass_by("unshare", &["-m", "sh", "-c", SCRIPT, "sh", &hosts], args)
}

#[test]
fn pitfall_30_an_address_that_swallows_does_not_hide_the_next() {
    if !needs::root() || !needs::tool("unshare") {
        return;
    }
    let dir = Dir::in_memory();
    let (full, _filling) = swallowing("127.0.0.2:0".parse().unwrap());
    let port = full.local_addr().unwrap().port();
    let good = TcpListener::bind(("127.0.0.3", port)).unwrap();
    let place = format!("two:{port}");
    // The timeout is far longer than the 250 ms between two addresses, and far shorter than the
    // kernel's own timeout for one.
    for args in connecting(&dir, &format!("tcp://{place}")) {
        let args = [strs(&args), vec!["--timeout", "60"]].concat();
        let command = Running::start(with_two_addresses(&dir, &args));
        let mut peer = good.accept().unwrap().0;
        if args[0] == "send" {
            peer.read_to_end(&mut Vec::new()).unwrap();
        } else {
            peer.write_all(b"some bytes").unwrap();
        }
        drop(peer);
        command.finish().ok();
    }
    let args = ["relay", "--listen", "127.0.0.1:0", "--to", &place];
    let relay = Relay::of(Running::start(with_two_addresses(&dir, &args)));
    for _ in 0..3 {
        let mut client = relay.connect();
        client.write_all(b"x").unwrap();
        let mut target = good.accept().unwrap().0;
        target.read_exact(&mut [0]).unwrap();
    }
    relay.stop().ok();
}

#[test]
fn pitfall_29_a_full_backlog_is_left_after_the_timeout_or_a_signal() {
    let dir = Dir::in_memory();
    let path = dir.path("full");
    let full = UnixListener::bind(&path).unwrap();
    rustix::net::listen(&full, 0).unwrap();
    let _filling = UnixStream::connect(&path).unwrap();
    let address = format!("unix:{path}");
    for args in connecting(&dir, &address) {
        let timed = [strs(&args), vec!["--timeout", "300ms"]].concat();
        let outcome = Running::start(underpass(&timed)).finish();
        outcome.fails(3, &[&address, "300 ms"]);
        let waiting = Running::start(underpass(&strs(&args)));
        // The command has a socket, and handles signals.
        waiting.await_descriptors(&["socket:", "pipe:"]);
        waiting.signal(Signal::INT);
        waiting.finish().fails(130, &[&address, "cancelled"]);
    }
}

#[test]
fn pitfall_29_a_relays_clients_wait_for_a_full_backlog() {
    const CLIENTS: usize = 300;
    let dir = Dir::new();
    let path = dir.path("target");
    let target = UnixListener::bind(&path).unwrap();
    rustix::net::listen(&target, 64).unwrap();
    let options = ["--connect-timeout", "60s"];
    let relay = Relay::to(&format!("unix:{path}"), &options);
    let clients: Vec<_> = (0..CLIENTS).map(|_| relay.connect()).collect();
    // All clients have connected to the relay, and most find no room at the target.
    while relay.running.descriptors() < CLIENTS {
        std::thread::yield_now();
    }
    let answering = std::thread::spawn(move || {
        for _ in 0..CLIENTS {
            let (mut stream, _) = target.accept().unwrap();
            stream.write_all(b"served").unwrap();
        }
    });
    for mut client in clients {
        assert_eq!(client.read_exactly(6), b"served");
    }
    answering.join().unwrap();
    relay.stop().ok();
}

#[test]
fn a_relay_to_itself_is_refused() {
    let dir = Dir::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let socket = dir.path("socket");
    std::os::unix::fs::symlink(&socket, dir.path("link")).unwrap();
    let table = [
        (format!("127.0.0.1:{port}"), format!("127.0.0.1:{port}")),
        (format!("127.0.0.1:{port}"), format!("localhost:{port}")),
        (format!("127.0.0.1:{port}"), format!("0.0.0.0:{port}")),
        (format!(":{port}"), format!("127.0.0.1:{port}")),
        (format!(":{port}"), format!("127.0.0.1:9,127.0.0.5:{port}")),
        (format!("0.0.0.0:{port}"), format!("localhost:{port}")),
        (format!("127.0.0.2:0,:{port}"), format!("localhost:{port}")),
        (
            format!("unix:{socket}"),
            format!("unix:{}", dir.path("link")),
        ),
    ];
    for (listen, to) in &table {
        let outcome = run(&["relay", "--listen", listen, "--to", to]);
        outcome.fails(2, &["--to ", "itself"]);
    }
}

/// Whether the kernel uses keep-alive for a connection: its timer in /proc/net/tcp, in the line of
/// the other side of `peer`.
fn is_kept_alive(peer: &TcpStream) -> bool {
    const KEEP_ALIVE: &str = "02";
    let [other, own] = [peer.peer_addr().unwrap(), peer.local_addr().unwrap()];
    let hex = |address: SocketAddr| format!(":{:04X}", address.port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let line = table.lines().find(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        fields[1].ends_with(&hex(other)) && fields[2].ends_with(&hex(own))
    });
    let timer = line.unwrap().split_whitespace().nth(5).unwrap();
    timer.starts_with(KEEP_ALIVE)
}

#[test]
fn connections_are_kept_alive_so_that_a_machine_that_is_gone_is_missed() {
    let dir = Dir::in_memory();
    let host = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = host.local_addr().unwrap().to_string();
    let connect = |address: &str| {
        let mut peer = TcpStream::connect(address.trim_start_matches("tcp://")).unwrap();
        peer.write_all(b"x").unwrap();
        peer
    };

    let relay = Relay::to(&place, &[]);
    let near = connect(&relay.address);
    let mut far = host.accept().unwrap().0;
    far.read_exact(&mut [0]).unwrap();
    assert!(is_kept_alive(&near) && is_kept_alive(&far), "relay");

    let out = dir.path("out");
    let (_receiver, address) = Running::recv(&["tcp://127.0.0.1:0", &out]);
    let peer = connect(&address);
    while !is_kept_alive(&peer) {
        std::thread::yield_now();
    }

    let args = [
        "recv",
        "--connect",
        &format!("tcp://{place}"),
        &dir.path("other"),
    ];
    let _connecting = Running::start(underpass(&args));
    let peer = host.accept().unwrap().0;
    while !is_kept_alive(&peer) {
        std::thread::yield_now();
    }

    let (fan_out, mut producer) = FanOut::produced(&["--await", "1"]);
    let mut subscriber = connect(&fan_out.addresses[0]);
    producer.write_all(b"x").unwrap();
    subscriber.read_exact(&mut [0]).unwrap();
    let Stream::Tcp(producer) = &producer else {
        unreachable!("it connects by TCP");
    };
    assert!(
        is_kept_alive(&subscriber) && is_kept_alive(producer),
        "fan-out"
    );
}

#[test]
fn few_descriptors_are_shared_out_and_told_of() {
    const FEW: usize = 16;
    if !needs::tool("prlimit") {
        return;
    }
    let dir = Dir::in_memory();
    let file = dir.file("file", b"x");
    let host = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = host.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        while let Ok((mut target, _)) = host.accept() {
            target.write_all(b"x").unwrap();
            open.push(target);
        }
    });
    let commands = [
        ["relay", "--listen", "127.0.0.1:0", "--to", &to],
        ["fan-out", "--listen", "127.0.0.1:0", "--from", &file],
    ];
    for args in commands {
        let command = underpass_by("prlimit", &["--nofile=128:128", "--"], &args);
        let mut running = Running::start(command);
        let line = running.line();
        let (_, most) = line.split_once("no more than ").unwrap();
        let (most, _) = most.split_once(' ').unwrap();
        assert!(most.parse::<usize>().unwrap() >= FEW, "{line}");
        let line = running.line();
        let place = line
            .split(' ')
            .find_map(|word| word.strip_prefix("127.0.0.1:"));
        let address = format!("tcp://127.0.0.1:{}", place.unwrap());
        let mut all: Vec<_> = (0..FEW).map(|_| Stream::connect(&address)).collect();
        for client in &mut all {
            assert_eq!(client.read_exactly(1), b"x");
        }
    }
}
