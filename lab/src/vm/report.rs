//! The report on a machine that has ended.

use super::machine::{End, Outcome};
use super::{FAILED, Options};

/// The exit code of timeout(1), and a shell's exit code for SIGINT.
const TIMED_OUT: u8 = 124;
const INTERRUPTED: u8 = 130;
/// How many lines of the console are shown if a machine is lost. If its kernel panicked, this many
/// lines before the panic and all after it.
const LAST_LINES: usize = 20;

/// The command's own exit code, or one that says why there is none.
pub(super) fn code(end: &End) -> u8 {
    match end {
        End::Command(status) => *status,
        End::TimedOut => TIMED_OUT,
        End::Interrupted => INTERRUPTED,
        End::Lost(_) => FAILED,
    }
}

/// The text for standard error, in whole lines. Empty if all went well and nothing more was asked
/// for.
pub(super) fn message(outcome: &Outcome, options: &Options) -> String {
    let console = match &outcome.end {
        _ if options.verbose => outcome.console.clone(),
        End::Lost(_) => end_of(&outcome.console),
        _ => String::new(),
    };
    let line = match &outcome.end {
        End::Command(_) => String::new(),
        End::TimedOut => format!(
            "lab: the machine ran for {} s, and was ended",
            options.timeout
        ),
        End::Interrupted => "lab: interrupted".to_owned(),
        End::Lost(why) => format!("lab: the machine was lost; {why}"),
    };
    let parts = [console.trim_end(), &line];
    let said = parts.into_iter().filter(|part| !part.is_empty());
    said.flat_map(|part| [part, "\n"]).collect()
}

fn end_of(console: &str) -> String {
    let lines: Vec<&str> = console.lines().collect();
    let panic = lines.iter().position(|line| line.contains("Kernel panic"));
    let from = panic.unwrap_or(lines.len()).saturating_sub(LAST_LINES);
    lines[from..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(lines: std::ops::Range<usize>) -> Vec<String> {
        lines.map(|line| format!("line {line}")).collect()
    }

    #[test]
    fn a_quiet_end_shows_its_last_lines() {
        let console = numbered(0..100).join("\r\n");
        assert_eq!(end_of(&console), numbered(80..100).join("\n"));
        assert_eq!(end_of("short"), "short");
        assert_eq!(end_of(""), "");
    }

    #[test]
    fn a_panic_is_shown_whole() {
        let mut lines = numbered(0..100);
        lines[30] = "Kernel panic - not syncing".to_owned();
        assert_eq!(end_of(&lines.join("\n")), lines[10..].join("\n"));
    }
}
