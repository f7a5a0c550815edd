//! Who is compared: each a whole process that sends one file to one port. Why each is run so:
//! `lab/RIVALS.md`.

use std::path::{Path, PathBuf};

use crate::bench::Contender;
use crate::error::{Context, Error, Result};
use crate::program;
use crate::record::Side::{Floor, Ours, Rival, Variant};
use crate::run::{Invocation, run};

const JAVA_SOURCE: &str = include_str!("../../java/TransferTo.java");

/// A program and its words, in which {FILE} and {PORT} are filled in.
#[derive(Clone)]
pub(super) struct Program {
    path: PathBuf,
    words: Vec<String>,
    pub(super) sends: Sends,
}

/// What is known of the sending beyond the bytes.
#[derive(Clone, Copy)]
pub(super) enum Sends {
    /// The receipt must name this route.
    ByRoute(&'static str),
    /// The time of its one thread is told.
    Java,
    Somehow,
}

type Found = std::result::Result<Program, String>;

/// Everyone.
pub(super) fn all(underpass: Option<&Path>) -> Vec<Contender<Program>> {
    let java = java();
    let by_java = |how: &'static str| {
        java.as_ref()
            .map(|java| java.doing(how))
            .map_err(Clone::clone)
    };
    let ours = |route, forced: &[&str]| underpass_send(underpass, route, forced);
    let read_write = ours("read-write", &["--route", "read-write"]);
    let debian = |name, package: &str, words: &[&str]| {
        let path = program::rival(name, &format!("Debian package {package}"))?;
        Ok(Program::new(path, words, Sends::Somehow))
    };
    let to_socat = [
        "-u",
        "-b",
        "1048576",
        "OPEN:{FILE},rdonly",
        "TCP4:127.0.0.1:{PORT}",
    ];
    // nc reads standard input only.
    let to_nc = ["-c", "exec nc -N 127.0.0.1 {PORT} <'{FILE}'"];
    let nc = program::rival("nc", "Debian package netcat-openbsd")
        .and_then(|_| debian("sh", "dash", &to_nc));
    vec![
        Contender::new("underpass send", Ours, ours("sendfile", &[])),
        Contender::new("underpass send --route read-write", Variant, read_write),
        Contender::new("Java FileChannel.transferTo", Rival, by_java("transfer-to")),
        Contender::new("Java read and write", Rival, by_java("read-write")),
        Contender::new("Rust std::io::copy", Rival, child("std-send")),
        Contender::new("tokio::io::copy", Rival, child("tokio-send")),
        Contender::new("tokio::io::copy_buf", Rival, child("tokio-send-buffered")),
        Contender::new("socat", Rival, debian("socat", "socat", &to_socat)),
        Contender::new("nc", Rival, nc),
        Contender::new("bare sendfile loop", Floor, child("sendfile")),
    ]
}

impl Program {
    fn new(path: PathBuf, words: &[&str], sends: Sends) -> Self {
        Self {
            path,
            words: words.iter().map(|&word| word.to_owned()).collect(),
            sends,
        }
    }

    fn doing(&self, how: &str) -> Self {
        let mut program = self.clone();
        program.words.push(how.to_owned());
        program
    }

    pub(super) fn invocation(&self, file: &Path, port: u16) -> Result<Invocation> {
        let file = file
            .to_str()
            .ok_or_else(|| Error::new("the file's name is not text"))?;
        let filled = |word: &String| {
            word.replace("{FILE}", file)
                .replace("{PORT}", &port.to_string())
        };
        Ok(Invocation::new(&self.path).args(self.words.iter().map(filled)))
    }
}

/// A hidden subcommand of the lab.
fn child(name: &str) -> Found {
    let words = ["child", name, "{FILE}", "127.0.0.1:{PORT}"];
    program::lab().map(|lab| Program::new(lab, &words, Sends::Somehow))
}

fn underpass_send(binary: Option<&Path>, route: &'static str, forced: &[&str]) -> Found {
    let binary = binary.ok_or("no underpass binary (see --underpass)")?;
    let words = [
        "send",
        "{FILE}",
        "tcp://127.0.0.1:{PORT}",
        "--receipt",
        "json",
        "--quiet",
    ];
    let words = [&words, forced].concat();
    Ok(Program::new(
        binary.to_owned(),
        &words,
        Sends::ByRoute(route),
    ))
}

fn java() -> Found {
    let package = "Debian package openjdk-17-jdk-headless";
    let (java, javac) = (
        program::rival("java", package)?,
        program::rival("javac", package)?,
    );
    let classes = compile(&javac).map_err(|error| error.to_string())?;
    let classes = classes.to_string_lossy().into_owned();
    let words = [
        "-cp",
        &classes,
        "TransferTo",
        "{FILE}",
        "127.0.0.1",
        "{PORT}",
    ];
    Ok(Program::new(java, &words, Sends::Java))
}

/// Compiles beside the lab's own program, in the target directory.
fn compile(javac: &Path) -> Result<PathBuf> {
    let lab = std::env::current_exe().context(|| "cannot find the lab's own program".into())?;
    let classes = lab.with_file_name("lab-java");
    let source = classes.join("TransferTo.java");
    let written =
        std::fs::create_dir_all(&classes).and_then(|()| std::fs::write(&source, JAVA_SOURCE));
    written.context(|| format!("cannot write {}", source.display()))?;
    run(&Invocation::new(javac).arg("-d").arg(&classes).arg(&source))?;
    Ok(classes)
}
