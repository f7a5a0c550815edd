//! How many system calls a small transfer makes besides the one that moves the bytes.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use underpass::{Cancel, Transfer};
use underpass_testing::needs;

/// Set in the process that strace(1) watches.
const WATCHED: &str = "UNDERPASS_TEST_CALLS";
const BYTES: u64 = 4096;
/// Together they fit into what the sockets hold, so that nobody has to read meanwhile.
const TRANSFERS: usize = 10;

/// What a transfer asks about its ends, and what its receipt says, costs calls. There is a limit to
/// it: for 4 KiB they cost more than the transfer itself.
#[test]
fn a_small_transfer_makes_few_calls_beside_its_own() {
    if std::env::var_os(WATCHED).is_some() {
        return send_small_files();
    }
    if !needs::tool("strace") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let trace = directory.path().join("trace");
    let output = Command::new("strace")
        .args(["-f", "-qq", "-o"])
        .arg(&trace)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "a_small_transfer_makes_few_calls_beside_its_own"])
        .env(WATCHED, "1")
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    if message.contains("ptrace") && !output.status.success() {
        needs::lacking("ptrace(2) is not allowed");
        return;
    }
    assert!(output.status.success(), "{message}");
    let trace = std::fs::read_to_string(trace).unwrap();
    // What is remembered only for a moment may have to be asked again between two of them.
    let between = between_sendfiles(&trace);
    assert_eq!(between.len(), TRANSFERS - 1);
    let fewest = between.iter().min_by_key(|calls| calls.len()).unwrap();
    let after = ["ioctl", "clock_gettime", "getrusage", "getpeername"];
    let source = ["fcntl", "statx"];
    let sink = ["fcntl", "getsockopt", "getsockopt", "ioctl"];
    let before = ["clock_gettime", "getrusage"];
    let expected = [&after[..], &source, &sink, &before].concat();
    assert_eq!(fewest, &expected, "{trace}");
}

fn send_small_files() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut far, _) = listener.accept().unwrap();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&[7; BYTES as usize]).unwrap();
    let cancel = Cancel::new().unwrap();
    for _ in 0..TRANSFERS {
        let transfer = Transfer::new(&file, &near).range(..BYTES);
        let named = transfer.names("a file", "a socket").cancel(&cancel);
        let receipt = named.run().unwrap();
        assert_eq!((receipt.bytes, receipt.syscalls), (BYTES, 1));
        assert_eq!(receipt.copies.cpu_bytes, Some(0), "{}", receipt.copies.why);
    }
    let mut got = vec![0; TRANSFERS * BYTES as usize];
    far.read_exact(&mut got).unwrap();
}

/// The names of the calls that the sending thread makes between each sendfile(2) and the next.
/// Calls for memory are left out, and fstatfs(2), which kernels before 6.8 need.
fn between_sendfiles(trace: &str) -> Vec<Vec<&str>> {
    let calls: Vec<(&str, &str)> = trace.lines().filter_map(call).collect();
    let sender = calls.iter().find(|(_, name)| *name == "sendfile").unwrap();
    let own = calls.iter().filter(|(thread, _)| *thread == sender.0);
    let names: Vec<&str> = own
        .map(|(_, name)| *name)
        .filter(|name| !["brk", "mmap", "munmap", "fstatfs"].contains(name))
        .collect();
    let groups: Vec<_> = names.split(|name| *name == "sendfile").collect();
    let inner = &groups[1..groups.len() - 1];
    inner.iter().map(|group| group.to_vec()).collect()
}

/// Thread and name of a call, from a line such as `12 sendfile(4, 6, [0], 100) = 100`. A line of a
/// call that goes on (`12 <... sendfile resumed>`) or of a signal is none.
fn call(line: &str) -> Option<(&str, &str)> {
    let (thread, call) = line.split_once(' ')?;
    let (name, _) = call.trim_start().split_once('(')?;
    let is_name = name
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit());
    is_name.then_some((thread, name))
}
