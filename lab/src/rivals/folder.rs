//! A run's folder: a record and the commands of each scenario, and the summary of everything in it.
//! From the first moment until the end, it is marked as incomplete.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::summary::{NOTES, Told};
use super::{html, markdown};
use crate::commands::Commands;
use crate::error::{Context, Error, Result};
use crate::header;
use crate::record::Record;
use crate::scenario;

const INCOMPLETE: &str = "INCOMPLETE";
const INTRODUCTION: &str = "This run was cut short, or is under way. `lab rivals NAME --into` this folder runs what is missing:";

pub(super) struct Folder(PathBuf);

impl Folder {
    /// Makes the folder if it does not exist, and marks it. `names` are the scenarios that will
    /// run.
    pub(super) fn open(into: Option<&Path>, quick: bool, names: &[&str]) -> Result<Self> {
        let path = into.map_or_else(|| unused(quick), |into| Ok(into.to_owned()))?;
        fs::create_dir_all(&path).context(|| format!("cannot make {}", path.display()))?;
        let folder = Self(path);
        let mut missing = folder.missing()?;
        missing.extend(names.iter().map(|&name| name.to_owned()));
        folder.mark(&missing)?;
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Saves one scenario, and makes the summary again.
    pub(super) fn keep(&self, record: &Record, commands: &Commands) -> Result<()> {
        let name = &record.scenario.name;
        let json = serde_json::to_string(record).context(|| format!("cannot keep {name}"))?;
        self.write(&format!("{name}.json"), &(json + "\n"))?;
        self.write(&format!("{name}.commands.txt"), &commands.to_string())?;
        let mut missing = self.missing()?;
        missing.remove(name);
        self.mark(&missing)?;
        self.summarise(&missing)
    }

    /// Removes the mark, if nothing is missing.
    pub(super) fn close(&self) -> Result<()> {
        let missing = self.missing()?;
        if missing.is_empty() {
            let mark = self.0.join(INCOMPLETE);
            fs::remove_file(&mark).context(|| format!("cannot remove {}", mark.display()))?;
        }
        self.summarise(&missing)
    }

    fn summarise(&self, missing: &BTreeSet<String>) -> Result<()> {
        let records = self.records()?;
        let read = |name: &str| {
            let path = self.0.join(name);
            fs::read_to_string(&path).context(|| format!("cannot read {}", path.display()))
        };
        let machine = read("machine.txt")?;
        let told = Told {
            records: &records,
            missing: missing.iter().map(String::as_str).collect(),
            machine: &machine,
            notes: self.0.join(NOTES).exists(),
        };
        self.write("summary.md", &markdown::summary(&told))?;
        self.write("summary.html", &html::summary(&told))
    }

    /// The records, in the order in which scenarios run.
    fn records(&self) -> Result<Vec<Record>> {
        let paths = scenario::all()?
            .into_iter()
            .map(|one| Record::path(&self.0, &one.name));
        paths
            .filter(|path| path.exists())
            .map(|path| Record::read(&path))
            .collect()
    }

    fn missing(&self) -> Result<BTreeSet<String>> {
        let mark = self.0.join(INCOMPLETE);
        match fs::read_to_string(&mark) {
            Ok(text) => Ok(text.lines().skip(1).map(str::to_owned).collect()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeSet::new()),
            Err(error) => Err(error).context(|| format!("cannot read {}", mark.display())),
        }
    }

    fn mark(&self, missing: &BTreeSet<String>) -> Result<()> {
        let lines = [INTRODUCTION].into_iter();
        let lines: Vec<_> = lines.chain(missing.iter().map(String::as_str)).collect();
        self.write(INCOMPLETE, &(lines.join("\n") + "\n"))
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.0.join(name);
        fs::write(&path, text).context(|| format!("cannot write {}", path.display()))
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

/// An unused name such as `lab/runs/2026-11-25-rivals`, with a number after it if needed. If there
/// is no `lab/runs`, it is in the current directory.
fn unused(quick: bool) -> Result<PathBuf> {
    let runs = Path::new("lab/runs");
    let around = if runs.is_dir() { runs } else { Path::new("") };
    let quick = if quick { "-quick" } else { "" };
    let name = format!("{}-rivals{quick}", header::today());
    let numbered = (2..1000).map(|number| around.join(format!("{name}-{number}")));
    let mut names = [around.join(&name)].into_iter().chain(numbered);
    let free = names.find(|path| !path.exists());
    free.ok_or_else(|| Error::new(format!("there are too many runs called {name}")))
}
