//! Addresses to listen at: in use, left over from a dead process, removed at the end, and without
//! any client.

use std::io::Write;
use std::os::unix::net::UnixListener;

use crate::support::{Dir, Host, Running, Stream, run};

#[test]
fn an_address_in_use_is_named_and_leaves_no_file() {
    let dir = Dir::in_memory();
    let taken = Host::tcp().address();
    let busy = Host::tcp();
    let address = busy.address();
    assert_ne!(taken, address);
    run(&["recv", &address, &dir.path("out")]).fails(1, &[&address, "in use"]);
    assert_eq!(dir.names(), [""; 0]);
}

#[test]
fn a_unix_socket_in_use_is_left_alone() {
    let dir = Dir::in_memory();
    let busy = Host::unix(&dir);
    let address = busy.address();
    run(&["recv", &address, &dir.path("out")]).fails(1, &[&address, "in use"]);
    assert_eq!(dir.names(), ["host"]);
}

#[test]
fn a_stale_unix_socket_is_replaced() {
    let dir = Dir::in_memory();
    drop(UnixListener::bind(dir.path("socket")).unwrap());
    assert_eq!(
        dir.names(),
        ["socket"],
        "nobody listens, yet the path is taken"
    );
    let at = format!("unix:{}", dir.path("socket"));
    let (receiver, address) = Running::recv(&[&at, &dir.path("out")]);
    Stream::connect(&address).write_all(b"x").unwrap();
    receiver.finish().ok();
    assert_eq!(dir.names(), ["out"]);
}

#[test]
fn another_file_at_a_unix_address_is_left_alone() {
    let dir = Dir::in_memory();
    let path = dir.file("precious", b"content");
    let address = format!("unix:{path}");
    run(&["recv", &address, &dir.path("out")]).fails(1, &[&address, "in use"]);
    assert_eq!(std::fs::read(path).unwrap(), b"content");
    assert_eq!(dir.names(), ["precious"]);
}

#[test]
fn a_unix_socket_goes_once_its_one_connection_is_there() {
    let dir = Dir::in_memory();
    let at = format!("unix:{}", dir.path("socket"));
    let (receiver, address) = Running::recv(&[&at, &dir.path("out")]);
    assert!(dir.names().contains(&"socket".to_owned()));
    Stream::connect(&address).write_all(b"x").unwrap();
    receiver.finish().ok();
    assert_eq!(dir.names(), ["out"]);
}

#[test]
fn nobody_coming_times_out_and_leaves_nothing() {
    let dir = Dir::in_memory();
    for at in dir.listening_addresses() {
        let args = [at.as_str(), &dir.path("out"), "--timeout", "50ms"];
        let (receiver, address) = Running::recv(&args);
        receiver
            .finish()
            .fails(3, &[&address, "no connection", "50 ms"]);
        assert_eq!(dir.names(), [""; 0]);
    }
}

#[test]
fn a_silent_peer_times_out_and_leaves_nothing() {
    let dir = Dir::in_memory();
    for at in dir.listening_addresses() {
        let args = [
            at.as_str(),
            &dir.path("out"),
            "--timeout",
            "50ms",
            "--receipt=none",
        ];
        let (receiver, address) = Running::recv(&args);
        let _silent = Stream::connect(&address);
        receiver
            .finish()
            .fails(3, &[&address, &dir.path("out"), "50 ms"]);
        assert_eq!(dir.names(), [""; 0]);
    }
}

#[test]
fn ipv6_is_listened_on_and_sent_to() {
    let dir = Dir::in_memory();
    let source = dir.file("in", b"over IPv6");
    let (receiver, address) = Running::recv(&["tcp://[::1]:0", &dir.path("out")]);
    run(&["send", &source, &address]).ok();
    receiver.finish().ok();
    assert_eq!(std::fs::read(dir.path("out")).unwrap(), b"over IPv6");
}

#[test]
fn names_that_resolve_are_listened_on() {
    let dir = Dir::in_memory();
    let source = dir.file("in", b"by name");
    let (receiver, address) = Running::recv(&["tcp://localhost:0", &dir.path("out")]);
    run(&["send", &source, &address]).ok();
    receiver.finish().ok();
    assert_eq!(std::fs::read(dir.path("out")).unwrap(), b"by name");
}
