//! The contenders: the rows of `lab/contenders.toml`, each with its program or the reason why it
//! has none.

mod java;
mod places;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub(crate) use self::places::Places;
pub(crate) use self::table::{Program, Row, Source, Words, programs};
use crate::error::{Context, Error, Result};
use crate::program;
use crate::run::Invocation;
use crate::scenario::Race;

/// One row, ready to be started.
#[derive(Debug, Clone)]
pub(crate) struct Contender {
    pub(crate) row: Row,
    /// The program to start; or what is missing, and which package has it.
    pub(crate) program: std::result::Result<PathBuf, String>,
}

/// All contenders of a race, in the order of the table. `underpass` is the binary to measure.
pub(crate) fn all(race: Race, underpass: Option<&Path>) -> Result<Vec<Contender>> {
    let programs = programs()?;
    let contender = |row: Row| Contender {
        program: found(&row, &programs, underpass),
        row,
    };
    Ok(table::rows(race)?.into_iter().map(contender).collect())
}

impl Contender {
    pub(crate) fn name(&self) -> &str {
        &self.row.name
    }

    /// The command, and the text of the configuration file that it names, which is written to
    /// `{WORK}`.
    ///
    /// # Errors
    ///
    /// A name that `places` does not have; a program that is missing.
    pub(crate) fn invocation(&self, places: Places) -> Result<(Invocation, Option<String>)> {
        let program = self.program.as_ref().map_err(Error::new)?;
        let mut places = self.row.with_settings(places)?;
        if self.row.source.is_some() {
            places = places.with("CLASSES", &java::classes()?.display());
        }
        let mut configuration = None;
        if let Some(name) = &self.row.configuration {
            let conf = Path::new(places.get("WORK").unwrap_or_default()).join("configuration");
            let text = places.fill(table::file(name)?)?;
            fs::write(&conf, &text).context(|| format!("cannot write {}", conf.display()))?;
            places = places.with("CONF", &conf.display());
            configuration = Some(text);
        }
        let filled = |words: &mut dyn Iterator<Item = &str>| {
            let words = words.map(|word| places.fill(word));
            words.collect::<Result<Vec<_>>>()
        };
        let words = filled(&mut self.row.words())?;
        let environment = filled(&mut self.row.environment())?;
        let invocation = if environment.is_empty() {
            Invocation::new(program)
        } else {
            // env(1) becomes the program.
            Invocation::new("env").args(environment).arg(program)
        };
        Ok((invocation.args(words), configuration))
    }
}

impl Row {
    /// With the names that are this row's alone.
    fn with_settings(&self, places: Places) -> Result<Places> {
        let mut settings = self.settings.iter();
        settings.try_fold(places, |places, (name, value)| {
            let value = places.fill(value)?;
            Ok(places.with(name, &value))
        })
    }
}

/// What to start for a row.
fn found(
    row: &Row,
    programs: &[Program],
    binary: Option<&Path>,
) -> std::result::Result<PathBuf, String> {
    let installed = |name: &str| {
        let known = programs.iter().find(|known| known.name == name);
        let package = known.map(Program::package).unwrap_or_default();
        program::rival(name, &package)
    };
    for name in &row.needs {
        installed(name)?;
    }
    let program = match row.program.as_str() {
        "underpass" => underpass(binary, row)?,
        "lab" => program::lab()?,
        name => installed(name)?,
    };
    if let Some(source) = &row.source {
        let text = table::file(source).map_err(|error| error.to_string())?;
        java::compile(source, text).map_err(|error| error.to_string())?;
    }
    Ok(program)
}

/// The binary, if it has the row's command with the options that the row uses.
fn underpass(binary: Option<&Path>, row: &Row) -> std::result::Result<PathBuf, String> {
    let binary = binary.ok_or("no underpass binary (see --underpass)")?;
    let command = row.words().next().unwrap_or_default();
    let mut help = Command::new(binary);
    help.args([command, "--help"]).stdin(Stdio::null());
    let help = help.output().map_err(|error| error.to_string())?;
    if !help.status.success() {
        return Err(format!("this underpass binary has no command {command}"));
    }
    let help = String::from_utf8_lossy(&help.stdout);
    let known: Vec<_> = help
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .collect();
    let mut options = row.words().filter(|word| word.starts_with("--"));
    match options.find(|option| !known.contains(option)) {
        Some(option) => Err(format!("this underpass binary has no {command} {option}")),
        None => Ok(binary.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names that every race fills in, as the table documents them.
    const RACES: &[(Race, &[&str])] = &[
        (
            Race::Http,
            &[
                "ROOT",
                "ADDR",
                "PORT",
                "METRICS",
                "WORK",
                "CONF",
                "USER",
                "STORE",
                "STORE_PORT",
                "BUCKET",
                "CACHE",
            ],
        ),
        (
            Race::Https,
            &[
                "ROOT", "ADDR", "PORT", "METRICS", "WORK", "CONF", "USER", "CERT", "KEY",
            ],
        ),
        (
            Race::H2,
            &[
                "ROOT", "ADDR", "PORT", "METRICS", "WORK", "CONF", "USER", "CERT", "KEY",
            ],
        ),
        (
            Race::H2c,
            &["ROOT", "ADDR", "PORT", "METRICS", "WORK", "CONF", "USER"],
        ),
        (
            Race::Relay,
            &["ADDR", "PORT", "TARGET", "METRICS", "WORK", "CONF"],
        ),
        (
            Race::FanOut,
            &[
                "LISTEN",
                "PORT",
                "N",
                "SOURCE",
                "SOURCE_PORT",
                "PLAIN",
                "WORK",
                "TO",
                "TO_PORT",
            ],
        ),
        (
            Race::FanOutFile,
            &["LISTEN", "PORT", "N", "FILE", "DIR", "WORK"],
        ),
        (Race::Send, &["FILE", "PORT", "CLASSES"]),
        (Race::Copy, &["FROM", "TO"]),
        (
            Race::Tree,
            &["TREE", "ROOT", "OUT", "PORT", "WORK", "CONF", "USER"],
        ),
    ];

    #[test]
    fn every_row_has_a_known_program_and_every_name_in_it_is_filled_in() {
        let programs = programs().unwrap();
        let known = |name: &String| {
            ["underpass", "lab"].contains(&name.as_str())
                || programs.iter().any(|known| known.name == *name)
        };
        for (race, names) in RACES {
            let places = names
                .iter()
                .fold(Places::default(), |all, name| all.with(name, &1));
            for row in table::rows(*race).unwrap() {
                assert!(
                    known(&row.program) && row.needs.iter().all(known),
                    "{row:?}"
                );
                let places = row.with_settings(places.clone()).unwrap();
                let each = row
                    .each
                    .iter()
                    .flat_map(|words| &words.0)
                    .map(String::as_str);
                let configuration = row
                    .configuration
                    .iter()
                    .map(|name| table::file(name).unwrap());
                let receiver = row
                    .receiver
                    .iter()
                    .flat_map(|words| &words.0)
                    .map(String::as_str);
                let words = row.words().chain(row.environment());
                for text in words.chain(each).chain(receiver).chain(configuration) {
                    places
                        .fill(text)
                        .unwrap_or_else(|error| panic!("{}: {error}", row.name));
                }
            }
        }
    }

    #[test]
    fn the_environment_of_a_row_is_part_of_its_command() {
        let row = "words = ['{X}']\nenvironment = 'A={X} B=2'";
        let who = Contender {
            row: toml::from_str(row).unwrap(),
            program: Ok("/bin/program".into()),
        };
        let places = Places::default().with("X", "1");
        let (invocation, _) = who.invocation(places).unwrap();
        assert_eq!(invocation.to_string(), "env A=1 B=2 /bin/program 1");
    }

    #[test]
    fn a_rival_that_is_missing_names_its_package() {
        let mut programs = programs().unwrap();
        programs[0].name = "no-such-server".to_owned();
        let row = Row {
            program: "no-such-server".to_owned(),
            ..Row::default()
        };
        assert_eq!(
            found(&row, &programs, None).unwrap_err(),
            "not installed: Debian package nginx-light (scripts/install-rivals)"
        );
    }

    #[test]
    fn an_underpass_that_lacks_a_command_or_an_option_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let written = dir.path().join("written");
        let binary = dir.path().join("underpass");
        let script = "#!/bin/sh\n[ \"$1\" = serve ] && echo '--listen <ADDR>, --tls-certs'\n";
        fs::write(&written, script).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&written, mode).unwrap();
        underpass_testing::copy_program(&written, &binary);
        let told = |words: &str| {
            let row = toml::from_str(&format!("program = 'underpass'\nwords = '{words}'"));
            found(&row.unwrap(), &[], Some(&binary))
        };
        assert_eq!(told("serve --listen x").unwrap(), binary);
        let error = told("serve --tls-cert x").unwrap_err();
        assert_eq!(error, "this underpass binary has no serve --tls-cert");
        let error = told("relay").unwrap_err();
        assert_eq!(error, "this underpass binary has no command relay");
    }
}
