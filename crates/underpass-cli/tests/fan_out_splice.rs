//! `fan-out` with splice(2) and tee(2): the calls that it makes, as strace(1) shows them; what
//! happens if the kernel refuses them; and what works without privileges.

use std::io::Write;

use crate::support::{
    Dir, FanOut, MIB, REFUSING_SPLICE, Receipts, Running, Stream, by, bytes, needs, number,
    reading, underpass_by, unprivileged,
};

const ARGS: [&str; 9] = [
    "fan-out",
    "--listen",
    "127.0.0.1:0",
    "--from",
    "tcp://127.0.0.1:0",
    "--await",
    "3",
    "--receipt",
    "json",
];

/// Sends 6 MiB and a few bytes to three subscribers.
fn give(fan_out: FanOut) -> Receipts {
    let mut producer = Stream::connect(fan_out.producer());
    let all: Vec<_> = (0..3).map(|_| reading(fan_out.connect())).collect();
    let content = bytes(660, 6 * MIB + 5);
    producer.write_all(&content).unwrap();
    producer.end();
    for one in all {
        let (got, ended) = one.join().unwrap();
        assert!(got == content && ended.is_ok(), "{ended:?}");
    }
    Receipts::of(&fan_out.running.finish().ok())
}

#[test]
fn pitfall_11_and_14_it_splices_and_tees_and_copies_nothing_through_user_space() {
    if !needs::tool("strace") {
        return;
    }
    let dir = Dir::new();
    let trace = dir.path("trace");
    let calls = "trace=splice,tee,vmsplice,read,readv,recvfrom,recvmsg,write,writev,sendto,sendmsg,\
                 sendfile,setsockopt";
    // strace runs as a daemon (-D), so the program stays our child and we can stop it.
    let strace = ["-D", "-f", "-qq", "-o", &trace, "-e", calls];
    let args = [&ARGS[..], &["--route", "splice"]].concat();
    let command = underpass_by("strace", &strace, &args);
    let receipts = give(FanOut::of(Running::start(command)));
    for receipt in receipts.subscribers.iter().chain([&receipts.source]) {
        assert_eq!(by(receipt, "splice"), 6 * MIB as u64 + 5, "{receipt}");
        assert_eq!(number(&receipt["copies"], "cpu_bytes"), 0, "{receipt}");
    }
    receipts.assert_tees();

    let trace = std::fs::read_to_string(trace).unwrap();
    let made = |name: &str| trace.lines().filter(|line| line.contains(name)).count();
    // The sum of the return values, without errors. If another thread's call came in between, a
    // call has a second line for its end.
    let sum = |name: &str| -> u64 {
        let (whole, resumed) = (format!("{name}("), format!("{name} resumed>"));
        let ended = trace.lines().filter_map(|line| line.rsplit_once(" = "));
        let its = ended.filter(|(call, _)| call.contains(&whole) || call.contains(&resumed));
        its.filter_map(|(_, result)| result.parse::<u64>().ok())
            .sum()
    };
    let all = 6 * MIB as u64 + 5;
    assert_eq!(sum("splice"), all + 3 * all, "in once, and out three times");
    assert_eq!(sum("tee"), 2 * all, "for all but the last");
    assert_eq!(made("tee(") as u64, receipts.tees());
    for word in [
        "vmsplice(",
        "sendfile(",
        "SPLICE_F_MORE",
        "MSG_MORE",
        "TCP_CORK",
    ] {
        assert_eq!(made(word), 0, "{word}: {trace}");
    }
    // Lines, receipts, wake-ups and reads of /proc: nothing as large as the stream.
    let copying = [
        "read", "readv", "recvfrom", "recvmsg", "write", "writev", "sendto", "sendmsg",
    ];
    let copied: u64 = copying.into_iter().map(sum).sum();
    assert!(copied < 64 << 10, "{copied} bytes: {trace}");
}

#[test]
fn pitfall_09_where_splice_is_refused_bulk_is_copied_and_counted() {
    if !needs::tool("python3") {
        return;
    }
    let command = underpass_by("python3", &["-c", REFUSING_SPLICE], &ARGS);
    let receipts = give(FanOut::of(Running::start(command)));
    let source = &receipts.source;
    assert_eq!(source["splice_refused"], true, "{source}");
    assert_eq!(by(source, "read-write"), 6 * MIB as u64 + 5, "{source}");
    assert_eq!(
        number(source, "delivered_copied"),
        3 * number(source, "bytes")
    );
}

#[test]
fn it_needs_no_rights() {
    let Some(command) = unprivileged(&ARGS) else {
        return;
    };
    let receipts = give(FanOut::of(Running::start(command)));
    assert!(
        by(&receipts.source, "splice") > 5 * MIB as u64,
        "{receipts:?}"
    );
    receipts.assert_tees();
}
