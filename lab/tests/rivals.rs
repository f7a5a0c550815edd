//! `lab rivals` as a process: what it refuses, what it leaves behind, and which numbers do not
//! count.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use underpass_testing::needs;

/// A lab whose rivals are only those in `tests/rivals`, and what Debian has in /usr/sbin.
fn rivals(dir: &TempDir, words: &[&str]) -> Command {
    let mut lab = Command::new(env!("CARGO_BIN_EXE_lab"));
    lab.env("PATH", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rivals"))
        .env("TMPDIR", dir.path())
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .args(["rivals", "--no-pin"])
        .args(words);
    lab
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Waits for something that another process does, and fails if that takes too long.
fn until(what: &str, done: impl Fn() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn an_unknown_scenario_is_told_with_the_known_ones_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let output = rivals(&dir, &["send", "nonsense"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(
        said.contains("'nonsense'; there are http-small, "),
        "{said}"
    );
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn who_is_absent_is_listed_and_who_serves_other_bytes_is_void() {
    if !needs::tool("python3") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let words = [
        "http-idle",
        "--quick",
        "--only",
        "h2o",
        "--only",
        "Caddy",
        "--into",
        "run",
    ];
    let Output {
        status,
        stderr,
        stdout,
    } = rivals(&dir, &words).output().unwrap();
    let (said, shown) = (text(&stderr), text(&stdout));
    assert_eq!(status.code(), Some(1), "{said}{shown}");
    assert!(
        said.contains("lab: void: http-idle, 500 idle connections: h2o"),
        "{said}"
    );
    let run = dir.path().join("run");
    let summary = read(&run.join("summary.md"));
    for line in [
        "| h2o | VOID: /idle was not served as it is",
        "| Caddy | absent: not installed: Debian package caddy",
        "> **A SMOKE RUN, not to be quoted",
        "> **http-idle: 8 contenders were left out**",
        "> **VOID rows: http-idle, 500 idle connections: h2o**",
        "| ≤ 16 | – | – | not measured |",
    ] {
        assert!(summary.contains(line), "{line}\n{summary}");
    }
    assert!(read(&run.join("summary.html")).contains("VOID: /idle was not served as it is"));
    assert!(read(&run.join("http-idle.commands.txt")).contains("file.dir: "));
    assert!(read(&run.join("machine.txt")).contains("mitigation "));
    assert!(read(&run.join("versions.txt")).contains("caddy: absent"));
    assert!(!run.join("INCOMPLETE").exists(), "it ran to its end");
    // None of its processes is left, and neither are the files that were served.
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().flatten().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn a_run_cut_short_says_what_is_missing_and_can_be_taken_up() {
    let dir = tempfile::tempdir().unwrap();
    let words = [
        "send", "copy", "--quick", "--only", "Rust", "--only", "bare", "--into", "run",
    ];
    let mut cut = rivals(&dir, &words).stdout(Stdio::null()).spawn().unwrap();
    let run = dir.path().join("run");
    let (mark, send) = (run.join("INCOMPLETE"), run.join("send.json"));
    until("nothing was recorded", || send.exists());
    kill_process(Pid::from_child(&cut), Signal::INT).unwrap();
    assert!(!cut.wait().unwrap().success());
    let missing: Vec<_> = read(&mark).lines().skip(1).map(str::to_owned).collect();
    assert_eq!(missing, ["copy"]);
    assert!(read(&run.join("summary.md")).contains("> **INCOMPLETE: not measured: copy**"));

    let before = read(&send);
    let words = ["copy", "--quick", "--only", "Rust", "--into", "run"];
    let output = rivals(&dir, &words).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(!mark.exists());
    assert_eq!(read(&send), before, "what was there is kept");
    let summary = read(&run.join("summary.md"));
    assert!(
        summary.contains("## send") && summary.contains("## copy"),
        "{summary}"
    );
    assert!(!summary.contains("INCOMPLETE"), "{summary}");
}

#[test]
fn a_server_is_measured_by_http2_over_tls_and_without() {
    if !needs::tool("h2load") || !needs::tool("curl") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let words = [
        "h2-small",
        "h2c-small",
        "--quick",
        "--only",
        "axum",
        "--into",
        "run",
    ];
    let mut lab = rivals(&dir, &words);
    lab.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let output = lab.output().unwrap();
    let (said, shown) = (text(&output.stderr), text(&output.stdout));
    assert!(output.status.success(), "{said}{shown}");
    let run = dir.path().join("run");
    for (name, words) in [
        ("h2-small", "--tls13-ciphers TLS_AES_128_GCM_SHA256"),
        ("h2c-small", "--max-concurrent-streams 10 http://127.0.0.1:"),
    ] {
        let record: serde_json::Value =
            serde_json::from_str(&read(&run.join(format!("{name}.json")))).unwrap();
        let case = &record["cases"][0];
        assert_eq!(case["name"], "1 KiB, 32 connections of 10 streams");
        let numbers = &case["rows"][0]["rounds"][0]["numbers"];
        let number = |name: &str| numbers[name].as_f64().unwrap_or_default();
        assert!(number("requests") > 0.0, "{numbers}");
        assert!(number("bytes") >= 1024.0 * 320.0, "{numbers}");
        assert!(number("server CPU s") > 0.0, "{numbers}");
        let commands = read(&run.join(format!("{name}.commands.txt")));
        assert!(commands.contains(words), "{commands}");
    }
}
