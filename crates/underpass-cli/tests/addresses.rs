//! At which addresses every listening command can be reached, and what it leaves behind when it
//! ends.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::support::{Dir, Relay, Running, needs, run, underpass, underpass_by};

/// The arguments of each server command, to listen at an address. The number says which of its
/// lines names the address.
fn listening(dir: &Dir, at: &str) -> Vec<(Vec<String>, usize)> {
    let source = dir.file("in", b"content");
    let there = format!("unix:{}", dir.path("nobody"));
    let commands = [
        (vec!["serve", dir.root(), "--listen", at], 1),
        (
            vec!["serve", dir.root(), "--listen=127.0.0.1:0", "--metrics", at],
            2,
        ),
        (vec!["relay", "--listen", at, "--to", &there], 1),
        (vec!["fan-out", "--from", &source, "--listen", at], 1),
    ];
    commands
        .map(|(args, lines)| (args.into_iter().map(str::to_owned).collect(), lines))
        .to_vec()
}

/// The same for commands that wait for one connection; their addresses have a scheme.
fn waiting(dir: &Dir, at: &str) -> Vec<(Vec<String>, usize)> {
    let out = dir.path("out");
    let at = match at {
        at if at.starts_with("unix:") => at.to_owned(),
        at => format!("tcp://{at}"),
    };
    let commands = [
        vec!["recv", &at, &out],
        vec!["fan-out", "--from", &at, "--listen", "127.0.0.1:0"],
    ];
    commands
        .map(|args| (args.into_iter().map(str::to_owned).collect(), 1))
        .to_vec()
}

fn all(dir: &Dir, at: &str) -> Vec<(Vec<String>, usize)> {
    [listening(dir, at), waiting(dir, at)].concat()
}

/// Waits until the command has said where it listens.
fn started(command: Command, lines: usize) -> Running {
    let mut running = Running::start(command);
    for _ in 0..lines {
        running.line();
    }
    running
}

fn of(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

#[test]
fn a_name_is_listened_at_in_each_family() {
    if !needs::root() || !needs::tool("unshare") {
        return;
    }
    let dir = Dir::in_memory();
    let hosts = dir.file("hosts", b"127.0.0.1 both.example\n::1 both.example\n");
    let script = format!("mount --bind {hosts} /etc/hosts && exec \"$@\"");
    let named =
        |args: &[&str]| underpass_by("unshare", &["--mount", "sh", "-c", &script, "sh"], args);
    let both = [
        IpAddr::from(Ipv4Addr::LOCALHOST),
        Ipv6Addr::LOCALHOST.into(),
    ];
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    for (args, lines) in all(&dir, &format!("both.example:{port}")) {
        let running = started(named(&of(&args)), lines);
        for ip in both {
            let connected = TcpStream::connect(SocketAddr::new(ip, port));
            assert!(connected.is_ok(), "{args:?}: {ip}: {connected:?}");
        }
        running.signal(Signal::TERM);
        running.finish();
    }
    // Both listen at the port that was chosen for one of them.
    let mut running = Running::start(named(&["serve", dir.root(), "--listen", "both.example:0"]));
    let line = running.line();
    let port = |after: &str| {
        let (_, rest) = line.split_once(after).unwrap();
        rest.split('/').next().unwrap().to_owned()
    };
    assert_eq!(port("[::1]:"), port("127.0.0.1:"), "{line}");
    running.signal(Signal::TERM);
    running.finish().ok();
}

/// A command that runs `args` in a network namespace, which `script` sets up.
fn in_network(script: &str, args: &[String]) -> Command {
    let script = format!("{script} && exec \"$@\"");
    underpass_by("unshare", &["--net", "sh", "-c", &script, "sh"], &of(args))
}

/// Whether a connection to a host can be made in the network namespace of `running`.
fn connects(running: &Running, host: &str) -> bool {
    let mut bash = Command::new("nsenter");
    bash.args(["--net", "--target", &running.pid().to_string()]);
    bash.args(["bash", "-c", &format!("exec 3<>'/dev/tcp/{host}/8080'")]);
    bash.stdin(Stdio::null()).status().unwrap().success()
}

fn networks() -> bool {
    needs::root()
        && ["unshare", "nsenter", "ip", "bash"]
            .into_iter()
            .all(needs::tool)
}

#[test]
fn every_address_is_that_of_each_family() {
    if !networks() {
        return;
    }
    let dir = Dir::in_memory();
    let script = "ip link set lo up && echo 1 > /proc/sys/net/ipv6/bindv6only";
    for (args, lines) in all(&dir, ":8080") {
        let running = started(in_network(script, &args), lines);
        for host in ["127.0.0.1", "::1"] {
            assert!(connects(&running, host), "{args:?}: {host}");
        }
    }
}

/// Both families can be named, in either order, as in the configurations of other servers.
#[test]
fn each_family_can_be_named() {
    if !networks() {
        return;
    }
    let dir = Dir::in_memory();
    let source = dir.file("in", b"content");
    for [one, other] in [["0.0.0.0:8080", "[::]:8080"], ["[::]:8080", "0.0.0.0:8080"]] {
        for args in [
            ["serve", dir.root()],
            ["relay", "--to=unix:/nowhere"],
            ["fan-out", &format!("--from={source}")],
        ] {
            let args = [&args[..], &["--listen", one, "--listen", other]].concat();
            let args: Vec<_> = args.into_iter().map(str::to_owned).collect();
            let running = started(in_network("ip link set lo up", &args), 1);
            for host in ["127.0.0.1", "::1"] {
                assert!(connects(&running, host), "{args:?}: {host}");
            }
        }
    }
}

/// Makes an interface `near` with a link-local address.
const LINK: &str = "ip link set lo up && ip link add near type veth peer name far && ip link set near up && ip link set far up \
                    && ip addr add fe80::1:1/64 dev near nodad";

#[test]
fn a_link_local_number_names_its_interface() {
    if !networks() {
        return;
    }
    let dir = Dir::in_memory();
    for (args, lines) in all(&dir, "[fe80::1:1%near]:8080") {
        let running = started(in_network(LINK, &args), lines);
        assert!(connects(&running, "fe80::1:1%near"), "{args:?}");
    }
}

/// `send` and the targets of a relay accept such addresses too.
#[test]
fn a_link_local_number_is_sent_to() {
    if !networks() {
        return;
    }
    let dir = Dir::in_memory();
    let (source, out) = (dir.file("in", b"content"), dir.path("out"));
    let there = "[fe80::1:1%near]:8080";
    let args = ["recv", &format!("tcp://{there}"), &out].map(str::to_owned);
    let receiver = started(in_network(LINK, &args), 1);
    let inside = |args: &[&str]| {
        let pid = receiver.pid().to_string();
        underpass_by("nsenter", &["--net", "--target", &pid], args)
    };
    let relay = inside(&["relay", "--listen=127.0.0.1:8081", "--to", there]);
    let _relay = started(relay, 1);
    Running::start(inside(&["send", &source, "tcp://127.0.0.1:8081"]))
        .finish()
        .ok();
    receiver.finish().ok();
    assert_eq!(std::fs::read(out).unwrap(), b"content");
}

/// For example, a deployment starts the new instance before it stops the old one.
#[test]
fn the_socket_of_a_new_instance_outlives_the_old_one() {
    let dir = Dir::in_memory();
    let path = dir.path("socket");
    for (args, lines) in all(&dir, &format!("unix:{path}")) {
        let old = started(underpass(&of(&args)), lines);
        std::fs::remove_file(&path).unwrap();
        let new = started(underpass(&of(&args)), lines);
        old.signal(Signal::TERM);
        old.finish();
        assert!(UnixStream::connect(&path).is_ok(), "{args:?}");
        new.signal(Signal::TERM);
        new.finish();
        assert!(!std::fs::exists(&path).unwrap(), "{args:?}");
    }
}

#[test]
fn udp_is_told_by_its_name() {
    let dir = Dir::in_memory();
    let file = dir.file("in", b"content");
    let out = dir.path("out");
    for (args, _) in listening(&dir, "udp://127.0.0.1:80") {
        // clap prints more lines after the first.
        let outcome = run(&of(&args));
        assert_eq!(outcome.code, 2, "{args:?}");
        assert!(
            outcome.stderr.contains("UDP"),
            "{args:?}: {}",
            outcome.stderr
        );
    }
    for args in [
        &["send", &file, "udp://127.0.0.1:80"][..],
        &["recv", "udp://127.0.0.1:80", &out],
        &["explain", &file, "udp://127.0.0.1:80"],
        &[
            "fan-out",
            "--from",
            "udp://127.0.0.1:80",
            "--listen",
            "127.0.0.1:0",
        ],
        &[
            "relay",
            "--listen=127.0.0.1:0",
            "--to",
            "udp://127.0.0.1:80",
        ],
    ] {
        let outcome = run(args);
        assert_eq!(outcome.code, 2, "{args:?}: {}", outcome.stderr);
        assert!(
            outcome.stderr.contains("UDP"),
            "{args:?}: {}",
            outcome.stderr
        );
    }
}

/// The address that a command which waits for one connection prints.
fn announced(running: &mut Running) -> String {
    let line = running.line();
    let (_, address) = line.split_once("listening on ").expect(&line);
    address.trim().to_owned()
}

#[test]
fn short_addresses_are_taken_by_every_command() {
    let dir = Dir::in_memory();
    let source = dir.file("in", b"content");
    for (at, host) in [
        ("127.0.0.1:0", "localhost"),
        ("localhost:0", "127.0.0.1"),
        (":0", ""),
        ("*:0", ""),
        ("tcp://:0", "127.0.0.1"),
    ] {
        let out = dir.path("out");
        let mut receiver = Running::start(underpass(&["recv", at, &out, "--force"]));
        let address = announced(&mut receiver);
        assert!(address.starts_with("tcp://"), "{at}: {address}");
        let (_, port) = address.rsplit_once(':').unwrap();
        let to = format!("{host}:{port}");
        // A message says what an address was taken for.
        let explained = run(&["explain", &source, &to]).ok().text().to_owned();
        assert!(
            explained.contains(&format!("tcp://{to}: tcp")),
            "{to}: {explained}"
        );
        let relay = Relay::to(&to, &[]);
        let sent = run(&["send", &source, relay.place(), "-v"])
            .ok()
            .text()
            .to_owned();
        assert!(
            sent.contains(&format!("-> tcp://{}", relay.place())),
            "{sent}"
        );
        relay.stop().ok();
        receiver.finish().ok();
        assert_eq!(std::fs::read(out).unwrap(), b"content", "{at}");
    }
}

/// A file whose name could also be an address.
#[test]
fn a_file_that_is_there_comes_before_a_short_address() {
    let dir = Dir::in_memory();
    dir.file("localhost:9", b"content");
    let run = |args: &[&str]| {
        let mut command = underpass(args);
        command.current_dir(dir.root());
        Running::start(command).finish()
    };
    let explained = run(&["explain", "localhost:9", "127.0.0.1:9"])
        .ok()
        .text()
        .to_owned();
    assert!(explained.contains("localhost:9: file"), "{explained}");
    assert!(explained.contains("tcp://127.0.0.1:9: tcp"), "{explained}");
    run(&["copy", "localhost:9", "12:30"]).ok();
    assert_eq!(dir.names(), ["12:30", "localhost:9"]);
    for (source, sink, address) in [
        ("localhost:8", "new", "localhost:8"),
        ("localhost:9", "tcp://localhost:8", "tcp://localhost:8"),
        ("localhost:9", "unix:new", "unix:new"),
    ] {
        run(&["copy", source, sink]).fails(2, &[address, "underpass send"]);
    }
    assert_eq!(dir.names(), ["12:30", "localhost:9"]);
}

/// Starts its arguments as systemd does, but with something other than a listening socket.
const MANAGER: &str = "
import os, socket, sys
kind = sys.argv[1]
if kind == 'unix':
    passed = socket.socketpair()[0]
elif kind == 'tcp':
    listener = socket.create_server(('127.0.0.1', 0))
    passed = socket.create_connection(listener.getsockname())
else:
    passed = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
os.dup2(passed.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1')
os.execv(sys.argv[2], sys.argv[2:])
";

/// With `Accept=yes`, systemd passes a connection, and starts a process for each.
#[test]
fn what_systemd_should_not_pass_is_refused() {
    if !needs::tool("python3") {
        return;
    }
    let dir = Dir::in_memory();
    for (kind, word) in [
        ("unix", "Accept=no"),
        ("tcp", "Accept=no"),
        ("udp", "ListenStream="),
    ] {
        for (args, _) in listening(&dir, "127.0.0.1:0") {
            let command = underpass_by("python3", &["-c", MANAGER, kind], &of(&args));
            Running::start(command)
                .finish()
                .fails(1, &["socket activation", word]);
        }
    }
}
