//! The exit codes, and the failures that lead to them.

use std::fmt::Display;
use std::process::ExitCode;

use crate::report;

/// The text that `--help` shows.
pub(crate) const HELP: &str = "\
Exit codes:
  0    done: every byte was taken by the other side
  1    failed: a file, an address, the disk or the kernel refused
  2    usage: the arguments cannot be right, or no route serves
  3    incomplete: the source ended early, or the peer went away or fell silent
  4    measure --verify: nothing failed, but not all could be counted here
  129, 130, 143  ended by SIGHUP (servers reload), SIGINT (Ctrl-C), SIGTERM;
                 128 and the number by other signals";

/// Why a command ended without success: a line for the user and a code.
#[derive(Debug)]
pub(crate) struct Failure {
    line: String,
    code: u8,
}

impl Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.line)
    }
}

impl Failure {
    pub(crate) fn failed(line: impl Display) -> Self {
        Self::new(line, 1)
    }

    pub(crate) fn usage(line: impl Display) -> Self {
        Self::new(line, 2)
    }

    pub(crate) fn incomplete(line: impl Display) -> Self {
        Self::new(line, 3)
    }

    /// Nothing is wrong, as far as could be found out; but not everything could be.
    pub(crate) fn undecided(line: impl Display) -> Self {
        Self::new(line, 4)
    }

    /// The failure of a command that a signal ended. The exit code is the one that a shell gives to
    /// a process that was killed by that signal.
    pub(crate) fn interrupted(line: impl Display, signal: usize) -> Self {
        Self::new(line, 128_u8.wrapping_add(signal as u8))
    }

    /// The exit code of a command that was run, passed on. There is nothing to say: it has said
    /// itself what was wrong.
    pub(crate) fn passed_on(code: u8) -> Self {
        Self::new("", code)
    }

    /// The failure of a command that could not be run, with the codes of env(1).
    pub(crate) fn not_run(line: impl Display, is_missing: bool) -> Self {
        Self::new(line, if is_missing { 127 } else { 126 })
    }

    /// The same failure with more text.
    pub(crate) fn and(mut self, more: &str) -> Self {
        self.line.push_str(more);
        self
    }

    fn new(line: impl Display, code: u8) -> Self {
        let line = line.to_string();
        Self { line, code }
    }

    /// Prints the line to standard error, and returns the code.
    pub(crate) fn report(&self) -> ExitCode {
        if !self.line.is_empty() {
            report::notice(&self.line);
        }
        ExitCode::from(self.code)
    }
}
