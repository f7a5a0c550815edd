//! A program that runs as `underpass top --json -- PROGRAM`, and what was counted of it.

use rustix::process::Signal;
use serde_json::Value;

use super::{Running, underpass};

/// It is ended, with what it started, if the test drops this.
pub(crate) struct Watched(Option<Running>);

impl Watched {
    pub(crate) fn start(words: &[&str]) -> Self {
        let mut command = underpass(&["top", "--json", "--"]);
        command.args(words);
        Self(Some(Running::start(command)))
    }

    pub(crate) fn running(&mut self) -> &mut Running {
        self.0.as_mut().unwrap()
    }

    /// Asks the program to end. `None`, with a line about it, if its calls could not be counted.
    #[track_caller]
    pub(crate) fn stop(mut self) -> Option<Counted> {
        self.running().signal(Signal::TERM);
        self.finish()
    }

    /// Waits for the program's end.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Option<Counted> {
        let outcome = self.0.take().unwrap().finish();
        let ended_as_asked = [0, 128 + Signal::TERM.as_raw()].contains(&outcome.code);
        assert!(ended_as_asked, "{outcome:?}");
        // The program's own messages come before it.
        let mut lines = outcome.stderr.lines();
        let report = lines.rfind(|line| line.starts_with("{\"form\""));
        let report = report.unwrap_or_else(|| panic!("no report: {outcome:?}"));
        let counted = Counted(serde_json::from_str(report).unwrap());
        if counted.0["source"] != "bpf" {
            eprintln!("skipped: {}", counted.0["notes"]);
            return None;
        }
        assert_eq!(counted.0["overhead"]["lost"], 0, "{report}");
        Some(counted)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(running) = self.0.take() {
            running.signal(Signal::TERM);
            // Without its output, a failing test would not say why.
            eprintln!("{:?}", running.finish());
        }
    }
}

/// The report.
pub(crate) struct Counted(Value);

impl Counted {
    pub(crate) fn processes(&self) -> &[Value] {
        self.0["processes"].as_array().unwrap()
    }

    /// The bytes from one kind of end to another, of all processes.
    pub(crate) fn bytes(&self, from: &str, to: &str) -> u64 {
        self.processes().iter().map(|it| moved(it, from, to)).sum()
    }

    /// The process that moved most of these.
    pub(crate) fn busiest(&self, from: &str, to: &str) -> &Value {
        let all = self.processes().iter();
        all.max_by_key(|process| moved(process, from, to)).unwrap()
    }
}

/// The bytes that a process moved from one kind of end to another, by calls.
pub(crate) fn moved(process: &Value, from: &str, to: &str) -> u64 {
    let calls = process["calls"].as_array().unwrap().iter();
    calls
        .filter(|call| call["family"] != "mmap_fault")
        .filter(|call| call["from"] == from && call["to"] == to)
        .map(|call| call["bytes"].as_u64().unwrap())
        .sum()
}
