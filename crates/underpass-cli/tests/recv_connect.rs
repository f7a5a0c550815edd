//! `recv --connect`: receives from a listening sender, as a subscriber of `fan-out` does.

use std::io::Write;

use crate::support::{Dir, FanOut, Host, MIB, Running, assert_same, bytes, run, underpass};

fn subscribe(place: &str, file: &str) -> Running {
    Running::start(underpass(&[
        "recv",
        "--connect",
        place,
        file,
        "--receipt=json",
    ]))
}

#[test]
fn subscribers_get_a_file_whole_and_by_splice() {
    let dir = Dir::new();
    let source = dir.file("source", &bytes(630, 8 * MIB));
    let fan_out = FanOut::to_each_kind(&dir, &source, &[]);
    let names = ["one", "other", "third"].map(|name| dir.path(name));
    let places = fan_out.addresses.iter().cycle();
    let all: Vec<_> = names
        .iter()
        .zip(places)
        .map(|(name, place)| subscribe(place, name))
        .collect();
    for one in all {
        one.finish().ok().receipt().assert_route("splice", 8 * MIB);
    }
    for name in &names {
        assert_same(name, &source);
    }
    fan_out.stop().ok();
}

#[test]
fn a_stream_that_breaks_off_leaves_no_file() {
    let dir = Dir::in_memory();
    let options = ["--await", "1", "--lag", "1MiB"];
    let (fan_out, mut producer) = FanOut::produced(&options);
    let one = subscribe(&fan_out.addresses[0], &dir.path("out"));
    // More than can be kept for it, so some of it has arrived.
    producer.write_all(&bytes(631, 32 * MIB)).unwrap();
    producer.reset();
    let out = dir.path("out");
    let outcome = one
        .finish()
        .fails(3, &[&fan_out.addresses[0], &out, ", after "]);
    assert!(!outcome.receipt().complete());
    assert!(dir.names().is_empty(), "{:?}", dir.names());
    fan_out.running.finish().fails(3, &["broke off"]);
}

#[test]
fn what_has_no_listener_is_told_and_leaves_no_file() {
    let dir = Dir::in_memory();
    let place = Host::tcp().address();
    let out = dir.path("out");
    run(&["recv", "--connect", &place, &out]).fails(1, &[&place, "refused"]);
    assert!(dir.names().is_empty(), "{:?}", dir.names());
}
