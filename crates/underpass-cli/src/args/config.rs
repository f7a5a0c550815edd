//! Configuration files: the options of a command by their long names, in TOML.
//!
//! What there is to set comes from the definition of the command line. So a new option can be in a
//! file as soon as it exists, and its value is checked by the same code.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::builder::BoolishValueParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};
use underpass_http::PathRule;

use crate::exit::Failure;

mod nearest;
mod options;
mod rules;
mod source;

use options::Setting;
use source::Source;

// Where options are read from, besides the command line.
#[derive(Debug, clap::Args)]
pub(crate) struct ConfigArgs {
    /// Read options from FILE, in TOML, by their long names: drain = 5. The command line wins, and
    /// then the environment. SIGHUP reads it again
    #[arg(long, value_name = "FILE", env = "UNDERPASS_CONFIG", hide_env = true)]
    pub(crate) config: Option<PathBuf>,
    /// Check the configuration and the files that it names, say what is wrong, and end: exit code 0
    /// if nothing is
    #[arg(long, env = "UNDERPASS_CHECK_CONFIG", hide_env = true, value_parser = BoolishValueParser::new())]
    pub(crate) check_config: bool,
    /// What was read.
    #[arg(skip)]
    pub(crate) file: Option<ConfigFile>,
}

/// The options that mean nothing in a file.
const NOT_IN_FILES: [&str; 4] = ["config", "check_config", "help", "version"];

/// A configuration file, as it was read.
#[derive(Clone, Debug)]
pub(crate) struct ConfigFile {
    path: PathBuf,
    source: Source,
    /// What is set, but for that which the command line or the environment sets.
    settings: Vec<Setting>,
    rules: Vec<PathRule>,
    /// The command line, to read the file again.
    pub(super) typed: Vec<OsString>,
}

impl ConfigFile {
    /// Reads a file for `command`. `typed` is the command line, and `matches` is what it and the
    /// environment have set.
    pub(super) fn read(
        path: &Path,
        command: &Command,
        typed: &[OsString],
        matches: &ArgMatches,
    ) -> Result<Self, Failure> {
        let source = Source::read(path)?;
        let (mut settings, rules) = options::read(&source, command)?;
        settings.retain(|setting| !is_overruled(setting, command, matches));
        Ok(Self {
            path: path.to_owned(),
            source,
            settings,
            rules,
            typed: typed.to_owned(),
        })
    }

    /// The path of the file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The rules for paths, in their order.
    pub(crate) fn rules(&self) -> &[PathRule] {
        &self.rules
    }

    /// The same settings as arguments.
    pub(super) fn arguments(&self) -> impl Iterator<Item = OsString> {
        self.settings.iter().flat_map(Setting::arguments)
    }

    /// The failure that an error of clap is, if it is about the file: where, what and why.
    pub(super) fn failure(&self, error: &clap::Error) -> Option<Failure> {
        let (setting, why) = options::explain(&self.settings, error)?;
        Some(self.source.failure(setting.at, why))
    }

    /// The names of the settings that differ from those of `other`.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let missing = |from: &Self, to: &Self| -> Vec<String> {
            let differs = from.settings.iter().filter(|it| !to.settings.contains(it));
            differs.map(|it| it.key.clone()).collect()
        };
        let mut names = missing(self, other);
        names.extend(missing(other, self));
        names.sort();
        names.dedup();
        names
    }
}

/// Whether the command line or the environment says otherwise: the same option, or one that cannot
/// be used together with it.
fn is_overruled(setting: &Setting, command: &Command, matches: &ArgMatches) -> bool {
    let is_given = |arg: &Arg| {
        let source = matches.value_source(arg.get_id().as_str());
        matches!(
            source,
            Some(ValueSource::CommandLine | ValueSource::EnvVariable)
        )
    };
    let arguments = || command.get_arguments();
    let Some(own) = arguments().find(|arg| *arg.get_id() == setting.id) else {
        return false;
    };
    let conflicts = |one: &Arg, with: &Arg| {
        let mut others = command.get_arg_conflicts_with(one).into_iter();
        others.any(|other| other.get_id() == with.get_id())
    };
    arguments()
        .filter(|arg| is_given(arg))
        .any(|arg| arg.get_id() == own.get_id() || conflicts(arg, own) || conflicts(own, arg))
}

#[cfg(test)]
mod tests;
