//! Who is compared: each hands one stream, or one file, to so many subscribers. Why each is set so:
//! `lab/RIVALS.md`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::producer::{From, Place};
use crate::bench::Contender;
use crate::program;
use crate::record::Side;
use crate::run::Invocation;

/// How one is started. In its words {LISTEN}, {PORT}, {N}, {SOURCE}, {SOURCE_PORT}, {PLAIN},
/// {FILE}, {DIR} and {WORK} are filled in.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    program: PathBuf,
    words: Vec<String>,
    /// Where it connects to subscribers: words for each, with {TO} and {TO_PORT} filled in.
    /// Otherwise they connect to it.
    each: Option<Vec<String>>,
    /// The producers that it can be told to take from.
    pub(super) takes: &'static [From],
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

/// Everyone who hands out a stream.
pub(super) fn of_stream(underpass: Option<&Path>) -> Vec<Contender<Start>> {
    let buffer = |size: &str| child("fan-out-copy", &["{LISTEN}", "{PLAIN}", "{N}", size]);
    let spliced = stream(underpass, "splice", &[]);
    let copied = stream(underpass, "read-write", &["--route", "read-write"]);
    let tee = child("fan-out-tee", &["{LISTEN}", "{PLAIN}", "{N}"]);
    vec![
        Contender::new("underpass", Side::Ours, spliced),
        Contender::new("underpass, read-write", Side::Variant, copied),
        Contender::new("read + N writes, 64 KiB", Side::Rival, buffer("65536")),
        Contender::new("read + N writes, 128 KiB", Side::Rival, buffer("131072")),
        Contender::new("read + N writes, 1 MiB", Side::Rival, buffer("1048576")),
        Contender::new("tee + nc", Side::Rival, tee_and_nc()),
        Contender::new("mbuffer", Side::Rival, mbuffer(PIPE, &["-i", "-"])),
        Contender::new(
            "mbuffer, TCP",
            Side::Rival,
            mbuffer(&[From::Tcp], &["-I", "127.0.0.1:{SOURCE_PORT}"]),
        ),
        Contender::new("ncat", Side::Rival, ncat()),
        Contender::new("bare tee + splice loop", Side::Floor, tee),
    ]
}

/// Everyone who hands out a file.
pub(super) fn of_file(underpass: Option<&Path>) -> Vec<Contender<Start>> {
    let sendfile = child("fan-out-sendfile", &["{LISTEN}", "{FILE}", "{N}"]);
    vec![
        Contender::new("underpass", Side::Ours, file(underpass)),
        Contender::new("underpass serve", Side::Variant, serve(underpass)),
        Contender::new("bare sendfile loop", Side::Floor, sendfile),
    ]
}

const PIPE: &[From] = &[From::Pipe];

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

/// `tee >(nc …) >(nc …)`, but with named pipes, so that the shell waits for each nc and its time is
/// counted.
fn tee_and_nc() -> std::result::Result<Start, String> {
    const SCRIPT: &str = r#"for port; do mkfifo "$0/$port"; nc -N 127.0.0.1 "$port" < "$0/$port" & done
tee "$0"/* > /dev/null; wait"#;
    program::rival("nc", "Debian package netcat-openbsd")?;
    let words = ["-c", SCRIPT, "{WORK}"];
    let mut start = Start::of(program::rival("bash", "Debian package bash")?, &words);
    start.takes = PIPE;
    start.each = Some(vec!["{TO_PORT}".to_owned()]);
    Ok(start)
}

/// With blocks of 1 MiB and room for 64 of them.
fn mbuffer(takes: &'static [From], from: &[&str]) -> std::result::Result<Start, String> {
    let words = [&["-q", "-s", "1M", "-m", "64M"], from].concat();
    let mut start = Start::of(program::rival("mbuffer", "Debian package mbuffer")?, &words);
    start.takes = takes;
    start.each = Some(vec!["-O".to_owned(), "{TO}".to_owned()]);
    Ok(start)
}

/// What it reads on standard input goes to all who are connected.
fn ncat() -> std::result::Result<Start, String> {
    let words = ["--listen", "--keep-open", "127.0.0.1", "{PORT}"];
    let mut start = Start::of(program::rival("ncat", "Debian package ncat")?, &words);
    (start.takes, start.ends) = (PIPE, false);
    Ok(start)
}

fn child(name: &str, rest: &[&str]) -> std::result::Result<Start, String> {
    let lab = program::lab()?;
    Ok(Start::of(lab, &[&["child", name], rest].concat()))
}

impl Start {
    fn of(program: PathBuf, words: &[&str]) -> Self {
        Self {
            program,
            words: words.iter().map(|&word| word.to_owned()).collect(),
            each: None,
            takes: From::ALL,
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
        let all = of_stream(binary).into_iter().chain(of_file(binary));
        for contender in all {
            let Ok(start) = contender.program else {
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
}
