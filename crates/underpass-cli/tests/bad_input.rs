//! Invalid input: each case is reported in one line that names it, with the documented exit code.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::support::{Dir, Running, run, underpass};

#[test]
fn sources_that_cannot_be_read() {
    let dir = Dir::in_memory();
    let missing = dir.path("missing");
    let address = "tcp://127.0.0.1:9";
    for command in ["send", "copy"] {
        let to = if command == "send" {
            address.to_owned()
        } else {
            dir.path("out")
        };
        run(&[command, &missing, &to]).fails(1, &[&missing, "No such file"]);
    }
    assert_eq!(dir.names(), [""; 0]);
}

#[test]
fn sinks_that_cannot_be_written() {
    let dir = Dir::in_memory();
    let missing = dir.path("missing/out");
    run(&["recv", "tcp://127.0.0.1:0", &missing]).fails(1, &[&missing]);
    // cp(1) does not make a file either if its name ends in a slash, like that of a directory.
    let slash = dir.path("slash/");
    let some = dir.file("some", b"x");
    run(&["copy", &some, &slash]).fails(1, &[&slash, "directory"]);
    assert_eq!(dir.names(), ["some"]);
    let long = dir.path(&"x".repeat(300));
    run(&["recv", "tcp://127.0.0.1:0", &long]).fails(1, &[&long, "too long"]);
    // The name is just short enough; the temporary name beside it must not be too long.
    let just = dir.file("in", b"content");
    run(&["copy", &just, &dir.path(&"x".repeat(255))]).ok();
}

#[test]
fn names_that_do_not_resolve() {
    let dir = Dir::in_memory();
    let source = dir.file("in", b"x");
    let address = "tcp://nohost.invalid:9";
    run(&["send", &source, address]).fails(1, &[address]);
    run(&["recv", address, &dir.path("out")]).fails(1, &[address]);
    assert_eq!(dir.names(), ["in"]);
}

#[test]
fn socket_paths_that_cannot_be() {
    let dir = Dir::in_memory();
    let source = dir.file("in", b"x");
    let long = format!("unix:/{}", "x".repeat(200));
    for args in [["send", &source, &long], ["recv", &long, &dir.path("out")]] {
        let refused = run(&args);
        assert_eq!(refused.code, 2, "{refused:?}");
        let word = "the path has 201 bytes, and a Unix socket's at most 107";
        assert!(refused.stderr.contains(word), "{refused:?}");
    }
    let missing = format!("unix:{}", dir.path("missing/socket"));
    run(&["recv", &missing, &dir.path("out")]).fails(1, &[&missing]);
    let plain = format!("unix:{source}");
    run(&["send", &source, &plain]).fails(1, &[&plain]);
    assert_eq!(dir.names(), ["in"]);
}

#[test]
fn a_local_address_that_is_not_ours() {
    let dir = Dir::in_memory();
    // TEST-NET-1 (RFC 5737) belongs to nobody.
    let address = "tcp://192.0.2.1:9";
    run(&["recv", address, &dir.path("out")]).fails(1, &[address]);
    assert_eq!(dir.names(), [""; 0]);
}

/// clap's own errors, which name the argument and take several lines.
#[test]
fn arguments_that_cannot_be_right() {
    let table: &[(&[&str], &str)] = &[
        (&[], "Usage"),
        (&["fly"], "fly"),
        (&["send", "a"], "<ADDR>"),
        (&["send", "a", "localhost"], "is not an address"),
        (&["send", "a", "tls://localhost"], "names no port"),
        (&["send", "a", "tcp://localhost"], "names no port"),
        (&["send", "a", "tcp://localhost:99999"], "not a port"),
        (&["send", "a", "tcp://::1:80"], "brackets"),
        (&["recv", "unix:", "b"], "names no path"),
        (&["copy", "a", "b", "--route", "teleport"], "teleport"),
        (
            &["copy", "a", "b", "--range", "9..1"],
            "ends before it starts",
        ),
        (&["copy", "a", "b", "--range", "9"], "not a range"),
        (&["copy", "a", "b", "--receipt", "xml"], "xml"),
        (&["recv", "tcp://[::1]:0", "b", "--expect", "lots"], "lots"),
        (&["recv", "tcp://[::1]:0", "b", "--expect", "-1"], "-1"),
        (
            &["recv", "tcp://[::1]:0", "b", "--timeout", "0"],
            "not a duration",
        ),
        (&["explain", "a"], "<DST>"),
        (&["completions", "tcsh"], "tcsh"),
    ];
    for (args, word) in table {
        let outcome = run(args);
        assert_eq!(outcome.code, 2, "{args:?}");
        assert!(
            outcome.stderr.contains(word),
            "{args:?}: {}",
            outcome.stderr
        );
        assert_eq!(outcome.text(), "", "{args:?}");
    }
}

#[test]
fn an_unknown_route_is_answered_with_the_known_ones() {
    let outcome = run(&["copy", "a", "b", "--route", "teleport"]);
    for route in [
        "reflink",
        "copy_file_range",
        "sendfile",
        "splice",
        "read-write",
    ] {
        assert!(outcome.stderr.contains(route), "{}", outcome.stderr);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        rng_seed: RngSeed::Fixed(100),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Whatever is typed, the result is a documented exit code, never a panic. Nothing here can
    /// reach a network.
    #[test]
    fn any_words_are_an_answer(words in prop::collection::vec("[^\0]{0,12}", 0..3)) {
        let mut args = vec!["explain", "/dev/null"];
        args.extend(words.iter().map(String::as_str));
        let dir = Dir::in_memory();
        let mut command = underpass(&args);
        command.current_dir(dir.root());
        let outcome = Running::start(command).finish();
        prop_assert_eq!(dir.names(), [""; 0], "nothing is made");
        prop_assert!(matches!(outcome.code, 0..=2), "{args:?}: {outcome:?}");
    }
}
