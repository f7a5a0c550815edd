//! Who is compared: each hands one stream, or one file, to so many subscribers, with one thread where it can be told.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::producer::{From, Place};
use crate::program;
use crate::run::Invocation;

pub(crate) const UNDERPASS: &str = "underpass";
/// The classic way, with the buffer that most programs have: the one that the goal is about.
pub(crate) const CLASSIC: &str = "read + N writes, 64 KiB";
pub(crate) const BARE: &str = "bare tee + splice loop";
pub(crate) const SENDFILE: &str = "bare sendfile loop";

/// Somebody who is compared.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    /// How it is started, or what is missing.
    pub(crate) start: std::result::Result<Start, String>,
}

/// How one is started. In its words {LISTEN}, {PORT}, {N}, {SOURCE}, {PLAIN}, {FILE}, {DIR} and {WORK} are filled in.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    program: PathBuf,
    words: Vec<String>,
    /// Where it connects to subscribers: words for each, with {TO} and {TO_PORT} filled in. Otherwise they connect to it.
    each: Option<Vec<String>>,
    /// It ends by itself when the stream has.
    pub(super) ends: bool,
    /// Subscribers ask it by HTTP.
    pub(super) http: bool,
    /// The route that its receipts must name.
    pub(super) route: Option<&'static str>,
}

/// What is filled in.
pub(super) struct Places<'a> {
    pub(super) listen: std::net::SocketAddr,
    pub(super) subscribers: usize,
    pub(super) source: Place,
    /// What is handed out, where it is a file.
    pub(super) file: Option<&'a Path>,
    pub(super) work: &'a Path,
    /// Where subscribers wait to be connected to.
    pub(super) ports: Vec<u16>,
}

/// Everyone who hands out a stream that comes this way.
pub(crate) fn of_stream(underpass: Option<&Path>, from: From) -> Vec<Contender> {
    let row = |name, start| Contender { name, start };
    let buffer = |size: &str| child("fan-out-copy", &["{LISTEN}", "{PLAIN}", "{N}", size]);
    let mut all = vec![
        row(UNDERPASS, stream(underpass, "splice", &[])),
        row(
            "underpass, read-write",
            stream(underpass, "read-write", &["--route", "read-write"]),
        ),
        row(CLASSIC, buffer("65536")),
        row("read + N writes, 128 KiB", buffer("131072")),
        row("read + N writes, 1 MiB", buffer("1048576")),
        row(BARE, child("fan-out-tee", &["{LISTEN}", "{PLAIN}", "{N}"])),
    ];
    match from {
        From::Pipe => all.extend([
            row("tee + nc", tee_and_nc()),
            row("mbuffer", mbuffer(&["-i", "-"])),
            row("ncat", ncat()),
        ]),
        From::Tcp => all.push(row("mbuffer", mbuffer(&["-I", "127.0.0.1:{SOURCE_PORT}"]))),
        From::Unix => {}
    }
    all
}

/// Everyone who hands out a file.
pub(crate) fn of_file(underpass: Option<&Path>) -> Vec<Contender> {
    let row = |name, start| Contender { name, start };
    vec![
        row(UNDERPASS, file(underpass)),
        row("underpass serve", serve(underpass)),
        row(
            SENDFILE,
            child("fan-out-sendfile", &["{LISTEN}", "{FILE}", "{N}"]),
        ),
    ]
}

/// What the rivals' programs say of themselves.
pub(crate) fn versions() -> Vec<String> {
    let rivals = [
        ("mbuffer", "--version"),
        ("ncat", "--version"),
        ("tee", "--version"),
    ];
    rivals
        .iter()
        .filter_map(|(name, ask)| version(name, ask))
        .collect()
}

fn stream(
    binary: Option<&Path>,
    route: &'static str,
    more: &[&str],
) -> std::result::Result<Start, String> {
    let words = [
        "fan-out",
        "--listen",
        "{LISTEN}",
        "--from",
        "{SOURCE}",
        "--await",
        "{N}",
        "--threads",
        "1",
        "--receipt",
        "json",
        "--quiet",
    ];
    let mut start = Start::of(ours(binary)?, &[&words, more].concat());
    start.route = Some(route);
    Ok(start)
}

fn file(binary: Option<&Path>) -> std::result::Result<Start, String> {
    let words = [
        "fan-out",
        "--listen",
        "{LISTEN}",
        "--from",
        "{FILE}",
        "--threads",
        "1",
        "--receipt",
        "json",
        "--quiet",
    ];
    let mut start = Start::of(ours(binary)?, &words);
    (start.route, start.ends) = (Some("sendfile"), false);
    Ok(start)
}

fn serve(binary: Option<&Path>) -> std::result::Result<Start, String> {
    let words = [
        "serve",
        "{DIR}",
        "--listen",
        "{LISTEN}",
        "--threads",
        "1",
        "--quiet",
    ];
    let mut start = Start::of(ours(binary)?, &words);
    (start.http, start.ends) = (true, false);
    Ok(start)
}

fn ours(binary: Option<&Path>) -> std::result::Result<PathBuf, String> {
    let binary = binary.ok_or("no underpass binary (see --underpass)")?;
    let mut help = Command::new(binary);
    help.args(["fan-out", "--help"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if !help.status().is_ok_and(|status| status.success()) {
        return Err("this underpass binary has no command fan-out".to_owned());
    }
    Ok(binary.to_owned())
}

/// `tee >(nc …) >(nc …)`, but with named pipes, so that the shell waits for each nc and its time is counted.
fn tee_and_nc() -> std::result::Result<Start, String> {
    const SCRIPT: &str = r#"for port; do mkfifo "$0/$port"; nc -N 127.0.0.1 "$port" < "$0/$port" & done
tee "$0"/* > /dev/null; wait"#;
    installed("nc", "netcat-openbsd")?;
    let words = ["-c", SCRIPT, "{WORK}"];
    let mut start = Start::of(installed("bash", "bash")?, &words);
    start.each = Some(vec!["{TO_PORT}".to_owned()]);
    Ok(start)
}

/// With blocks of 1 MiB and room for 64 of them.
fn mbuffer(from: &[&str]) -> std::result::Result<Start, String> {
    let words = [&["-q", "-s", "1M", "-m", "64M"], from].concat();
    let mut start = Start::of(installed("mbuffer", "mbuffer")?, &words);
    start.each = Some(vec!["-O".to_owned(), "{TO}".to_owned()]);
    Ok(start)
}

/// What it reads on standard input goes to all who are connected.
fn ncat() -> std::result::Result<Start, String> {
    let words = ["--listen", "--keep-open", "127.0.0.1", "{PORT}"];
    let mut start = Start::of(installed("ncat", "ncat")?, &words);
    start.ends = false;
    Ok(start)
}

fn child(name: &str, rest: &[&str]) -> std::result::Result<Start, String> {
    let lab = std::env::current_exe().map_err(|error| format!("the lab's own program: {error}"))?;
    Ok(Start::of(lab, &[&["child", name], rest].concat()))
}

fn installed(name: &str, package: &str) -> std::result::Result<PathBuf, String> {
    program::on_path(name).ok_or_else(|| format!("not installed: Debian package {package}"))
}

fn version(name: &str, ask: &str) -> Option<String> {
    let mut command = Command::new(program::on_path(name)?);
    let said = command.arg(ask).stdin(Stdio::null()).output().ok()?;
    let said = [said.stdout, said.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let line = said
        .lines()
        .find(|line| line.chars().any(|c| c.is_ascii_digit()))?;
    Some(line.trim().to_owned())
}

impl Start {
    fn of(program: PathBuf, words: &[&str]) -> Self {
        Self {
            program,
            words: words.iter().map(|&word| word.to_owned()).collect(),
            each: None,
            ends: true,
            http: false,
            route: None,
        }
    }

    /// It connects to the subscribers, and not they to it.
    pub(super) fn connects(&self) -> bool {
        self.each.is_some()
    }

    pub(super) fn invocation(&self, places: &Places<'_>) -> Invocation {
        let words = self.words.iter().map(|word| places.fill(word));
        let each = |port: &u16| {
            let to = format!("127.0.0.1:{port}");
            let each = self.each.iter().flatten();
            each.map(|word| {
                word.replace("{TO}", &to)
                    .replace("{TO_PORT}", &port.to_string())
            })
            .collect::<Vec<_>>()
        };
        let outputs = places.ports.iter().flat_map(each);
        Invocation::new(&self.program).args(words.chain(outputs))
    }
}

impl Places<'_> {
    fn fill(&self, text: &str) -> String {
        let file = self.file.unwrap_or(Path::new("-"));
        let dir = file.parent().unwrap_or(file);
        let source_port = match &self.source {
            Place::Tcp(addr) => addr.port().to_string(),
            _ => String::new(),
        };
        text.replace("{LISTEN}", &self.listen.to_string())
            .replace("{PORT}", &self.listen.port().to_string())
            .replace("{N}", &self.subscribers.to_string())
            .replace("{SOURCE}", &self.source.address())
            .replace("{SOURCE_PORT}", &source_port)
            .replace("{PLAIN}", &self.source.plain())
            .replace("{FILE}", &file.to_string_lossy())
            .replace("{DIR}", &dir.to_string_lossy())
            .replace("{WORK}", &self.work.to_string_lossy())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_filled_in() {
        let binary = Some(Path::new("/bin/true"));
        let place = Path::new("/w");
        let addr = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
        let of_stream = of_stream(binary, From::Tcp).into_iter();
        for contender in of_stream
            .chain(of_stream_from_pipe(binary))
            .chain(of_file(binary))
        {
            let Ok(start) = contender.start else {
                println!("skipped: {}", contender.name);
                continue;
            };
            let places = Places {
                listen: addr(1001),
                subscribers: 2,
                source: Place::Tcp(addr(1002)),
                file: Some(Path::new("/d/f")),
                work: place,
                ports: vec![1003, 1004],
            };
            let words = start.invocation(&places).args;
            let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
            let all = words.join(" ");
            let upper = |rest: &str| rest.starts_with(|c: char| c.is_ascii_uppercase());
            assert!(!all.split('{').skip(1).any(upper), "{all}");
            assert_eq!(all.contains("1004"), start.connects(), "{all}");
        }
    }

    fn of_stream_from_pipe(binary: Option<&Path>) -> Vec<Contender> {
        of_stream(binary, From::Pipe)
    }
}
