//! `underpass top`: the command, its screen, and what it runs. What it counts is in `top_counts`.

use std::io::Read;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Dir, Running, Terminal, run, underpass, unprivileged};

/// The shortest interval: these tests look at the command, not at its counts.
const SOON: &str = "--interval=100ms";

fn schema() -> jsonschema::Validator {
    let schema = include_str!("../../underpass-measure/top.schema.json");
    jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap()
}

#[test]
fn each_report_is_one_line_of_json_that_the_schema_accepts() {
    let outcome = run(&["top", SOON, "--count=3", "--json"]).ok();
    let lines: Vec<_> = outcome.text().lines().collect();
    assert_eq!(lines.len(), 3);
    let schema = schema();
    for line in lines {
        let report: Value = serde_json::from_str(line).unwrap();
        let errors: Vec<_> = schema
            .iter_errors(&report)
            .map(|it| it.to_string())
            .collect();
        assert_eq!(errors, [""; 0]);
        assert_eq!(
            report["command"],
            "underpass top --interval=100ms --count=3 --json"
        );
        assert!(report["seconds"].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn a_user_without_rights_gets_a_report_and_is_told_what_root_would_add() {
    let Some(command) = unprivileged(&["top", SOON, "--count=1", "--json"]) else {
        return;
    };
    let outcome = Running::start(command).finish().ok();
    let report: Value = serde_json::from_str(outcome.text()).unwrap();
    assert!(schema().is_valid(&report), "{report}");
    let notes = report["notes"].to_string();
    assert!(notes.contains("root"), "{notes}");
}

#[test]
fn a_reader_that_has_seen_enough_ends_it_quietly() {
    let mut running = Running::start(underpass(&["top", SOON]));
    let mut output = running.stdout();
    let mut first = [0; 10];
    output.read_exact(&mut first).unwrap();
    drop(output);
    let outcome = running.finish();
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert!(
        !outcome.stderr.contains("Broken pipe"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_signal_ends_it_and_only_a_count_was_not_reached() {
    for (args, code) in [
        (&["top", SOON][..], 0),
        (&["top", SOON, "--count=1000000"], 143),
    ] {
        let mut running = Running::start(underpass(args));
        let mut output = running.stdout();
        let mut first = [0; 10];
        output.read_exact(&mut first).unwrap();
        running.signal(Signal::TERM);
        // It may fill the pipe before it sees the signal.
        std::io::copy(&mut output, &mut std::io::sink()).unwrap();
        assert_eq!(running.finish().code, code, "{args:?}");
    }
}

/// As perf stat does: its output is its own, its code is passed on, and the report is beside it.
#[test]
fn a_command_is_run_and_its_exit_code_passed_on() {
    for (script, code, output) in [
        ("echo hello", 0, "hello\n"),
        ("exit 7", 7, ""),
        ("kill -KILL $$", 137, ""),
        (
            "trap 'exit 5' TERM; kill -TERM $PPID; while :; do sleep 0.01; done",
            5,
            "",
        ),
    ] {
        let outcome = run(&["top", "--", "sh", "-c", script]);
        assert_eq!(outcome.code, code, "{script}: {}", outcome.stderr);
        assert_eq!(outcome.text(), output, "{script}");
        assert!(
            outcome.stderr.contains(" moved bytes in "),
            "{script}: {}",
            outcome.stderr
        );
    }
    let outcome = run(&["top", "--json", "--", "true"]);
    let line = outcome.stderr.lines().last().unwrap();
    assert!(
        schema().is_valid(&serde_json::from_str(line).unwrap()),
        "{line}"
    );
}

#[test]
fn a_command_that_cannot_be_run_is_told_with_the_code_of_a_shell() {
    let dir = Dir::in_memory();
    let file = dir.file("file", b"no program");
    run(&["top", "--", "no-such-program"]).fails(127, &["no-such-program", "cannot be run"]);
    run(&["top", "--", &file]).fails(126, &[&file, "cannot be run"]);
}

#[test]
fn the_page_has_the_command_that_made_it() {
    let dir = Dir::in_memory();
    let page = dir.path("top.html");
    run(&["top", SOON, "--count=1", "--html", &page]).ok();
    let text = std::fs::read_to_string(&page).unwrap();
    assert!(text.starts_with("<!DOCTYPE html>"), "{text}");
    assert!(text.contains(&format!("--html {page}")), "{text}");
    let outcome = run(&["top", SOON, "--count=1", "--html", &dir.path("no/top.html")]);
    assert_eq!(outcome.code, 1, "{}", outcome.stderr);
    let last = outcome.stderr.lines().last().unwrap();
    assert!(
        last.contains("no/top.html: there is no directory"),
        "{last}"
    );
}

/// The alternate screen and the cursor.
const ENTERED: &str = "\x1b[?1049h\x1b[?25l";
const LEFT: &str = "\x1b[?25h\x1b[?1049l";

/// A screen that shows a report.
fn screen(columns: u16) -> (Terminal, String) {
    let mut terminal = Terminal::with_keys(underpass(&["top", SOON]), columns);
    let shown = terminal.until("moved");
    assert!(shown.contains(ENTERED), "{shown:?}");
    assert!(!terminal.is_ordinary());
    (terminal, shown)
}

#[test]
fn keys_sort_pause_and_end_the_screen() {
    let (mut terminal, _) = screen(80);
    terminal.until("by bytes copied");
    terminal.press("s");
    terminal.until("by bytes moved");
    terminal.press("s");
    terminal.until("by CPU time");
    terminal.press("p");
    terminal.until("PAUSED");
    terminal.press("xyz\x1b[A");
    terminal.press("p");
    terminal.until("p pauses");
    terminal.press("q");
    assert_eq!(terminal.exit_code(), Some(0));
    assert!(terminal.is_ordinary());
    assert!(terminal.until(LEFT).ends_with(LEFT));
}

#[test]
fn signals_restore_the_terminal() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT] {
        let (mut terminal, _) = screen(80);
        terminal.signal(signal);
        assert_eq!(terminal.exit_code(), Some(0), "{signal:?}");
        assert!(terminal.is_ordinary(), "{signal:?}");
        assert!(terminal.until(LEFT).ends_with(LEFT));
    }
}

/// Ctrl-S stops the output, so that the first signal is not answered.
#[test]
fn the_second_of_two_signals_restores_what_it_can_and_ends_at_once() {
    let (mut terminal, _) = screen(80);
    terminal.press("\x13");
    terminal.signal(Signal::TERM);
    terminal.signal(Signal::HUP);
    let code = terminal.exit_code();
    assert!([Some(128 + 1), Some(128 + 15)].contains(&code), "{code:?}");
    assert!(terminal.is_ordinary());
}

/// As the shell sees it.
#[test]
fn a_stopped_program_gives_the_terminal_back_until_it_goes_on() {
    let (mut terminal, _) = screen(80);
    terminal.signal(Signal::TSTP);
    terminal.await_stop();
    assert!(terminal.is_ordinary());
    assert!(terminal.until(LEFT).ends_with(LEFT));
    terminal.signal(Signal::CONT);
    assert!(terminal.until(ENTERED).starts_with(ENTERED));
    terminal.until("moved");
    assert!(!terminal.is_ordinary());
    // The shell makes it ordinary, since SIGSTOP leaves no time for that.
    terminal.signal(Signal::STOP);
    terminal.await_stop();
    terminal.make_ordinary();
    terminal.signal(Signal::CONT);
    terminal.until(ENTERED);
    terminal.until("moved");
    assert!(!terminal.is_ordinary());
    terminal.press("q");
    assert_eq!(terminal.exit_code(), Some(0));
    assert!(terminal.is_ordinary());
}
