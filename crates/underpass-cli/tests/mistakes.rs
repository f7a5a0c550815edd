//! Commands as people mistype them. The table, `mistakes.txt`, has each command with the exact
//! lines that it prints.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rustix::process::Signal;

use crate::support::{Dir, MORE_THAN_BUFFERS, Outcome, Running, Stream, collected, needs};

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mistakes.txt");

/// Set to write the table anew.
const WRITE: &str = "UNDERPASS_WRITE_MISTAKES";

/// Some rows wait for a second until they give up, so that they run side by side.
const AT_ONCE: usize = 4;

/// A part of the table: a command with its lines, or text between commands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Row { command: String, said: String },
}

#[test]
fn each_mistake_gets_the_lines_of_the_table() {
    if !needs::tool("sh") {
        return;
    }
    let parts = parse(&std::fs::read_to_string(TABLE).unwrap());
    let rows = parts.iter().filter(|part| matches!(part, Part::Row { .. }));
    assert!(rows.count() >= 110, "the table is read");
    let (next, found) = (AtomicUsize::new(0), Mutex::new(vec![None; parts.len()]));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(part) = parts.get(next.fetch_add(1, Relaxed)) {
                    let at = parts.iter().position(|it| std::ptr::eq(it, part)).unwrap();
                    if let Part::Row { command, .. } = part {
                        found.lock().unwrap()[at] = Some(said_by(command));
                    }
                }
            });
        }
    });
    let found = found.into_inner().unwrap();
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(TABLE, written(&parts, &found)).unwrap();
        return;
    }
    let mut wrong = String::new();
    for (part, found) in parts.iter().zip(found) {
        if let (Part::Row { command, said }, Some(found)) = (part, found)
            && *said != found
        {
            let _ = write!(wrong, "$ {command}\nthe table:\n{said}\nsaid:\n{found}\n\n");
        }
    }
    assert!(wrong.is_empty(), "{WRITE}=1 writes the table:\n{wrong}");
}

/// What `command` prints, in a directory of its own, and its exit code.
fn said_by(command: &str) -> String {
    let dir = Dir::in_memory();
    dir.file("in.bin", &[b'x'; 5000]);
    dir.file("note.txt", b"a note\n");
    dir.file("two words.txt", b"two words\n");
    dir.file("old.bin", b"old");
    std::fs::create_dir(dir.path("dir")).unwrap();
    dir.file("dir/a", b"a");
    std::os::unix::fs::symlink("nowhere", dir.path("dangling")).unwrap();
    let fifo = dir.path("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR).unwrap();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_underpass"));
    let others = std::env::var("PATH").unwrap();
    let path = format!("{}:{others}", program.parent().unwrap().display());
    let (command, interrupt) = match command.split_once(" # Ctrl-C ") {
        // Without the shell between, so that the command gets the signal.
        Some((command, when)) => (format!("exec {command}"), Some(when)),
        None => (command.to_owned(), None),
    };
    let mut shell = collected("sh");
    shell
        .args(["-c", &command])
        .current_dir(dir.root())
        .env("PATH", path)
        .env_remove("RUST_BACKTRACE");
    let (first, outcome) = match interrupt {
        Some(when) => interrupted(shell, &dir, when),
        None => (String::new(), Running::start(shell).finish()),
    };
    let text = [&first, outcome.text(), &outcome.stderr].concat();
    let mut text = without_ports(&text);
    text = text.replace(dir.root(), "HERE");
    if interrupt == Some(IN_A_TRANSFER) {
        text = without_numbers(&text);
    }
    let _ = write!(text, "exit {}", outcome.code);
    text
}

const IN_A_TRANSFER: &str = "in a transfer";

/// Sends SIGINT when the command has said that it is ready, or when its peer, who takes a little
/// and no more, has begun. Returns the line that it was ready with, too.
fn interrupted(command: Command, dir: &Dir, when: &str) -> (String, Outcome) {
    let big = std::fs::File::create(dir.path("big")).unwrap();
    big.set_len(1 << 30).unwrap();
    let socket = UnixListener::bind(dir.path("peer.sock")).unwrap();
    let is_send = format!("{command:?}").contains("underpass send");
    let mut running = Running::start(command);
    if when != IN_A_TRANSFER {
        let line = running.line() + "\n";
        running.signal(Signal::INT);
        return (line, running.finish());
    }
    let taken_by_the_peer = || {
        let (mut peer, _) = socket.accept().unwrap();
        peer.read_exact(&mut [0]).unwrap();
        peer
    };
    if is_send {
        let _peer = taken_by_the_peer();
        running.signal(Signal::INT);
        return (String::new(), running.finish());
    }
    let line = running.line() + "\n";
    let (_, rest) = line.split_once("127.0.0.1:").unwrap();
    let port = rest.split(|it: char| !it.is_ascii_digit()).next().unwrap();
    let mut peer = Stream::connect(&format!("tcp://127.0.0.1:{port}"));
    if line.contains("serving") {
        peer.write_all(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        peer.read_exactly(1);
    } else if line.contains("giving") {
        peer.read_exactly(1);
    } else if line.contains("relaying") {
        peer.write_all(&[0; 5000]).unwrap();
        let _target = taken_by_the_peer();
        running.signal(Signal::INT);
        return (line, running.finish());
    } else {
        // It was not all written if nobody had read.
        peer.write_all(&vec![0; MORE_THAN_BUFFERS]).unwrap();
    }
    running.signal(Signal::INT);
    (line, running.finish())
}

/// With PORT instead of each port that the kernel chose, which is another one each time.
fn without_ports(text: &str) -> String {
    let mut parts = text.split("127.0.0.1:");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let rest = part.trim_start_matches(|it: char| it.is_ascii_digit());
        let port = &part[..part.len() - rest.len()];
        let port = if port.len() > 4 { "PORT" } else { port };
        format!("{text}127.0.0.1:{port}{rest}")
    })
}

/// With N instead of each number that has a unit.
fn without_numbers(text: &str) -> String {
    let is_number = |word: &str| word.starts_with(|it: char| it.is_ascii_digit());
    let units = ["bytes", "byte", "B", "KiB", "MiB", "GiB", "ms", "s", "us"];
    let mut words: Vec<String> = Vec::new();
    for word in text.split_inclusive([' ', '\n']) {
        let bare = word.trim_end_matches([' ', '\n', ',', ';', ':', ')', '/']);
        let last = words.last().map(|it| it.trim_start_matches('(').to_owned());
        if units.contains(&bare.trim_end_matches("/s")) && last.is_some_and(|it| is_number(&it)) {
            let number = words.pop().unwrap();
            let bracket = if number.starts_with('(') { "(" } else { "" };
            let unit = if word.contains("/s") { "/s" } else { "" };
            let after = &word[bare.len()..];
            words.push(format!("{bracket}N{unit}{after}"));
        } else {
            words.push(word.to_owned());
        }
    }
    words.concat()
}

fn parse(table: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    for line in table.lines() {
        let is_text = line.is_empty() || line.starts_with('#');
        match (line.strip_prefix("$ "), parts.last_mut()) {
            (Some(command), _) => parts.push(Part::Row {
                command: command.to_owned(),
                said: String::new(),
            }),
            // Lines of clap's have empty lines between them; those are kept as a dot.
            (None, Some(Part::Row { said, .. })) if !is_text && !said.contains("\nexit ") => {
                if !said.is_empty() {
                    said.push('\n');
                }
                said.push_str(if line == "." { "" } else { line });
            }
            (None, _) => parts.push(Part::Text(line.to_owned())),
        }
    }
    parts
}

fn written(parts: &[Part], found: &[Option<String>]) -> String {
    let mut text = String::new();
    for (at, (part, found)) in parts.iter().zip(found).enumerate() {
        match (part, found) {
            (Part::Row { command, .. }, Some(found)) => {
                let _ = writeln!(text, "$ {command}");
                for line in found.lines() {
                    let _ = writeln!(text, "{}", if line.is_empty() { "." } else { line });
                }
                if let Some(Part::Row { .. }) = parts.get(at + 1) {
                    text.push('\n');
                }
            }
            (Part::Text(line), _) => {
                let _ = writeln!(text, "{line}");
            }
            (Part::Row { .. }, None) => unreachable!("each row was run"),
        }
    }
    text
}
