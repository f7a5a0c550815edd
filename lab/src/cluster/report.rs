//! What clients saw, as a table and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde::Serialize;
use serde_json::json;

use super::crowd::Seen;
use super::meter::Passed;
use super::objects::Outcome;
use crate::error::{Context, Result};
use crate::header::Header;

/// Failures of which the report has each.
const MOST_TOLD: usize = 20;

/// What clients saw during one fault.
#[derive(Debug, Serialize)]
pub(super) struct Phase {
    pub(super) fault: &'static str,
    requests: u64,
    whole: u64,
    bytes: u64,
    /// Failed while nothing could serve them.
    excused: u64,
    failed: u64,
    wrong: u64,
    outcomes: BTreeMap<String, u64>,
    p50_ms: f64,
    p99_ms: f64,
    longest_ms: f64,
    store_requests: u64,
    store_bytes: u64,
    /// The first failures that nothing excuses, and everything that was wrong.
    told: Vec<String>,
}

impl Phase {
    /// `excuses` says whether nothing could serve a request that failed.
    pub(super) fn of(
        fault: &'static str,
        seen: &[Seen],
        excuses: impl Fn(&Seen) -> bool,
        passed: &Passed,
    ) -> Self {
        let mut phase = Self {
            fault,
            requests: seen.len() as u64,
            whole: 0,
            bytes: seen.iter().map(|one| one.bytes).sum(),
            excused: 0,
            failed: 0,
            wrong: 0,
            outcomes: BTreeMap::new(),
            p50_ms: 0.0,
            p99_ms: 0.0,
            longest_ms: 0.0,
            store_requests: passed.asked("").count,
            store_bytes: passed.bytes,
            told: Vec::new(),
        };
        for one in seen {
            *phase.outcomes.entry(short(&one.outcome)).or_default() += 1;
            match &one.outcome {
                Outcome::Whole => phase.whole += 1,
                Outcome::Wrong(_) => {
                    phase.wrong += 1;
                    phase.tell(one);
                }
                _ if excuses(one) => phase.excused += 1,
                _ => {
                    phase.failed += 1;
                    phase.tell(one);
                }
            }
        }
        let mut took: Vec<f64> = seen
            .iter()
            .map(|one| one.ended.saturating_sub(one.began).as_secs_f64() * 1e3)
            .collect();
        took.sort_by(f64::total_cmp);
        let at = |part: f64| {
            let last = took.len().saturating_sub(1);
            took.get((last as f64 * part) as usize)
                .copied()
                .unwrap_or(0.0)
        };
        (phase.p50_ms, phase.p99_ms, phase.longest_ms) = (at(0.5), at(0.99), at(1.0));
        phase
    }

    fn tell(&mut self, one: &Seen) {
        if self.told.len() < MOST_TOLD {
            self.told.push(format!(
                "object {} from {:.3} s to {:.3} s: {:?}",
                one.object,
                one.began.as_secs_f64(),
                one.ended.as_secs_f64(),
                one.outcome
            ));
        }
    }

    /// Whether all is as it must be.
    pub(super) fn is_right(&self) -> bool {
        self.wrong == 0 && self.failed == 0 && self.whole > 0
    }
}

fn short(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Whole => "whole".to_owned(),
        Outcome::Cut => "cut".to_owned(),
        Outcome::Refused(status) => status.to_string(),
        Outcome::Nothing(_) => "no answer".to_owned(),
        Outcome::Wrong(_) => "wrong".to_owned(),
    }
}

/// The table, as Markdown.
pub(super) fn text(phases: &[Phase]) -> String {
    let mut text = String::from(
        "| what went wrong | requests | whole | excused | failed | wrong | p50 ms | p99 ms | \
         longest ms | MB | from the store, MB | asked of it |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for phase in phases {
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {:.1} | {:.1} | {:.0} | {:.0} | {:.0} | {} |",
            phase.fault,
            phase.requests,
            phase.whole,
            phase.excused,
            phase.failed,
            phase.wrong,
            phase.p50_ms,
            phase.p99_ms,
            phase.longest_ms,
            megabytes(phase.bytes),
            megabytes(phase.store_bytes),
            phase.store_requests,
        );
    }
    for phase in phases {
        let others = phase.outcomes.iter().filter(|(name, _)| *name != "whole");
        let others: Vec<_> = others
            .map(|(name, count)| format!("{count} {name}"))
            .collect();
        if !others.is_empty() {
            let _ = writeln!(text, "\n{}: {}", phase.fault, others.join(", "));
        }
        for line in &phase.told {
            let _ = writeln!(text, "- {line}");
        }
    }
    text
}

/// Writes the table, the numbers, and the commands into a folder.
pub(super) fn keep(folder: &Path, header: &Header, phases: &[Phase], commands: &str) -> Result<()> {
    let numbers = json!({ "header": header, "phases": phases });
    for (name, text) in [
        (
            "summary.md",
            format!("```text\n{header}```\n\n{}", text(phases)),
        ),
        ("cluster.json", format!("{numbers}\n")),
        ("commands.txt", commands.to_owned()),
    ] {
        write(folder, name, &text)?;
    }
    Ok(())
}

/// Writes a file of a folder, which is made if it is not there.
pub(super) fn write(folder: &Path, name: &str, text: &str) -> Result<()> {
    fs::create_dir_all(folder).context(|| format!("cannot make {}", folder.display()))?;
    let path = folder.join(name);
    fs::write(&path, text).context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn failures_and_wrong_bytes_are_counted_apart() {
        let seen = |outcome| Seen {
            began: Duration::ZERO,
            ended: Duration::from_millis(2),
            object: 1,
            bytes: 10,
            outcome,
        };
        let phase = |outcomes: &[Outcome], excused| {
            let seen: Vec<_> = outcomes.iter().cloned().map(seen).collect();
            Phase::of("a fault", &seen, |_| excused, &Passed::default())
        };
        let right = phase(&[Outcome::Whole], false);
        assert!(right.is_right() && right.bytes == 10);
        assert!(!phase(&[], false).is_right());
        for outcome in [
            Outcome::Cut,
            Outcome::Refused(503),
            Outcome::Nothing(String::new()),
            Outcome::Wrong(String::new()),
        ] {
            let phase = phase(&[Outcome::Whole, outcome], false);
            assert!(!phase.is_right() && phase.told.len() == 1, "{phase:?}");
            assert!(text(&[phase]).contains("- object 1 from 0.000 s to 0.002 s: "));
        }
        let halted = phase(&[Outcome::Whole, Outcome::Refused(503)], true);
        assert!(halted.is_right() && halted.excused == 1);
    }
}
