//! `lab memory`: the peak resident memory of underpass must not grow with what it moves.

mod commands;

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use self::commands::{Bench, COMMANDS};
use crate::error::{Error, Result};
use crate::header::Header;
use crate::table::Table;
use crate::{output, program, size, sys, testfile};

/// What every command must stay below, whatever the size of the file: the project's promise.
const LIMIT_KIB: u64 = 12 << 10;
const SMALL: u64 = 1 << 20;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Size of the large file, which is sparse; what is received from it is not
    #[arg(long, default_value = "4GiB", value_parser = size::parse)]
    size: u64,
    /// The underpass binary [default: the one built beside the lab, else the one on PATH]
    #[arg(long, value_name = "PATH")]
    underpass: Option<PathBuf>,
    /// Where to make files, which are removed afterwards [default: the system's temporary
    /// directory]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Also write every sample to this file, as one JSON object
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Peak memory in KiB of one command, for each of the files.
struct Row {
    name: &'static str,
    peaks: Vec<Result<u64>>,
}

/// Measures, and prints the result. Fails if a command is over the limit or did not do its work.
pub(crate) fn run_all(options: &Options) -> Result<()> {
    let underpass = program::underpass(options.underpass.as_deref())?;
    let underpass = underpass
        .ok_or_else(|| Error::new("no underpass binary: build it or name it with --underpass"))?;
    let header = Header::here()
        .with("underpass", program::describe(Some(&underpass)))
        .with("limit", size::exact(LIMIT_KIB << 10));
    let place = options.dir.clone().unwrap_or_else(std::env::temp_dir);
    testfile::check_space(&place, options.size)?;
    let dir = testfile::work_dir(&place)?;

    let sizes = [options.size, SMALL];
    let rows = measure(&underpass, dir.path(), &sizes)?;
    print(options, &header, &sizes, &rows)?;
    verdict(&rows)
}

fn measure(underpass: &Path, dir: &Path, sizes: &[u64]) -> Result<Vec<Row>> {
    let mut rows: Vec<_> = COMMANDS
        .iter()
        .map(|(name, _)| Row {
            name,
            peaks: Vec::new(),
        })
        .collect();
    for &size in sizes {
        let from = testfile::make_sparse(dir, "source", size)?;
        let to = dir.join("target");
        let bench = Bench {
            underpass: underpass.to_owned(),
            from,
            to: to.clone(),
            size,
        };
        for (row, (_, measure)) in rows.iter_mut().zip(COMMANDS) {
            let finished = measure(&bench);
            if sys::interrupted() {
                return Err(Error::new("interrupted"));
            }
            row.peaks
                .push(finished.map(|finished| finished.usage.max_rss_kib));
            // Only some commands make the file, and one that failed may not have.
            let _ = fs::remove_file(&to);
        }
    }
    Ok(rows)
}

fn print(options: &Options, header: &Header, sizes: &[u64], rows: &[Row]) -> Result<()> {
    output::save(options.json.as_deref(), || {
        let rows: Vec<_> = rows.iter().map(Row::to_json).collect();
        json!({ "header": header, "sizes": sizes, "limit_kib": LIMIT_KIB, "commands": rows })
    })?;
    let sizes: Vec<_> = sizes.iter().map(|&size| size::exact(size)).collect();
    let headings = ["peak resident, MiB"]
        .into_iter()
        .chain(sizes.iter().map(String::as_str));
    let mut table = Table::new(&headings.collect::<Vec<_>>());
    for row in rows {
        table.row(
            [row.name.to_owned()]
                .into_iter()
                .chain(row.peaks.iter().map(cell)),
        );
    }
    let failures: Vec<_> = rows
        .iter()
        .flat_map(Row::failures)
        .map(|why| why + "\n")
        .collect();
    output::print(&format!("{header}\n{table}{}", failures.concat()))
}

fn cell(peak: &Result<u64>) -> String {
    match peak {
        Ok(kib) if *kib > LIMIT_KIB => format!("{:.1} OVER", *kib as f64 / 1024.0),
        Ok(kib) => format!("{:.1}", *kib as f64 / 1024.0),
        Err(_) => "VOID".to_owned(),
    }
}

impl Row {
    fn failures(&self) -> Vec<String> {
        let failed = self.peaks.iter().filter_map(|peak| peak.as_ref().err());
        failed
            .map(|why| format!("VOID: {}: {why}", self.name))
            .collect()
    }

    fn is_bad(&self) -> bool {
        self.peaks
            .iter()
            .any(|peak| !matches!(peak, Ok(kib) if *kib <= LIMIT_KIB))
    }

    fn to_json(&self) -> Value {
        let peak = |peak: &Result<u64>| match peak {
            Ok(kib) => json!(kib),
            Err(why) => json!({ "void": why.to_string() }),
        };
        json!({ "name": self.name, "max_rss_kib": self.peaks.iter().map(peak).collect::<Value>() })
    }
}

fn verdict(rows: &[Row]) -> Result<()> {
    let bad: Vec<_> = rows
        .iter()
        .filter(|row| row.is_bad())
        .map(|row| row.name)
        .collect();
    if bad.is_empty() {
        return Ok(());
    }
    Err(Error::new(format!(
        "over {} or void: {}",
        size::exact(LIMIT_KIB << 10),
        bad.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_itself_is_allowed_and_a_failure_is_not() {
        let row = |peak| Row {
            name: "x",
            peaks: vec![Ok(1), peak],
        };
        assert!(verdict(&[row(Ok(LIMIT_KIB))]).is_ok());
        assert!(verdict(&[row(Ok(LIMIT_KIB + 1))]).is_err());
        assert!(verdict(&[row(Err(Error::new("broken")))]).is_err());
        assert_eq!(cell(&Ok(LIMIT_KIB)), "12.0");
        assert_eq!(cell(&Ok(LIMIT_KIB * 2)), "24.0 OVER");
    }
}
