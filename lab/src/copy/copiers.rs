//! Who is compared: each a whole process that copies one file to a new one. Why each is run so:
//! `lab/RIVALS.md`.

use std::path::{Path, PathBuf};

use crate::bench::Contender;
use crate::error::{Error, Result};
use crate::program;
use crate::record::Side::{Floor, Ours, Rival, Variant};
use crate::run::Invocation;

/// A program and its words, in which {FROM} and {TO} are filled in.
pub(super) struct Program {
    path: PathBuf,
    words: &'static [&'static str],
    /// Whether it prints a receipt.
    pub(super) tells_routes: bool,
}

/// Copies $0 to $1 and syncs the copy and its directory, as `underpass copy` does.
const CP_SYNCED: &str = "cp --reflink=auto \"$0\" \"$1\" && sync \"$1\" \"${1%/*}\"";

/// Everyone.
pub(super) fn all(underpass: Option<&Path>) -> Vec<Contender<Program>> {
    let underpass = underpass.map(Path::to_owned);
    let underpass = underpass.ok_or_else(|| "no underpass binary (see --underpass)".to_owned());
    let debian = |name, words| {
        let path = program::rival(name, &format!("Debian package {}", package(name)));
        path.map(|path| Program::new(path, words))
    };
    let ours = |words: &'static [&'static str], tells_routes| {
        let program = underpass.clone().map(|path| Program::new(path, words));
        program.map(|program| Program {
            tells_routes,
            ..program
        })
    };
    let durable = ours(
        &["copy", "{FROM}", "{TO}", "--receipt", "json", "--quiet"],
        true,
    );
    let as_cp = ours(
        &[
            "copy",
            "{FROM}",
            "{TO}",
            "--no-sync",
            "--receipt",
            "none",
            "--quiet",
        ],
        false,
    );
    let cp = debian("cp", &["--reflink=auto", "{FROM}", "{TO}"]);
    let cp_synced = program::rival("cp", "Debian package coreutils")
        .and_then(|_| debian("sh", &["-c", CP_SYNCED, "{FROM}", "{TO}"]));
    let rsync = debian("rsync", &["--whole-file", "{FROM}", "{TO}"]);
    let dd = debian("dd", &["if={FROM}", "of={TO}", "bs=1M", "status=none"]);
    vec![
        Contender::new("underpass copy", Ours, durable),
        Contender::new("underpass copy --no-sync --receipt none", Variant, as_cp),
        Contender::new("cp --reflink=auto", Rival, cp),
        Contender::new("cp --reflink=auto, then sync", Rival, cp_synced),
        Contender::new("rsync --whole-file", Rival, rsync),
        Contender::new("dd bs=1M", Rival, dd),
        Contender::new(
            "Rust std::io::copy",
            Rival,
            child(&["child", "std-copy", "{FROM}", "{TO}"]),
        ),
        Contender::new(
            "bare loop",
            Floor,
            child(&["child", "bare-copy", "{FROM}", "{TO}"]),
        ),
    ]
}

fn package(name: &str) -> &str {
    match name {
        "rsync" => "rsync",
        "sh" => "dash",
        _ => "coreutils",
    }
}

/// A hidden subcommand of the lab.
fn child(words: &'static [&'static str]) -> std::result::Result<Program, String> {
    program::lab().map(|lab| Program::new(lab, words))
}

impl Program {
    fn new(path: PathBuf, words: &'static [&'static str]) -> Self {
        Self {
            path,
            words,
            tells_routes: false,
        }
    }

    pub(super) fn invocation(&self, from: &Path, to: &Path) -> Result<Invocation> {
        let text = |path: &'_ Path| -> Result<String> {
            let text = path.to_str().map(str::to_owned);
            text.ok_or_else(|| Error::new(format!("{} is not text", path.display())))
        };
        let (from, to) = (text(from)?, text(to)?);
        let fill = |word: &&str| word.replace("{FROM}", &from).replace("{TO}", &to);
        Ok(Invocation::new(&self.path).args(self.words.iter().map(fill)))
    }
}
