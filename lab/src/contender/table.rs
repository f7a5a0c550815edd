//! Reads the table of contenders, `lab/contenders.toml`. The beginning of that file explains each
//! field.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::error::{Context, Error, Result};
use crate::record::Side;
use crate::scenario::Race;

const TABLE: &str = include_str!("../../contenders.toml");

macro_rules! files {
    ($($folder:literal: $($name:literal)*;)*) => {
        &[$($(($name, include_str!(concat!("../../", $folder, "/", $name)))),*),*]
    };
}

/// The files that rows name as their configuration or source.
const FILES: &[(&str, &str)] = files! {
    "rivals": "nginx.conf" "nginx-cache.conf" "h2o.yaml" "lighttpd.conf" "Caddyfile" "apache.conf"
        "haproxy.cfg" "haproxy-https.cfg" "nginx-stream.conf" "rsyncd.conf" "underpass-rules.toml"
        "varnish.vcl";
    "java": "TransferTo.java";
};

/// A program that contenders need.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Program {
    pub(crate) name: String,
    #[serde(default)]
    debian: Vec<String>,
    #[serde(default, rename = "crate")]
    krate: Option<String>,
    #[serde(default)]
    pypi: Option<String>,
    #[serde(default)]
    built_from: Option<String>,
    #[serde(default)]
    pub(crate) version: Words,
}

/// How one contender is started and checked.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) side: Side,
    pub(crate) program: String,
    pub(crate) needs: Vec<String>,
    pub(crate) environment: Words,
    pub(crate) words: Words,
    pub(crate) receiver: Option<Words>,
    pub(crate) more: Words,
    pub(crate) configuration: Option<String>,
    pub(crate) settings: BTreeMap<String, String>,
    pub(crate) metric: Option<String>,
    pub(crate) store: bool,
    pub(crate) from_cache: Option<String>,
    pub(crate) receipt: bool,
    pub(crate) route: Option<String>,
    pub(crate) takes: Option<Vec<Source>>,
    pub(crate) each: Option<Words>,
    pub(crate) ends: Ends,
    pub(crate) http: bool,
    pub(crate) http1: bool,
    pub(crate) source: Option<String>,
    pub(crate) thread_cpu: bool,
}

/// How a stream reaches the contender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Source {
    /// As its standard input.
    Pipe,
    Tcp,
    Unix,
}

/// Whether a process ends by itself; it does unless its row says otherwise.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(transparent)]
pub(crate) struct Ends(pub(crate) bool);

impl Default for Ends {
    fn default() -> Self {
        Self(true)
    }
}

/// A command line. In the file it is a list, or a text that is split at spaces.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(from = "Written")]
pub(crate) struct Words(pub(crate) Vec<String>);

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    List(Vec<String>),
}

impl From<Written> for Words {
    fn from(written: Written) -> Self {
        match written {
            Written::Text(text) => Self(text.split_whitespace().map(str::to_owned).collect()),
            Written::List(words) => Self(words),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    program: Vec<Program>,
    contender: BTreeMap<Race, Vec<toml::Table>>,
}

/// Every program, in the order of the table.
pub(crate) fn programs() -> Result<Vec<Program>> {
    Ok(read()?.program)
}

/// The rows of one race, in the order of the table.
pub(super) fn rows(race: Race) -> Result<Vec<Row>> {
    let written = read()?.contender.remove(&race).unwrap_or_default();
    let mut rows: Vec<toml::Table> = Vec::new();
    for row in written {
        let row = completed(row, &rows)?;
        rows.push(row);
    }
    let row = |row: toml::Table| {
        row.try_into()
            .context(|| "a row of contenders.toml cannot be read".into())
    };
    rows.into_iter().map(row).collect()
}

/// The content of a file that a row names.
pub(super) fn file(name: &str) -> Result<&'static str> {
    let found = FILES.iter().find(|(known, _)| *known == name);
    let text = found.map(|(_, text)| *text);
    text.ok_or_else(|| Error::new(format!("contenders.toml: there is no file {name}")))
}

fn read() -> Result<Table> {
    toml::from_str(TABLE).context(|| "contenders.toml cannot be read".into())
}

/// Adds the fields of the earlier row that this one is like.
fn completed(mut row: toml::Table, earlier: &[toml::Table]) -> Result<toml::Table> {
    let Some(like) = row.remove("like") else {
        return Ok(row);
    };
    let base = earlier.iter().find(|base| base.get("name") == Some(&like));
    let unknown = || format!("contenders.toml: no earlier row is called {like:?}");
    let base = base.ok_or_else(|| Error::new(unknown()))?;
    let mut whole = base.clone();
    whole.extend(row);
    Ok(whole)
}

impl Program {
    /// Where to get the program, for people who do not have it.
    pub(crate) fn package(&self) -> String {
        let crates = self.krate.as_deref().and_then(|krate| {
            let (name, _version) = krate.split_once('@')?;
            Some(format!("crate {name}"))
        });
        let python = self.pypi.as_deref().and_then(|package| {
            let (name, _version) = package.split_once("==")?;
            Some(format!("Python package {name}"))
        });
        let others = || crates.or(python).or(self.built_from.clone());
        match &self.debian[..] {
            [] => others().unwrap_or_default(),
            packages => format!("Debian package {}", packages.join(" and ")),
        }
    }
}

impl Row {
    /// The whole command line, before names are filled in.
    pub(crate) fn words(&self) -> impl Iterator<Item = &str> {
        let words = self.words.0.iter().chain(&self.more.0);
        words.map(String::as_str)
    }

    /// The variables of its environment, as NAME=VALUE, before names are filled in.
    pub(crate) fn environment(&self) -> impl Iterator<Item = &str> {
        self.environment.0.iter().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> toml::Table {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_row_that_is_like_another_has_what_it_does_not_say() {
        let base = table("name = 'a'\nprogram = 'p'\nwords = 'x y'\n");
        let row = table("name = 'b'\nlike = 'a'\nwords = ['x y', '']\n");
        let row: Row = completed(row, std::slice::from_ref(&base))
            .unwrap()
            .try_into()
            .unwrap();
        assert_eq!((row.name.as_str(), row.program.as_str()), ("b", "p"));
        assert_eq!(row.words.0, ["x y", ""]);
        assert!(completed(table("name = 'c'\nlike = 'b'"), &[base]).is_err());
    }

    #[test]
    fn what_is_misspelt_in_a_row_is_an_error() {
        let row: std::result::Result<Row, _> = table("name = 'a'\nprogramm = 'p'").try_into();
        assert!(row.is_err());
    }

    #[test]
    fn every_program_says_where_it_comes_from() {
        for program in programs().unwrap() {
            assert!(!program.package().is_empty(), "{}", program.name);
        }
    }

    #[test]
    fn every_configuration_of_the_folder_is_known() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/rivals");
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.path().is_file() {
                file(&entry.file_name().to_string_lossy()).unwrap();
            }
        }
    }
}
