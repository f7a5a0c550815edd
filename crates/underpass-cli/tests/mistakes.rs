//! Commands as people mistype them. The table, `mistakes.txt`, has each command with the exact
//! lines that it prints.

use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::support::{Dir, Running, collected, needs};

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
    let mut shell = collected("sh");
    shell
        .args(["-c", command])
        .current_dir(dir.root())
        .env("PATH", path)
        .env_remove("RUST_BACKTRACE");
    let outcome = Running::start(shell).finish();
    let text = [outcome.text(), &outcome.stderr].concat();
    // The port that the kernel chose is another one each time.
    let port = text.split("listening on tcp://127.0.0.1:").nth(1);
    let port = port.and_then(|rest| rest.lines().next());
    let mut text = match port {
        Some(port) => text.replace(&format!(":{port}"), ":PORT"),
        None => text,
    };
    let _ = write!(text, "exit {}", outcome.code);
    text
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
