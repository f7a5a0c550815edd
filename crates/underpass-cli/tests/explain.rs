//! `explain`: what would happen and why; it moves nothing.

use serde_json::Value;

use crate::support::{Dir, Host, MIB, Running, bytes, run};

fn explained(source: &str, sink: &str, options: &[&str]) -> Value {
    let args = [&["explain", source, sink, "--json"], options].concat();
    let outcome = run(&args).ok();
    assert_eq!(outcome.text().lines().count(), 1);
    serde_json::from_str(outcome.text()).unwrap()
}

fn routes(explained: &Value) -> Vec<&str> {
    let routes = explained["routes"].as_array().unwrap();
    routes
        .iter()
        .map(|choice| choice["route"].as_str().unwrap())
        .collect()
}

#[test]
fn a_file_to_a_connection() {
    let dir = Dir::in_memory();
    let source = dir.file("in", &bytes(90, MIB));
    let plan = explained(&source, "tcp://127.0.0.1:9", &[]);
    assert_eq!(routes(&plan), ["sendfile", "splice", "read-write"]);
    let copies = &plan["routes"][0]["copies_per_byte"];
    assert_eq!(copies["cpu_bytes"], 0);
    assert!(copies["why"].as_str().unwrap().contains("lo gathers"));
    assert_eq!(plan["routes"][2]["copies_per_byte"]["cpu_bytes"], 2);
    assert_eq!(plan["source"]["file_system"], "tmpfs");
    assert_eq!(plan["source"]["size"], MIB);
    assert_eq!(plan["sink"]["kind"], "tcp");
    assert_eq!(plan["sink"]["egress"]["interface"], "lo");
}

/// Pairs of ends, each with its routes in order.
#[test]
fn several_pairs() {
    let dir = Dir::in_memory();
    let large = dir.file("large", &bytes(91, MIB));
    let small = dir.file("small", b"small");
    let fifo = dir.path("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, fifo.as_str(), rustix::fs::Mode::RWXU).unwrap();
    let (new, tcp, unix) = (dir.path("new"), "tcp://127.0.0.1:9", "unix:/nobody");
    let table: &[(&str, &str, &[&str])] = &[
        (
            &large,
            &new,
            &["copy_file_range", "sendfile", "splice", "read-write"],
        ),
        (
            &large,
            dir.root(),
            &["copy_file_range", "sendfile", "splice", "read-write"],
        ),
        (&large, unix, &["sendfile", "splice", "read-write"]),
        (&large, &fifo, &["splice", "read-write"]),
        (&large, "/dev/null", &["sendfile", "splice", "read-write"]),
        (&small, tcp, &["read-write"]),
        (&fifo, tcp, &["splice", "read-write"]),
        (tcp, &new, &["splice", "read-write"]),
        (tcp, unix, &["splice", "read-write"]),
        ("/proc/version", tcp, &["read-write"]),
    ];
    for (source, sink, want) in table {
        assert_eq!(
            &routes(&explained(source, sink, &[])),
            want,
            "{source} -> {sink}"
        );
    }
    assert_eq!(dir.names(), ["fifo", "large", "small"], "nothing was made");
}

/// A transfer takes the route that explain lists first.
#[test]
fn the_first_route_is_the_one_taken() {
    let dir = Dir::in_memory();
    for length in [100, MIB] {
        let source = dir.file("in", &bytes(92, length));
        for host in Host::each(&dir) {
            let plan = explained(&source, &host.address(), &[]);
            let args = ["send", &source, &host.address(), "--receipt=json"];
            let sender = Running::start(crate::support::underpass(&args));
            host.accept().drain().unwrap();
            assert_eq!(sender.finish().ok().receipt().route(), routes(&plan)[0]);
        }
    }
}

#[test]
fn text_says_it_for_people() {
    let dir = Dir::in_memory();
    let source = dir.file("in", &bytes(93, MIB));
    let outcome = run(&["explain", &source, "tcp://localhost:9"]).ok();
    let text = outcome.text();
    for part in [
        &*format!("{source}: file on tmpfs, 1.0 MiB\n"),
        "reached by lo",
        "\nby sendfile, none of it copied by the CPU\n",
        "1. sendfile",
        "none of it copied by the CPU (expected: sendfile from page",
        "all of it copied twice by the CPU (expected: read-write",
        "not used:",
        "reflink         only from a regular file to a regular file",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    assert_eq!(outcome.stderr, "");
}

/// What would be made is said, and no line is too long for a terminal.
#[test]
fn a_new_file_is_told_from_one_that_is_there() {
    let dir = Dir::in_memory();
    let (source, there) = (dir.file("in", &bytes(93, 5000)), dir.file("old", b"old"));
    let new = dir.path("new");
    for (sink, what) in [(&new, "a new file on tmpfs"), (&there, "file on tmpfs")] {
        let outcome = run(&["explain", &source, sink]).ok();
        let line = format!("\n{sink}: {what}\n");
        assert!(outcome.text().contains(&line), "{}", outcome.text());
        let mut lines = outcome.text().lines().skip(2);
        assert!(lines.all(|line| line.len() <= 80), "{}", outcome.text());
    }
}

#[test]
fn options_change_the_plan() {
    let dir = Dir::in_memory();
    let source = dir.file("in", b"small");
    let to = |options: &[&str]| explained(&source, "unix:/nobody", options);
    assert_eq!(routes(&to(&["--length", "1GiB"]))[0], "sendfile");
    assert_eq!(
        routes(&to(&["--length", "1GiB", "--stable"])),
        ["read-write"]
    );
    assert_eq!(
        routes(&to(&["--length", "1GiB", "--route", "splice"])),
        ["splice"]
    );
    let refused = run(&["explain", &source, "unix:/nobody", "--route", "reflink"]);
    refused.fails(
        2,
        &[
            &source,
            "reflink",
            "these would: sendfile, splice, read-write",
        ],
    );
}

#[test]
fn nothing_is_moved_or_made() {
    let dir = Dir::in_memory();
    let source = dir.file("in", &bytes(94, MIB));
    let old = dir.file("old", b"old");
    let host = Host::unix(&dir);
    for sink in [&dir.path("new"), &old, &host.address()] {
        run(&["explain", &source, sink]).ok();
    }
    assert_eq!(std::fs::read(old).unwrap(), b"old");
    assert_eq!(dir.names(), ["host", "in", "old"]);
    let Host::Unix(listener, _) = &host else {
        unreachable!()
    };
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "nobody connected");
}

#[test]
fn what_cannot_be_found_is_one_clear_line() {
    let dir = Dir::in_memory();
    let source = dir.file("in", b"x");
    run(&["explain", &source, "tcp://nohost.invalid:9"]).fails(1, &["tcp://nohost.invalid:9"]);
    run(&["explain", &dir.path("none"), "/dev/null"]).fails(1, &[&dir.path("none")]);
    let sink = dir.path("none/out");
    run(&["explain", &source, &sink]).fails(1, &[&dir.path("none")]);
    run(&["explain", dir.root(), "/dev/null"]).fails(2, &[dir.root(), "directory"]);
    run(&["explain", &source, "tcp://nowhere"]).fails(2, &["tcp://nowhere", "port"]);
}
