//! Sources that change while they are sent.

use std::fs::OpenOptions;
use std::io::Read;

use underpass::units::grouped;

use crate::support::{Dir, Host, MIB, MORE_THAN_BUFFERS, Running, bytes, run, underpass};

/// Far behind what buffers can have read from the file when its first byte has arrived.
const CUT: usize = 40 * MIB;

#[test]
fn pitfall_02_truncated_source_is_incomplete_and_said_where() {
    let dir = Dir::in_memory();
    for route in ["sendfile", "splice", "read-write"] {
        for host in Host::each(&dir) {
            truncated_while_sent(&dir, route, &host);
        }
    }
}

fn truncated_while_sent(dir: &Dir, route: &str, host: &Host) {
    let source = dir.file("in", &bytes(110, MORE_THAN_BUFFERS));
    let address = host.address();
    let args = [
        "send",
        &source,
        &address,
        "--receipt=json",
        "--route",
        route,
    ];
    let sender = Running::start(underpass(&args));
    let mut peer = host.accept();
    peer.read_exactly(1);
    let file = OpenOptions::new().write(true).open(&source).unwrap();
    file.set_len(CUT as u64).unwrap();
    let came = peer.drain();
    let sent = sender.finish().fails(
        3,
        &[
            &source,
            &address,
            &format!("ended after {} of", grouped(CUT as u64)),
        ],
    );
    assert!(!sent.receipt().complete());
    assert_eq!(
        sent.receipt().number("bytes"),
        CUT as u64,
        "nothing was padded"
    );
    // Over TCP, the receiver is told that the data is incomplete.
    assert_eq!(came.is_err(), address.starts_with("tcp"));
}

/// The file that was opened is sent, whichever file has its name meanwhile.
#[test]
fn a_replaced_source_arrives_as_it_was() {
    let dir = Dir::in_memory();
    let content = bytes(111, MORE_THAN_BUFFERS);
    let source = dir.file("in", &content);
    let replacement = dir.file("new", &bytes(112, MORE_THAN_BUFFERS));
    let host = Host::tcp();
    let sender = underpass(&["send", &source, &host.address(), "--receipt=json"]);
    let sender = Running::start(sender);
    let mut peer = host.accept();
    let mut came = peer.read_exactly(1);
    std::fs::rename(replacement, &source).unwrap();
    peer.read_to_end(&mut came).unwrap();
    drop(peer);
    sender
        .finish()
        .ok()
        .receipt()
        .assert_route("sendfile", MORE_THAN_BUFFERS);
    assert!(came == content);
}

#[test]
fn a_removed_source_arrives_as_it_was() {
    let dir = Dir::in_memory();
    let content = bytes(113, MORE_THAN_BUFFERS);
    let source = dir.file("in", &content);
    let host = Host::unix(&dir);
    let sender = Running::start(underpass(&["send", &source, &host.address()]));
    let mut peer = host.accept();
    let mut came = peer.read_exactly(1);
    std::fs::remove_file(source).unwrap();
    peer.read_to_end(&mut came).unwrap();
    drop(peer);
    sender.finish().ok();
    assert!(came == content);
}

/// Bytes that are appended during the transfer are not sent.
#[test]
fn a_growing_source_is_sent_to_the_length_it_had() {
    let dir = Dir::in_memory();
    let content = bytes(114, MORE_THAN_BUFFERS);
    let source = dir.file("in", &content);
    let host = Host::tcp();
    let sender = Running::start(underpass(&["send", &source, &host.address()]));
    let mut peer = host.accept();
    let mut came = peer.read_exactly(1);
    let file = OpenOptions::new().write(true).open(&source).unwrap();
    file.set_len(MORE_THAN_BUFFERS as u64 + 4096).unwrap();
    peer.read_to_end(&mut came).unwrap();
    drop(peer);
    sender.finish().ok();
    assert!(came == content);
}

/// The range existed when the transfer was started.
#[test]
fn a_source_cut_before_its_range_is_refused() {
    let dir = Dir::in_memory();
    let source = dir.file("in", b"0123456789");
    let refused = run(&["copy", &source, &dir.path("out"), "--range", "5..20"]);
    refused.fails(2, &[&source, "20", "10"]);
}
