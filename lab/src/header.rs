//! The header of every result: when, where, and by which command it was made.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;

use serde::{Deserialize, Serialize};

use crate::stats::Summary;

/// If the bare loop's highest value is more than this many times its lowest, a run is called noisy.
const NOISY: f64 = 1.25;

/// The circumstances of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Header {
    date: String,
    kernel: String,
    cpu: String,
    cpus: usize,
    command: String,
    conditions: BTreeMap<String, String>,
}

impl Header {
    /// Collect this before pinning, which would hide the other processors.
    pub(crate) fn here() -> Self {
        Self {
            date: utc_now(),
            kernel: kernel(),
            cpu: cpu_model(),
            cpus: cpus(),
            command: command_line(),
            conditions: BTreeMap::new(),
        }
    }

    /// Adds another fact that a reader needs to repeat the run.
    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.conditions.insert(name.to_owned(), value.into());
        self
    }
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, value: &str| writeln!(f, "{name:<10} {value}");
        line("date", &self.date)?;
        line("kernel", &self.kernel)?;
        line("cpu", &format!("{} ({} usable)", self.cpu, self.cpus))?;
        line("command", &self.command)?;
        self.conditions
            .iter()
            .try_for_each(|(name, value)| line(name, value))
    }
}

/// The warning under a table whose bare loop itself varied too much.
pub(crate) fn noisy(yardstick: &str, summary: &Summary) -> Option<String> {
    let spread = summary.spread();
    let warning = || {
        format!(
            "WARNING: noisy machine: {yardstick} varied by {spread:.2} (over {NOISY}) between rounds."
        )
    };
    (spread > NOISY).then(warning)
}

/// The date in UTC, such as `2026-11-25`.
pub(crate) fn today() -> String {
    let now = utc_now();
    now.split(' ').next().unwrap_or(&now).to_owned()
}

fn utc_now() -> String {
    let now = jiff::Timestamp::now();
    now.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

fn kernel() -> String {
    let uname = rustix::system::uname();
    let parts = [
        uname.sysname(),
        uname.release(),
        uname.version(),
        uname.machine(),
    ];
    parts
        .map(|part| part.to_string_lossy().into_owned())
        .join(" ")
}

fn cpu_model() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find(|line| line.starts_with("model name"));
    let model = model
        .and_then(|line| line.split_once(':'))
        .map(|(_, name)| name.trim().to_owned());
    model.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn command_line() -> String {
    let words: Vec<_> = std::env::args_os()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    words.join(" ")
}
