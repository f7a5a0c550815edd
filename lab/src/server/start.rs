//! How a program that listens is started, and what is filled into its words and its configuration.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::bench::Contender;
use crate::error::{Context, Result};
use crate::program;
use crate::record::Side;
use crate::run::Invocation;

/// In its words and its configuration {ROOT}, {ADDR}, {PORT}, {TARGET}, {WORK}, {CONF}, {METRICS},
/// {USER} and its own settings are filled in.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    pub(crate) program: PathBuf,
    pub(crate) words: &'static [&'static str],
    /// What its configuration file is made from.
    pub(crate) template: Option<&'static str>,
    pub(crate) settings: &'static [(&'static str, &'static str)],
    /// The metric that tells what it sent by which route, if it tells.
    pub(crate) routes: Option<&'static str>,
}

/// What is filled in.
pub(crate) struct Places<'a> {
    pub(crate) root: &'a Path,
    pub(crate) work: &'a Path,
    pub(crate) addr: SocketAddr,
    pub(crate) metrics: SocketAddr,
    /// Where a relay passes on to; nowhere, for a server.
    pub(crate) target: Option<SocketAddr>,
}

/// A rival's program and how it is told what to do.
pub(crate) struct Rival {
    pub(crate) name: &'static str,
    pub(crate) program: &'static str,
    pub(crate) package: &'static str,
    pub(crate) words: &'static [&'static str],
    pub(crate) template: Option<&'static str>,
    pub(crate) settings: &'static [(&'static str, &'static str)],
}

/// A command of the underpass binary.
pub(crate) fn underpass(
    binary: Option<&Path>,
    words: &'static [&'static str],
    routes: &'static str,
) -> std::result::Result<Start, String> {
    let binary = binary.ok_or("no underpass binary (see --underpass)")?;
    let command = words.first().copied().unwrap_or_default();
    let mut help = Command::new(binary);
    help.args([command, "--help"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if !help.status().is_ok_and(|status| status.success()) {
        return Err(format!("this underpass binary has no command {command}"));
    }
    Ok(Start {
        routes: Some(routes),
        ..Start::of(binary.to_owned(), words)
    })
}

impl Rival {
    pub(crate) fn contender(&self) -> Contender<Start> {
        let found = program::rival(self.program, self.package);
        let start = found.map(|program| Start {
            template: self.template,
            settings: self.settings,
            ..Start::of(program, self.words)
        });
        Contender::new(self.name, Side::Rival, start)
    }
}

impl Start {
    pub(crate) fn of(program: PathBuf, words: &'static [&'static str]) -> Self {
        Self {
            program,
            words,
            template: None,
            settings: &[],
            routes: None,
        }
    }

    /// A hidden subcommand of the lab.
    pub(crate) fn child(words: &'static [&'static str]) -> std::result::Result<Self, String> {
        program::lab().map(|lab| Self::of(lab, words))
    }

    /// The command, and the text of the configuration file that it names, which is written to
    /// `work`.
    pub(crate) fn invocation(&self, places: &Places) -> Result<(Invocation, Option<String>)> {
        let conf = places.work.join("configuration");
        let fill = |text: &str| places.fill(text, &conf, self.settings);
        let configuration = self.template.map(fill);
        if let Some(text) = &configuration {
            fs::write(&conf, text).context(|| format!("cannot write {}", conf.display()))?;
        }
        let words = self.words.iter().map(|word| fill(word));
        Ok((Invocation::new(&self.program).args(words), configuration))
    }
}

impl Places<'_> {
    pub(crate) fn fill(&self, text: &str, file: &Path, settings: &[(&str, &str)]) -> String {
        // Started by root, h2o becomes nobody, and Apache asks whom to become, who may not read our
        // directory.
        let root = rustix::process::geteuid().is_root();
        let user = if root { "root" } else { "nobody" };
        let filled = text
            .replace("{ROOT}", &self.root.to_string_lossy())
            .replace("{WORK}", &self.work.to_string_lossy())
            .replace("{CONF}", &file.to_string_lossy())
            .replace("{ADDR}", &self.addr.to_string())
            .replace("{METRICS}", &self.metrics.to_string())
            .replace("{PORT}", &self.addr.port().to_string())
            .replace("{USER}", user);
        let filled = match self.target {
            Some(target) => filled.replace("{TARGET}", &target.to_string()),
            None => filled,
        };
        settings.iter().fold(filled, |text, (name, value)| {
            text.replace(&format!("{{{name}}}"), value)
        })
    }
}
