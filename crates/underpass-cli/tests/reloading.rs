//! SIGHUP and servers: files are opened again, a closed terminal ends the server, and a log that
//! cannot be written ends nothing.

use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::support::{Dir, Host, Mount, Running, Stream, needs, underpass, underpass_by};

/// A server that writes a line for each connection to a file.
struct Logging {
    running: Running,
    address: String,
    path: String,
    /// Keeps the relay's target open.
    target: Host,
    relays: bool,
}

/// How to start `command`, and where it listens.
fn logging(dir: &Dir, command: &str, start: impl Fn(&[&str]) -> Command) -> Logging {
    let path = dir.path(&format!("{command}.log"));
    let source = dir.file("in", b"content");
    let target = Host::tcp();
    let to = target.address();
    let to = to.strip_prefix("tcp://").unwrap();
    let file = if command == "serve" {
        "--access-log-file"
    } else {
        "--receipt-file"
    };
    let mut args = vec![command, "--listen=127.0.0.1:0", "--threads=1", file, &path];
    match command {
        "serve" => args.push(dir.root()),
        "relay" => args.extend(["--to", to]),
        _ => args.extend(["--from", &source]),
    }
    let mut running = Running::start(start(&args));
    let line = running.line();
    let place = if command == "relay" { " to " } else { " (" };
    let place = line
        .split(place)
        .next()
        .unwrap()
        .rsplit(' ')
        .next()
        .unwrap();
    let place = place.trim_start_matches("http://").trim_end_matches('/');
    Logging {
        address: format!("tcp://{place}"),
        running,
        path,
        target,
        relays: command == "relay",
    }
}

const COMMANDS: [&str; 3] = ["serve", "relay", "fan-out"];

impl Logging {
    /// Makes one connection, for which one line is logged.
    fn connection(&self) {
        let mut client = Stream::connect(&self.address);
        std::io::Write::write_all(&mut client, b"GET / HTTP/1.0\r\n\r\n").unwrap();
        if self.relays {
            let mut target = self.target.accept();
            target.read_exactly(1);
            drop(target);
        }
        let _ = client.read_to_end(&mut Vec::new());
    }

    /// Waits until `path` has this many lines. No event says so, so this polls.
    fn await_lines(&self, path: &str, count: usize) {
        while lines(path) < count {
            assert!(self.running.is_alive());
            std::thread::yield_now();
        }
    }
}

fn lines(path: &str) -> usize {
    std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

#[test]
fn pitfall_31_a_hangup_opens_logs_anew() {
    for command in COMMANDS {
        for signal in [Signal::HUP, Signal::USR1] {
            let dir = Dir::in_memory();
            let mut server = logging(&dir, command, underpass);
            let (path, old) = (server.path.clone(), dir.path("old"));
            server.connection();
            server.await_lines(&path, 1);
            // This is what logrotate does.
            std::fs::rename(&path, &old).unwrap();
            server.connection();
            server.await_lines(&old, 2);
            server.running.signal(signal);
            let line = server.running.line();
            assert!(
                line.contains(&path) && line.contains("opened again"),
                "{line}"
            );
            server.connection();
            server.await_lines(&path, 1);
            assert_eq!(lines(&old), 2, "{command}");
            server.running.signal(Signal::TERM);
            server.running.finish().ok();
            assert_eq!(lines(&path), 1);
        }
    }
}

#[test]
fn pitfall_31_logrotate_rotates() {
    if !needs::tool("logrotate") {
        return;
    }
    let dir = Dir::in_memory();
    let server = logging(&dir, "serve", underpass);
    server.connection();
    server.await_lines(&server.path, 1);
    let example = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../packaging/underpass.logrotate"
    );
    let example = std::fs::read_to_string(example).unwrap();
    let start = example.find("systemctl").unwrap();
    let end = start + example[start..].find('\n').unwrap();
    let kill = format!("kill -HUP {}", server.running.pid());
    let config = format!("{}{kill}{}", &example[..start], &example[end..]);
    let config = config.replace("/var/log/underpass/*.log", &server.path);
    let config = dir.file("logrotate.conf", config.as_bytes());
    rustix::fs::chmod(&config, rustix::fs::Mode::from_raw_mode(0o644)).unwrap();
    let state = dir.path("state");
    let mut logrotate = Command::new("logrotate");
    let outcome = logrotate
        .args(["--force", "--state", &state, &config])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&outcome.stderr);
    assert!(outcome.status.success(), "{said}");
    assert_eq!(lines(&format!("{}.1", server.path)), 1);
    server.connection();
    server.await_lines(&server.path, 1);
}

#[test]
fn a_hangup_without_files_changes_nothing() {
    let dir = Dir::in_memory();
    let source = dir.file("in", b"content");
    for args in [
        &["serve", dir.root(), "--listen=127.0.0.1:0"][..],
        &["relay", "--listen=127.0.0.1:0", "--to=unix:/nowhere"],
        &["fan-out", "--listen=127.0.0.1:0", "--from", &source],
    ] {
        let mut server = Running::start(underpass(args));
        server.line();
        for _ in 0..2 {
            server.signal(Signal::HUP);
            let line = server.line();
            assert!(line.contains("no file"), "{line}");
        }
        server.signal(Signal::TERM);
        server.finish().ok();
    }
}

/// If nohup(1) made a server ignore the signal, it stays ignored.
#[test]
fn an_ignored_hangup_stays_ignored() {
    for command in COMMANDS {
        let dir = Dir::in_memory();
        let ignoring =
            |args: &[&str]| underpass_by("sh", &["-c", "trap '' HUP; exec \"$@\"", "sh"], args);
        let mut server = logging(&dir, command, ignoring);
        server.running.signal(Signal::HUP);
        server.running.signal(Signal::USR1);
        assert!(server.running.line().contains("opened again"));
        server.running.signal(Signal::TERM);
        assert_eq!(server.running.finish().ok().stderr, "", "{command}");
    }
}

/// `ulimit -f`: a write past the limit raises SIGXFSZ, which ends a process that does not handle
/// it.
#[test]
fn pitfall_31_a_log_that_is_full_ends_nothing() {
    if !needs::tool("prlimit") {
        return;
    }
    for command in COMMANDS {
        let dir = Dir::in_memory();
        let limited = |args: &[&str]| underpass_by("prlimit", &["--fsize=300", "--"], args);
        let mut server = logging(&dir, command, limited);
        let path = server.path.clone();
        for _ in 0..10 {
            server.connection();
        }
        let line = server.running.line();
        assert!(line.contains(&path) && line.contains("too large"), "{line}");
        // When there is room again, lines are written again.
        std::fs::rename(&path, dir.path("old")).unwrap();
        server.running.signal(Signal::HUP);
        assert!(server.running.line().contains("opened again"));
        server.connection();
        server.running.signal(Signal::TERM);
        server.running.finish().ok();
        assert!(std::fs::metadata(&path).unwrap().len() > 0, "{command}");
    }
}

/// A disk that is full is told of once, and the log goes on when there is room.
#[test]
fn pitfall_31_a_full_disk_ends_nothing() {
    for command in COMMANDS {
        let Some(disk) = Mount::tmpfs("size=64k") else {
            return;
        };
        let (dir, fill) = (Dir::in_memory(), disk.path("fill"));
        std::fs::write(&fill, vec![0; 1 << 20]).unwrap_err();
        let named = dir.path(&format!("{command}.log"));
        std::os::unix::fs::symlink(disk.path("log"), &named).unwrap();
        let mut server = logging(&dir, command, underpass);
        for _ in 0..5 {
            server.connection();
        }
        let line = server.running.line();
        assert!(line.contains(&named) && line.contains("No space"), "{line}");
        std::fs::remove_file(&fill).unwrap();
        server.connection();
        server.await_lines(&named, 1);
        server.running.signal(Signal::TERM);
        let said = server.running.finish().ok().stderr;
        assert!(!said.contains("No space"), "{command}: {said}");
        assert!(lines(&named) <= 6, "{command}");
    }
}

#[test]
fn a_log_that_cannot_be_opened_is_named() {
    let dir = Dir::in_memory();
    let (there, fifo) = (dir.path("no/such/directory"), dir.path("fifo"));
    rustix::fs::mkfifoat(rustix::fs::CWD, fifo.as_str(), rustix::fs::Mode::RWXU).unwrap();
    for (log, reason) in [(&there, "No such file"), (&fifo, "nobody reads")] {
        for args in [
            &[
                "serve",
                dir.root(),
                "--listen=127.0.0.1:0",
                "--access-log-file",
                log,
            ][..],
            &[
                "relay",
                "--listen=127.0.0.1:0",
                "--to=unix:/nowhere",
                "--receipt-file",
                log,
            ],
        ] {
            crate::support::run(args).fails(1, &[log, reason]);
        }
    }
}

/// A reader gets all of the lines. If there is no reader when the log is opened again, nothing
/// changes.
#[test]
fn a_log_can_be_a_fifo() {
    for command in COMMANDS {
        let dir = Dir::in_memory();
        let fifo = dir.path(&format!("{command}.log"));
        rustix::fs::mkfifoat(rustix::fs::CWD, fifo.as_str(), rustix::fs::Mode::RWXU).unwrap();
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let mut options = std::fs::OpenOptions::new();
        let reader = options.read(true).custom_flags(nonblocking).open(&fifo);
        let mut reader = reader.unwrap();
        let mut server = logging(&dir, command, underpass);
        rustix::io::ioctl_fionbio(&reader, false).unwrap();
        std::fs::rename(&fifo, dir.path("old")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, fifo.as_str(), rustix::fs::Mode::RWXU).unwrap();
        server.running.signal(Signal::HUP);
        while !server.running.line().contains("nobody reads") {}
        server.connection();
        server.running.signal(Signal::TERM);
        server.running.finish().ok();
        let mut logged = String::new();
        reader.read_to_string(&mut logged).unwrap();
        assert_eq!(logged.lines().count(), 1, "{command}: {logged}");
    }
}

/// Runs its arguments in a terminal, closes the terminal when they say that they serve, and reports
/// how they ended.
const TERMINAL: &str = "
import os, pty, sys
child, terminal = pty.fork()
if child == 0:
    os.execv(sys.argv[1], sys.argv[1:])
said = b''
while b'serving' not in said:
    said += os.read(terminal, 1000)
os.close(terminal)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
";

/// SIGHUP from the terminal is different: nobody wants a server to go on behind a closed window.
#[test]
fn a_closed_terminal_ends_it() {
    if !needs::tool("python3") {
        return;
    }
    let dir = Dir::in_memory();
    let args = ["serve", dir.root(), "--listen", "127.0.0.1:0"];
    let mut command = underpass_by("python3", &["-c", TERMINAL], &args);
    command.stdin(Stdio::null());
    Running::start(command).finish().ok();
}
