//! If `underpass measure` is ended early, it leaves nothing behind.

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Dir, Running, needs, nobody, underpass, unprivileged};

/// A run in progress: the test file exists, and links and probes too, if they can be made.
fn started(dir: &Dir) -> Running {
    let args = ["measure", "--counts-only", "--dir", dir.root()];
    let running = Running::start(underpass(&args));
    let file = format!("{}/", dir.root());
    let more: &[&str] = if needs::is_root() {
        // The last thing that is made before the first byte moves.
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
        outcome.fails(code, &["ended before everything was measured"]);
        assert_no_trace(&dir);
        let events = std::fs::read_to_string("/sys/kernel/tracing/kprobe_events");
        let events = events.unwrap_or_default();
        assert!(!events.contains(&format!("underpass_{pid}/")), "{events}");
    }
}

/// All processes of an unprivileged user share one limit on pinned memory. Each run may use it up
/// at any moment, and waits only for reports that will come.
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
    // Two at a time, so that they compete for the limit.
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

/// Nobody can clean up after SIGKILL; kernel events are left to the next run.
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
