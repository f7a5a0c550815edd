//! `serve`: Unix sockets, several addresses, and sockets from a service manager.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::support::{Dir, MORE_THAN_BUFFERS, Running, Server, bytes, curl, needs, run, underpass};

#[test]
fn a_unix_socket_is_served_and_removed() {
    if !needs::tool("curl") {
        return;
    }
    let (dir, run) = (Dir::in_memory(), Dir::in_memory());
    dir.file("a", b"content");
    let socket = run.path("socket");
    let server = Server::of(underpass(&[
        "serve",
        dir.root(),
        "--listen",
        &format!("unix:{socket}"),
    ]));
    assert!(server.line.contains(&format!("unix:{socket}")));
    let reply = curl(&["--unix-socket", &socket, "http://any/a"]);
    assert_eq!((reply.status, reply.text()), (200, "content"));
    server.stop().ok();
    assert_eq!(run.names(), [""; 0]);
}

#[test]
fn several_addresses_serve_the_same() {
    if !needs::tool("curl") {
        return;
    }
    let (dir, run) = (Dir::in_memory(), Dir::in_memory());
    dir.file("a", b"content");
    let socket = run.path("socket");
    let server = Server::start(&dir, &["--listen", &format!("unix:{socket}")]);
    assert_eq!(server.get("a").text(), "content");
    let reply = curl(&["--unix-socket", &socket, "http://any/a"]);
    assert_eq!(reply.text(), "content");
    server.stop().ok();
}

/// Passes a listening socket as descriptor 3, as systemd does, and prints its notifications.
const MANAGER: &str = "
import os, socket, sys
listener = socket.create_server(('127.0.0.1', 0))
notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notices.bind(sys.argv[1])
child = os.fork()
if child == 0:
    listener.set_inheritable(True)
    os.dup2(listener.fileno(), 3)
    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', NOTIFY_SOCKET=sys.argv[1])
    os.execv(sys.argv[2], sys.argv[2:])
assert notices.recv(100).strip() == b'READY=1'
print('ready', listener.getsockname()[1], flush=True)
sys.stdin.read()
os.kill(child, 1)
assert notices.recv(100).startswith(b'RELOADING=1\\nMONOTONIC_USEC=')
assert notices.recv(100).strip() == b'READY=1'
os.kill(child, 15)
assert notices.recv(100).strip() == b'STOPPING=1'
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
";

#[test]
fn a_passed_socket_is_served_and_the_manager_notified() {
    if !needs::tool("curl") || !needs::tool("python3") {
        return;
    }
    let (dir, run) = (Dir::in_memory(), Dir::in_memory());
    dir.file("a", b"content");
    let program = underpass(&[]).get_program().to_str().unwrap().to_owned();
    let mut command = std::process::Command::new("python3");
    command
        .args([
            "-c",
            MANAGER,
            &run.path("notices"),
            &program,
            "serve",
            dir.root(),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let server = Server::of(command);
    assert_eq!(server.get("a").text(), "content");
    let outcome = server.running.finish().ok();
    let port = server.url.rsplit(':').next().unwrap().trim_end_matches('/');
    assert_eq!(outcome.text(), format!("ready {port}\n"));
}

#[test]
fn systemd_starts_it_at_the_first_connection() {
    if !needs::tool("curl") || !needs::tool("systemd-socket-activate") {
        return;
    }
    let (dir, run) = (Dir::in_memory(), Dir::in_memory());
    dir.file("a", b"content");
    let socket = run.path("socket");
    let program = underpass(&[]).get_program().to_str().unwrap().to_owned();
    let mut command = std::process::Command::new("systemd-socket-activate");
    command
        .args([
            "--listen",
            &socket,
            &program,
            "serve",
            dir.root(),
            "--quiet",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut running = Running::start(command);
    let line = running.line();
    assert!(line.contains("Listening on"), "{line}");
    let reply = curl(&["--unix-socket", &socket, "http://any/a"]);
    assert_eq!(reply.text(), "content");
    running.signal(Signal::TERM);
    running.finish().ok();
}

#[test]
fn a_unix_socket_has_the_permissions_that_are_given() {
    let dir = Dir::in_memory();
    let socket = dir.path("socket");
    let listen = format!("unix:{socket}");
    let own = rustix::process::getegid().as_raw();
    // As root, a group that every system has, by its name.
    let (group, number) = if own == 0 {
        ("daemon".to_owned(), 1)
    } else {
        (own.to_string(), own)
    };
    for mode in [0o600, 0o666, 0o620] {
        let permissions = format!("--socket-mode={mode:04o}");
        let args = [
            "serve",
            dir.root(),
            "--listen",
            &listen,
            &permissions,
            "--socket-group",
            &group,
        ];
        let server = Server::of(underpass(&args));
        let metadata = std::fs::metadata(&socket).unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.gid()), (mode, number));
        server.stop().ok();
    }
}

#[test]
fn permissions_that_cannot_be() {
    for command in [&["serve"][..], &["relay", "--to", ":1"]] {
        let tcp = [
            command,
            &["--listen", "127.0.0.1:0", "--socket-mode", "600"],
        ]
        .concat();
        run(&tcp).fails(2, &["--socket-mode", "unix:PATH"]);
        for (option, wrong, word) in [
            ("--socket-mode", "u=rw", "octal"),
            ("--socket-mode", "1777", "octal"),
            ("--socket-group", "no such group", "not a group"),
        ] {
            let outcome = run(&[command, &[option, wrong]].concat());
            assert_eq!(outcome.code, 2, "{option} {wrong}");
            assert!(outcome.stderr.contains(word), "{}", outcome.stderr);
        }
    }
}

/// The kernel paces; that it does is not for this test.
#[test]
fn every_connection_has_the_rate_that_is_given() {
    if !needs::tool("ss") {
        return;
    }
    let dir = Dir::in_memory();
    dir.file("big", &bytes(9, MORE_THAN_BUFFERS));
    let server = Server::start(&dir, &["--rate", "1MiB/s"]);
    let host = server
        .url
        .strip_prefix("http://")
        .unwrap()
        .trim_end_matches('/');
    let port = host.rsplit(':').next().unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    stream
        .write_all(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    stream.read_exact(&mut [0]).unwrap();
    let sockets = Command::new("ss")
        .args(["-tinH", "sport", "=", &format!(":{port}")])
        .output()
        .unwrap();
    let sockets = String::from_utf8(sockets.stdout).unwrap();
    // Bits per second, behind the rate at this moment.
    assert!(sockets.contains("/8388608bps"), "{sockets}");
    drop(stream);
    server.stop();
    for (wrong, word) in [
        ("0", "send nothing"),
        ("fast", "not a rate"),
        ("1MiB/m", "not a rate"),
    ] {
        let outcome = run(&["serve", dir.root(), "--rate", wrong]);
        assert_eq!(outcome.code, 2, "{wrong}");
        assert!(outcome.stderr.contains(word), "{}", outcome.stderr);
    }
}
