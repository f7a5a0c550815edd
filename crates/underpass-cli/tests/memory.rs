//! Peak resident memory: bytes do not pass through user space, so a transfer of any size needs
//! little memory.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use crate::support::{Dir, Host, MORE_THAN_BUFFERS, Running, Stream, bytes, needs};

/// In KiB, on top of what the same binary needs to copy one byte: most of it is the pages of the
/// debug build itself. Each transfer moves twelve times as much.
const LIMIT: u64 = 5 << 10;

/// The binary under time(1), which writes the peak memory to `report`: of this process only,
/// whatever the test itself uses.
fn timed(report: &str, args: &[&str]) -> Command {
    let mut command = Command::new("time");
    command.args(["-f", "%M", "-o", report, env!("CARGO_BIN_EXE_underpass")]);
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

fn assert_small(report: &str, what: &str) {
    let (peak, floor) = (peak(report), *FLOOR);
    assert!(peak < floor + LIMIT, "{what}: {peak} KiB, not {floor}");
}

static FLOOR: LazyLock<u64> = LazyLock::new(|| {
    let dir = Dir::in_memory();
    let (one, report) = (dir.file("one", b"1"), dir.path("floor"));
    let args = ["copy", &one, &dir.path("other")];
    Running::start(timed(&report, &args)).finish().ok();
    peak(&report)
});

fn peak(report: &str) -> u64 {
    let text = std::fs::read_to_string(report).unwrap();
    text.trim().parse().unwrap()
}

#[test]
fn copy_stays_small_by_every_route() {
    if !needs::tool("time") {
        return;
    }
    let dir = Dir::in_memory();
    let (source, report) = (
        dir.file("in", &bytes(130, MORE_THAN_BUFFERS)),
        dir.path("report"),
    );
    for route in ["copy_file_range", "sendfile", "splice", "read-write"] {
        let args = [
            "copy",
            &source,
            &dir.path("out"),
            "--force",
            "--route",
            route,
        ];
        Running::start(timed(&report, &args)).finish().ok();
        assert_small(&report, route);
    }
    let mut command = timed(&report, &["copy", "-", &dir.path("out"), "--force"]);
    command.stdin(Stdio::piped());
    let mut copy = Running::start(command);
    copy.stdin()
        .write_all(&bytes(131, MORE_THAN_BUFFERS))
        .unwrap();
    copy.finish().ok();
    assert_small(&report, "copy from a pipe");
}

#[test]
fn send_stays_small_by_every_route() {
    if !needs::tool("time") {
        return;
    }
    let dir = Dir::in_memory();
    let (source, report) = (
        dir.file("in", &bytes(132, MORE_THAN_BUFFERS)),
        dir.path("report"),
    );
    for route in ["sendfile", "splice", "read-write"] {
        let host = Host::tcp();
        let args = ["send", &source, &host.address(), "--route", route];
        let sender = Running::start(timed(&report, &args));
        assert_eq!(host.accept().drain().unwrap(), MORE_THAN_BUFFERS as u64);
        sender.finish().ok();
        assert_small(&report, route);
    }
}

#[test]
fn recv_stays_small_by_every_route() {
    if !needs::tool("time") {
        return;
    }
    let dir = Dir::in_memory();
    let (content, report) = (bytes(133, MORE_THAN_BUFFERS), dir.path("report"));
    for route in ["splice", "read-write"] {
        for at in dir.listening_addresses() {
            let args = ["recv", &at, &dir.path("out"), "--force", "--route", route];
            let (receiver, address) = Running::listening(timed(&report, &args));
            let mut peer = Stream::connect(&address);
            peer.write_all(&content).unwrap();
            drop(peer);
            receiver.finish().ok();
            assert_small(&report, &format!("{route} from {at}"));
        }
    }
}
