//! The command line of `underpass top`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;

use crate::values::duration;

// `underpass top`
#[derive(Debug, clap::Args)]
pub(crate) struct TopArgs {
    /// The processes to watch, by number or by name: that of the program, without its directory.
    /// Without any, all
    #[arg(value_name = "PID|NAME", conflicts_with = "command")]
    pub(crate) processes: Vec<Watched>,
    /// How long to count before each report
    #[arg(short, long, value_name = "TIME", default_value = "2s", value_parser = duration::parse)]
    pub(crate) interval: Duration,
    /// End after N reports. Without it, Ctrl-C ends it, or `q` on a terminal
    #[arg(short = 'n', long, value_name = "N", conflicts_with = "command")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) count: Option<u32>,
    /// Which processes come first
    #[arg(short, long, value_enum, value_name = "BY", default_value = "copies")]
    pub(crate) sort: SortBy,
    /// Print one JSON object for each report, on one line
    #[arg(long)]
    pub(crate) json: bool,
    /// Also write the last report as one self-contained HTML page, with a picture of each process
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Run this command, count it and all that it starts, and report on standard error when it has
    /// ended. Its exit code is passed on
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// A process that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Watched {
    /// The one with this number.
    Pid(u32),
    /// All with this name.
    Name(String),
}

impl FromStr for Watched {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("the name of a process cannot be empty".to_owned());
        }
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Self::Name(text.to_owned()));
        }
        let pid = text.parse().ok().filter(|pid| *pid > 0);
        pid.map(Self::Pid)
            .ok_or_else(|| format!("{text} is no number that a process can have"))
    }
}

/// What the processes are in the order of; the largest comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SortBy {
    /// Bytes that the CPU copied
    Copies,
    /// Bytes that were moved
    Bytes,
    /// CPU time
    Cpu,
}

pub(super) const EXAMPLES: &str = "\
Examples:
  underpass top -- cp in.bin out.bin     # one command, as perf stat does
  sudo underpass top                     # all processes; q ends it
  sudo underpass top nginx               # all of this name: is it zero-copy?
  sudo underpass top 4711 --interval 10s --count 1 --json > nginx.json
  sudo underpass top --html copies.html -- rsync -a photos/ backup/

For each process: bytes in and out, copies by the CPU for each byte, mode
switches for each MiB, the CPU time, and a verdict with its reason. `*` after a
number of copies: expected, that is documented for these calls and not counted.
As root, copies are counted where the kernel lets its functions be watched.

On a terminal: q ends it, s changes the order, p pauses. Without root only what
/proc tells of one's own processes is seen; a line says what root would add.

Exit codes with a COMMAND: its own; 128 and the number of the signal that ended
it; 126 if it cannot be run, 127 if there is none of that name.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_processes_and_all_else_is_a_name() {
        for (text, want) in [
            ("1", Some(Watched::Pid(1))),
            ("4711", Some(Watched::Pid(4711))),
            ("nginx", Some(Watched::Name("nginx".to_owned()))),
            ("7z", Some(Watched::Name("7z".to_owned()))),
            ("0", None),
            ("99999999999", None),
            ("", None),
        ] {
            assert_eq!(text.parse().ok(), want, "{text}");
        }
    }
}
