//! `underpass measure` on kernels that can count copies and encryption exactly: the claims S1, S2
//! and S3, and what TLS adds to them.

use std::fs;

use underpass_measure::Report;
use underpass_measure::report::{Count, CryptoPlace, Evidence, HopKind, Row};

mod support;

use support::{Bench, tail};

#[test]
fn a_6_1_kernel_counts_the_copies_that_are_claimed() {
    counts_what_is_claimed("6.1");
}

#[test]
fn a_6_12_kernel_counts_the_copies_that_are_claimed() {
    counts_what_is_claimed("6.12");
}

fn counts_what_is_claimed(kernel: &str) {
    let Some(bench) = Bench::new() else { return };
    let script = bench.file("script", include_bytes!("measure.sh"));
    let output = bench
        .vm(kernel)
        // One processor, also because kprobes rewrite code that another processor may be running.
        .args(["--timeout", "600", "--file"])
        .arg(script)
        .args(["--", "sh", "/root/script"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", tail(&output));
    keep(kernel, &output.stdout);
    let report: Report = serde_json::from_slice(&output.stdout).unwrap();
    for probe in ["kprobes", "tracepoints"] {
        let probe = report.probes.iter().find(|known| known.name == probe);
        assert!(
            probe.unwrap().used && probe.unwrap().note.is_none(),
            "{probe:?}"
        );
    }
    let removed = "kprobe events of a run that was killed were found and removed";
    assert!(report.warnings.iter().any(|line| line.ends_with(removed)));
    every_hop_is_counted(&report);
    every_pass_is_counted(&report);
    bench.left_nothing();
}

/// The copies by the CPU that each way makes at each hop, over an interface that gathers. An
/// interface that does not gather adds one copy to each way, except to bytes that were copied at
/// that hop anyway.
fn every_hop_is_counted(report: &Report) {
    for (way, [to_user, from_user, in_kernel]) in [
        ("read-write", [1.0, 1.0, 0.0]),
        ("mmap-write", [0.0, 1.0, 0.0]),
        ("sendfile", [0.0, 0.0, 0.0]),
        ("splice", [0.0, 0.0, 0.0]),
        // A packet that is looped back to a socket of the same machine is copied after all.
        ("send-zerocopy", [0.0, 0.0, 1.0]),
        ("underpass", [0.0, 0.0, 0.0]),
        ("tls-read-write", [1.0, 1.0, 0.0]),
        ("tls-seal", [0.0, 1.0, 0.0]),
        ("tls-sendfile", [0.0, 0.0, 0.0]),
    ] {
        let gathers = report.unit(way, "veth").unwrap();
        let not = report.unit(way, "veth-no-gather").unwrap();
        for (row, in_kernel) in [(gathers, in_kernel), (not, 1.0)] {
            hop(row, HopKind::KernelToUser, to_user);
            hop(row, HopKind::UserToSocket, from_user);
            hop(row, HopKind::KernelToSocket, in_kernel);
            let dma = row.copies.hop(HopKind::DiskToKernel).unwrap();
            assert_eq!(dma.evidence, Evidence::Expected);
        }
    }
}

/// Every byte is encrypted once, in one place. Whoever encrypts in user space has nothing encrypted
/// by the kernel.
fn every_pass_is_counted(report: &Report) {
    assert!(report.absent_ways.is_empty(), "{:?}", report.absent_ways);
    for (way, user, kernel) in [
        ("tls-read-write", 1.0, 0.0),
        ("tls-seal", 1.0, 0.0),
        ("tls-sendfile", 0.0, 1.0),
    ] {
        for link in ["veth", "veth-no-gather"] {
            let row = report.unit(way, link).unwrap();
            let crypto = row.crypto.as_ref().unwrap();
            for (place, passes) in [(CryptoPlace::User, user), (CryptoPlace::Kernel, kernel)] {
                let found = crypto.place(place).unwrap();
                near(row, &format!("{place:?}"), found, passes, 0.001);
            }
        }
    }
    let plain = report.unit("sendfile", "veth").unwrap();
    assert_eq!(plain.crypto, None);
}

fn hop(row: &Row, kind: HopKind, copies: f64) {
    // Retransmitted bytes are copied twice, and under emulation acknowledgements may be late.
    let tolerance = if row.way == "send-zerocopy" {
        0.05
    } else {
        0.01
    };
    let found = row.copies.hop(kind).unwrap();
    near(row, &kind.to_string(), found, copies, tolerance);
}

fn near(row: &Row, what: &str, found: &Count, wanted: f64, tolerance: f64) {
    let counted = found.as_measured();
    assert!(
        counted.is_some_and(|counted| (counted - wanted).abs() <= tolerance),
        "{} over {}, {what}: {found:?}, {wanted} wanted",
        row.way,
        row.interface
    );
}

/// Keeps the report, in the directory that cargo gives to tests, for anybody who wants to see what
/// was counted.
fn keep(kernel: &str, report: &[u8]) {
    let path = format!("{}/measure-{kernel}.json", env!("CARGO_TARGET_TMPDIR"));
    fs::write(path, report).unwrap();
}
