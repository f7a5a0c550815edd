//! Difficult names and numbers: control characters for the terminal, durations that no clock can
//! express.

use crate::support::{Dir, run};

/// Error lines, receipts and plans show control characters escaped, so a terminal does not obey
/// them. JSON is exact.
#[test]
fn control_characters_in_names_are_shown() {
    let dir = Dir::in_memory();
    let (name, shown) = ("a\u{1b}[31mb\nc\u{9b}1m", r"a\x1b[31mb\nc\u{9b}1m");
    let (source, sink) = (dir.file(name, b"content"), dir.path(&format!("{name}2")));
    let refused = run(&["copy", &dir.path(&format!("no{name}")), &sink]);
    refused.fails(1, &[&format!("no{shown}"), "No such file"]);
    run(&["send", &source, &format!("unix:{sink}")]).fails(1, &[shown]);
    run(&["recv", "tcp://127.0.0.1:0", &source]).fails(1, &[shown, "exists"]);
    let human = run(&["copy", &source, &sink]).ok();
    let explained = run(&["explain", &source, &sink]).ok();
    for said in [human.text(), explained.text()] {
        assert!(said.contains(shown), "{said:?}");
        let obeyed = |c: char| c.is_control() && c != '\n';
        assert!(!said.contains(obeyed), "{said:?}");
    }
    let json = run(&["copy", &source, &sink, "--receipt=json", "--force"]).ok();
    assert_eq!(json.receipt().party("source").1, source);
    // clap's error repeats what was typed.
    let typed = run(&["copy", &source, &sink, "--range", name]);
    assert!(!typed.stderr.contains('\u{1b}'), "{:?}", typed.stderr);
}

#[test]
fn pitfall_36_no_duration_is_too_long_for_the_clock() {
    let dir = Dir::in_memory();
    let (source, sink) = (dir.file("source", b"x"), dir.path("sink"));
    // Each command ends by itself once the durations are accepted: nobody listens, or a directory
    // is missing.
    let socket = format!("unix:{}", dir.path("socket"));
    let (missing, listen) = (dir.path("no"), format!("unix:{}", dir.path("no/socket")));
    let commands: [&[&str]; 5] = [
        &["send", &source, &socket],
        &["recv", &listen, &sink],
        &["serve", &missing],
        &["relay", "--listen", &listen, "--to", &socket],
        &["fan-out", "--listen", &listen, "--from", &source],
    ];
    // Options of a bucket are refused for a directory.
    let no_cache = dir.path("source/cache");
    let bucket = ["serve", "s3://bucket", "--cache", &no_cache];
    let of_bucket = ["--cache-max-age", "--revalidate", "--stale-if-error"];
    let digits = "9".repeat(400);
    let longest = ["9999999999999999999", "18446744073709551615h", &digits];
    let wrong = ["NaN", "inf", "-1", "1e308", "-inf", "0x10", ""];
    let mut options = 0;
    for command in commands {
        for option in durations(command[0]) {
            options += 1;
            // Those with a value of their own take another one only after `=`.
            let option = match option.split_once('[') {
                // What is waited for does not come.
                Some(_) => continue,
                None => option,
            };
            let is_of_bucket = of_bucket.contains(&option.as_str());
            let command = if is_of_bucket { &bucket } else { command };
            for value in longest {
                let outcome = run(&[command, &[&option, value]].concat());
                outcome.fails(1, &[dir.root()]);
            }
            for value in wrong {
                let option = format!("{option}={value}");
                let outcome = run(&[command, &[option.as_str()]].concat());
                assert_eq!(outcome.code, 2, "{option}: {}", outcome.stderr);
            }
        }
    }
    assert!(options >= 13, "only {options} options");
}

/// The options of `command` that take a duration, as its help lists them.
fn durations(command: &str) -> Vec<String> {
    let help = run(&[command, "--help"]).ok();
    let lines = help.text().lines().filter(|line| line.contains("<TIME>"));
    let option = |line: &str| {
        line.split_whitespace()
            .find(|word| word.starts_with("--"))?
            .to_owned()
            .into()
    };
    lines.filter_map(option).collect()
}

/// A wait that no clock can express is still a wait: it ends when the event comes.
#[test]
fn pitfall_36_a_very_long_wait_ends_by_what_is_waited_for() {
    use crate::support::{Running, Stream};
    let dir = Dir::in_memory();
    let args = [
        "tcp://127.0.0.1:0",
        &dir.path("sink"),
        "--timeout=9999999999999999999",
    ];
    let (receiver, address) = Running::recv(&args);
    let mut peer = Stream::connect(&address);
    std::io::Write::write_all(&mut peer, b"content").unwrap();
    peer.end();
    receiver.finish().ok();
    assert_eq!(std::fs::read(dir.path("sink")).unwrap(), b"content");
}
