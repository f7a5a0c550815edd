//! Completions, as the real shells show them.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::support::{Dir, Running, collected, needs, run};

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/scripts");

/// Lines, and what is offered at their end: whole words. In the directory are in.bin, note.txt, the
/// directory sub, and the socket some.sock.
const LINES: &[(&str, &[&str])] = &[
    ("underpass se", &["send", "serve"]),
    ("underpass help fan", &["fan-out"]),
    ("underpass completions z", &["zsh"]),
    // Routes, and other values of which there are a few.
    ("underpass copy --route s", &["sendfile", "splice"]),
    ("underpass copy --route=ref", &["--route=reflink"]),
    ("underpass relay --route ", &["splice", "read-write"]),
    ("underpass measure --lang ", &["en", "zh"]),
    ("underpass send --receipt=j", &["--receipt=json"]),
    ("underpass fan-out --slow ", &["wait", "drop"]),
    ("underpass measure --ways splice,rel", &["splice,relay"]),
    ("underpass measure --links veth-", &["veth-no-gather"]),
    // Units.
    (
        "underpass recv :0 out --expect 5",
        &["5K", "5M", "5G", "5KB", "5MB", "5GB"],
    ),
    ("underpass measure --sizes 4K,1G", &["4K,1G", "4K,1GB"]),
    ("underpass send --timeout 3", &["3s", "3ms", "3m", "3h"]),
    ("underpass serve --rate 9", &["9KiB/s", "9MiB/s", "9GiB/s"]),
    // Files only where files go.
    ("underpass send n", &["note.txt"]),
    (
        "underpass send ",
        &["in.bin", "note.txt", "some.sock", "sub"],
    ),
    ("underpass measure --html=n", &["--html=note.txt"]),
    ("underpass serve --acme-state ", &["sub"]),
    ("underpass serve -p ", &["8080", "0"]),
    ("underpass serve --threads ", &[]),
    // Addresses.
    ("underpass recv ", &["127.0.0.1:", ":", "unix:", "tls://:"]),
    ("underpass send in.bin loc", &["localhost:"]),
    ("underpass send in.bin unix:so", &["unix:some.sock"]),
    ("underpass explain n", &["note.txt"]),
    ("underpass explain note.txt t", &["tls://"]),
    // Options.
    (
        "underpass serve --tls-c",
        &["--tls-cert", "--tls-client-ca"],
    ),
];

fn place() -> (Dir, std::os::unix::net::UnixListener) {
    let dir = Dir::in_memory();
    dir.file("in.bin", b"x");
    dir.file("note.txt", b"x");
    std::fs::create_dir(dir.path("sub")).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(dir.path("some.sock")).unwrap();
    (dir, socket)
}

/// A shell that finds the program, in `dir`.
fn shell(name: &str, dir: &Dir) -> Command {
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_underpass"));
    let others = std::env::var("PATH").unwrap();
    let path = format!("{}:{others}", program.parent().unwrap().display());
    let mut shell = collected(name);
    shell.current_dir(dir.root()).env("PATH", path);
    shell.env("TERM", "dumb").env("LC_ALL", "C.UTF-8");
    shell
}

fn script(shell: &str) -> Vec<u8> {
    run(&["completions", shell]).ok().stdout
}

fn lines() -> String {
    let lines = LINES.iter().map(|&(line, _)| line);
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// Runs `command` with `input`, and returns what it offers for each line.
fn answers(mut command: Command, input: &str) -> Vec<Vec<String>> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(input.as_bytes()).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    command.stdin(Stdio::from(file));
    let outcome = Running::start(command).finish().ok();
    assert_eq!(outcome.stderr, "");
    let mut all = Vec::new();
    for line in outcome.text().lines() {
        match line.strip_prefix("= ") {
            Some(_) => all.push(Vec::new()),
            None => all.last_mut().expect("a line").push(line.to_owned()),
        }
    }
    all
}

/// Compares without the slash of directories, and without order: fish sorts by itself.
fn assert_offered(shell: &str, found: &[Vec<String>], want: impl Fn(&str, &str) -> String) {
    assert_eq!(found.len(), LINES.len(), "{found:?}");
    let mut wrong = String::new();
    for ((line, words), found) in LINES.iter().zip(found) {
        let mut want: Vec<_> = words.iter().map(|word| want(line, word)).collect();
        let mut found: Vec<_> = found.iter().map(|it| plain(it)).collect();
        want.sort_unstable();
        found.sort_unstable();
        // zsh may ask for the same twice.
        found.dedup();
        if want != found {
            let _ = writeln!(wrong, "{line:?}: {found:?} instead of {want:?}");
        }
    }
    assert!(wrong.is_empty(), "{shell}:\n{wrong}");
}

fn plain(word: &str) -> String {
    let is_address = word.ends_with("://");
    let word = if is_address {
        word
    } else {
        word.trim_end_matches('/')
    };
    word.to_owned()
}

#[test]
fn bash_completes_values() {
    if !needs::tool("bash") {
        return;
    }
    let (dir, _socket) = place();
    let file = dir.file("sub/script", &script("bash"));
    let mut input = String::new();
    for (line, _) in LINES {
        // As readline parts words: at spaces, and around : and =.
        let mut parted = line.trim_end().replace(' ', "|");
        for mark in [":", "="] {
            parted = parted.replace(mark, &format!("|{mark}|"));
        }
        let parted = parted.replace("||", "|");
        let _ = writeln!(input, "{line}\t{}", parted.trim_end_matches('|'));
    }
    let mut bash = shell("bash", &dir);
    bash.args(["--norc", &format!("{SCRIPTS}/complete.bash"), &file]);
    // Only what comes after the last : or = of the word is replaced.
    assert_offered("bash", &answers(bash, &input), |line, word| {
        let typed = line.rsplit(' ').next().unwrap();
        let kept = typed.rfind([':', '=']).map_or(0, |at| at + 1);
        word[kept..].to_owned()
    });
}

#[test]
fn fish_completes_values() {
    if !needs::tool("fish") {
        return;
    }
    let (dir, _socket) = place();
    let file = dir.file("sub/script", &script("fish"));
    let mut fish = shell("fish", &dir);
    let code = "source $argv[1]; while read -l line; echo \"= $line\"; complete -C $line; end";
    fish.args(["--no-config", "-c", code, &file]);
    fish.env("HOME", dir.path("sub"));
    let mut found = answers(fish, &lines());
    for word in found.iter_mut().flatten() {
        // After a tab, what it means.
        word.truncate(word.find('\t').unwrap_or(word.len()));
    }
    assert_offered("fish", &found, |_, word| word.to_owned());
}

#[test]
fn zsh_completes_values() {
    if !needs::tool("zsh") {
        return;
    }
    let (dir, _socket) = place();
    let scripts = Dir::in_memory();
    scripts.file("_underpass", &script("zsh"));
    let mut zsh = shell("zsh", &dir);
    zsh.args(["-f", &format!("{SCRIPTS}/complete.zsh"), scripts.root()]);
    zsh.env("HOME", scripts.root());
    // zsh takes --html= from the word itself before it offers files.
    assert_offered("zsh", &answers(zsh, &lines()), |_, word| {
        word.trim_start_matches("--html=").to_owned()
    });
}
