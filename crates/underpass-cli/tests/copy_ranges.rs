//! `copy --range` and `copy --route`.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::support::{Dir, MIB, bytes, run};

const ROUTES: [&str; 4] = ["copy_file_range", "sendfile", "splice", "read-write"];

#[test]
fn each_route_can_be_forced_and_copies_the_same() {
    let dir = Dir::in_memory();
    let content = bytes(70, 3 * MIB + 5);
    let source = dir.file("source", &content);
    for route in ROUTES {
        let sink = dir.path(route);
        let copied = run(&["copy", &source, &sink, "--route", route, "--receipt=json"]).ok();
        copied.receipt().assert_route(route, content.len());
        assert!(std::fs::read(sink).unwrap() == content, "{route}");
    }
}

#[test]
fn a_range_in_the_middle_is_copied_in_the_kernel() {
    let dir = Dir::in_memory();
    let content = bytes(71, MIB);
    let (source, sink) = (dir.file("source", &content), dir.path("sink"));
    let copied = run(&[
        "copy",
        &source,
        &sink,
        "--range",
        "5..600K",
        "--receipt=json",
    ])
    .ok();
    copied
        .receipt()
        .assert_route("copy_file_range", (600 << 10) - 5);
    assert!(std::fs::read(sink).unwrap() == content[5..600 << 10]);
}

#[test]
fn an_empty_range_makes_an_empty_file() {
    let dir = Dir::in_memory();
    let source = dir.file("source", &bytes(72, MIB));
    for range in ["0..0", "1MiB..", "77..77"] {
        let sink = dir.path(range);
        let copied = run(&["copy", &source, &sink, "--range", range, "--receipt=json"]).ok();
        assert_eq!(copied.receipt().number("bytes"), 0, "{range}");
        assert_eq!(std::fs::read(sink).unwrap(), b"");
    }
}

#[test]
fn a_range_past_the_end_is_refused_with_the_size() {
    let dir = Dir::in_memory();
    let source = dir.file("source", &bytes(73, MIB));
    for range in ["0..1048577", "1048577..", "1G..2G"] {
        let sink = dir.path("sink");
        let refused = run(&["copy", &source, &sink, "--range", range]);
        refused.fails(2, &[&source, &sink, "1,048,576"]);
        assert_eq!(dir.names(), ["source"]);
    }
}

/// An empty file may be one that reports no size, so only reading it shows that the range is past
/// its end.
#[test]
fn a_range_of_an_empty_file_is_incomplete() {
    let dir = Dir::in_memory();
    let (source, sink) = (dir.file("source", b""), dir.path("sink"));
    let refused = run(&["copy", &source, &sink, "--range", "0..1", "--receipt=none"]);
    refused.fails(3, &[&source, "after 0 of 1 byte"]);
    assert_eq!(dir.names(), ["source"]);
}

#[test]
fn a_route_that_cannot_serve_says_which_would() {
    let dir = Dir::in_memory();
    let (source, sink) = (dir.file("source", b"content"), dir.path("sink"));
    for route in ["reflink", "send-zerocopy"] {
        let refused = run(&["copy", &source, &sink, "--route", route]);
        let would = "these would: copy_file_range, sendfile, splice, read-write";
        refused.fails(2, &[&source, &sink, route, would]);
        assert_eq!(dir.names(), ["source"]);
    }
    let refused = run(&["copy", "/proc/version", &sink, "--route", "sendfile"]);
    refused.fails(2, &["/proc/version", "these would: read-write"]);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        rng_seed: RngSeed::Fixed(74),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_range_by_any_route_is_that_slice(
        length in 1_usize..200_000,
        ends: (prop::sample::Index, prop::sample::Index),
        route in prop::sample::select(&ROUTES[..]),
    ) {
        let dir = Dir::in_memory();
        let content = bytes(length as u64, length);
        let (source, sink) = (dir.file("source", &content), dir.path("sink"));
        let (one, other) = (ends.0.index(length + 1), ends.1.index(length + 1));
        let (start, end) = (one.min(other), one.max(other));
        let range = format!("{start}..{end}");
        let args = ["copy", &source, &sink, "--route", route, "--range", &range, "--receipt=json"];
        let copied = run(&args).ok();
        prop_assert_eq!(copied.receipt().number("bytes"), (end - start) as u64);
        prop_assert!(start == end || copied.receipt().route() == route);
        prop_assert!(std::fs::read(sink).unwrap() == content[start..end]);
    }
}
