//! `underpass measure` that is ended before its time leaves nothing behind.

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Dir, Running, needs, nobody, underpass, unprivileged};

/// A run under way: the test file is made, and where they can be made, links and probes are.
fn started(dir: &Dir) -> Running {
    let args = ["measure", "--counts-only", "--dir", dir.root()];
    let running = Running::start(underpass(&args));
    let file = format!("{}/", dir.root());
    let more: &[&str] = if needs::is_root() {
        // The last that is made before the first byte moves.
        &["net:[", "anon_inode:[perf_event]"]
    } else {
        &[]
    };
    running.await_descriptors(&[&[file.as_str(), "socket:["], more].concat());
    running
}

#[test]
fn a_signal_ends_it_with_one_line() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let dir = Dir::new();
        let running = started(&dir);
        let pid = running.pid();
        running.signal(signal);
        let outcome = running.finish();
        assert_eq!(outcome.text(), "", "no report of a part");
        outcome.fails(code, &["ended before all was measured"]);
        assert_no_trace(&dir);
        let events = std::fs::read_to_string("/sys/kernel/tracing/kprobe_events");
        let events = events.unwrap_or_default();
        assert!(!events.contains(&format!("underpass_{pid}/")), "{events}");
    }
}

/// Users without rights share one budget of memory that the kernel may pin for sending, and each
/// run may spend it at any moment: it waits only for what is to come.
#[test]
fn pitfall_16_runs_of_a_user_without_rights_end() {
    const RUNS: usize = 12;
    let args = [
        "measure",
        "--counts-only",
        "--ways",
        "send-zerocopy",
        "--links",
        "loopback",
    ];
    // Two at a time, so that they take it from each other.
    for _ in 0..RUNS / 2 {
        let dir = Dir::new();
        let args = [&args[..], &["--json", "--quiet", "--dir", dir.root()]].concat();
        if unprivileged(&args).is_none() {
            return;
        }
        let both = [(); 2].map(|()| Running::start(nobody(underpass(&args), &dir)));
        for running in both {
            let report: Value = serde_json::from_str(running.finish().ok().text()).unwrap();
            let row = &report["per_unit"][0];
            assert_eq!(row["way"], "send-zerocopy", "{row}");
        }
    }
}

/// Nobody can clear away after that; kernel events are left to the next run.
#[test]
fn killed_it_leaves_no_file_and_no_interface() {
    let dir = Dir::new();
    let running = started(&dir);
    running.signal(Signal::KILL);
    assert_eq!(running.finish().code, 137);
    assert_no_trace(&dir);
}

fn assert_no_trace(dir: &Dir) {
    assert_eq!(dir.names(), [""; 0]);
    let interfaces = std::fs::read_to_string("/proc/net/dev").unwrap();
    assert!(!interfaces.contains("underpass"), "{interfaces}");
}
