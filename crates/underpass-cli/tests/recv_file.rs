//! The file that `recv` writes is whole or not there at all, and gets its own name only at the end.

use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};

use crate::support::{
    Dir, MIB, MORE_THAN_BUFFERS, Mount, Outcome, Running, Stream, bytes, mode, needs,
};

/// Receives `content` over TCP.
fn receive(args: &[&str], content: &[u8]) -> (Outcome, String) {
    let (receiver, address) = Running::recv(&[&["tcp://127.0.0.1:0"], args].concat());
    let mut peer = Stream::connect(&address);
    // A receiver that has enough resets the connection; its own outcome shows that.
    let _ = peer.write_all(content);
    if let Stream::Tcp(stream) = &peer {
        let _ = stream.shutdown(std::net::Shutdown::Write);
    }
    (receiver.finish(), address)
}

#[test]
fn the_file_appears_only_when_it_is_whole() {
    let dir = Dir::in_memory();
    for at in dir.listening_addresses() {
        let (receiver, address) = Running::recv(&[&at, &dir.path("out")]);
        let mut peer = Stream::connect(&address);
        peer.write_all(&bytes(40, MORE_THAN_BUFFERS)).unwrap();
        let names = dir.names();
        assert_eq!(names.len(), 1, "{names:?}");
        let inner = names[0].strip_prefix(".out.");
        let inner = inner.and_then(|name| name.strip_suffix(".part"));
        assert!(inner.is_some(), "{names:?}");
        peer.end();
        receiver.finish().ok();
        assert_eq!(dir.names(), ["out"]);
        std::fs::remove_file(dir.path("out")).unwrap();
    }
}

/// The sender waits for the connection to close, and by then the file is in place.
#[test]
fn the_file_is_in_place_before_the_sender_hears_of_it() {
    let dir = Dir::in_memory();
    let (receiver, address) = Running::recv(&["tcp://127.0.0.1:0", &dir.path("out")]);
    let mut peer = Stream::connect(&address);
    peer.write_all(b"all").unwrap();
    peer.end();
    peer.await_close();
    assert_eq!(dir.names(), ["out"]);
    receiver.finish().ok();
}

#[test]
fn a_reset_connection_leaves_nothing() {
    let dir = Dir::in_memory();
    let (receiver, address) =
        Running::recv(&["tcp://127.0.0.1:0", &dir.path("out"), "--receipt=json"]);
    let mut peer = Stream::connect(&address);
    peer.write_all(&bytes(41, MORE_THAN_BUFFERS)).unwrap();
    peer.reset();
    let got = receiver
        .finish()
        .fails(3, &[&address, &dir.path("out"), ", after "]);
    assert!(!got.receipt().complete());
    assert_eq!(dir.names(), [""; 0]);
}

#[test]
fn the_expected_length_must_come_exactly() {
    let dir = Dir::in_memory();
    let content = bytes(42, MIB);
    let sink = dir.path("out");
    let too_short = receive(&[&sink, "--expect", "1048577", "--receipt=none"], &content);
    too_short.0.fails(
        3,
        &[&too_short.1, &sink, "after 1,048,576 of 1,048,577 bytes"],
    );
    assert_eq!(dir.names(), [""; 0]);
    let too_long = receive(&[&sink, "--expect", "1048575", "--receipt=none"], &content);
    too_long.0.fails(
        3,
        &[&too_long.1, &sink, "more came than the 1,048,575 bytes"],
    );
    assert_eq!(dir.names(), [""; 0]);
    let right = receive(&[&sink, "--expect", "1MiB", "--receipt=json"], &content);
    right.0.ok().receipt().assert_route("splice", MIB);
    assert!(std::fs::read(sink).unwrap() == content);
    let nothing = receive(&[&dir.path("nothing"), "--expect", "0"], b"");
    nothing.0.ok();
    assert_eq!(std::fs::read(dir.path("nothing")).unwrap(), b"");
}

#[test]
fn an_existing_file_is_replaced_only_by_force() {
    let dir = Dir::in_memory();
    let sink = dir.file("out", &bytes(43, 3 * MIB));
    let refused = crate::support::run(&["recv", "tcp://127.0.0.1:0", &sink]);
    refused.fails(1, &[&sink, "exists", "--force"]);
    assert!(std::fs::read(&sink).unwrap() == bytes(43, 3 * MIB));
    receive(&[&sink, "--force"], b"shorter").0.ok();
    assert_eq!(std::fs::read(&sink).unwrap(), b"shorter");
    assert_eq!(dir.names(), ["out"]);
}

#[test]
fn a_failed_replacement_leaves_the_old_file() {
    let dir = Dir::in_memory();
    let sink = dir.file("out", b"old");
    let args = [sink.as_str(), "--force", "--expect", "10", "--receipt=none"];
    receive(&args, b"new").0.fails(3, &[&sink]);
    assert_eq!(std::fs::read(&sink).unwrap(), b"old");
    assert_eq!(dir.names(), ["out"]);
}

/// Another file of that name appears during the transfer: it is not overwritten.
#[test]
fn a_file_that_appears_meanwhile_is_not_replaced() {
    let dir = Dir::in_memory();
    let sink = dir.path("out");
    let (receiver, address) = Running::recv(&["tcp://127.0.0.1:0", &sink, "--allow-empty"]);
    dir.file("out", b"another's");
    let peer = Stream::connect(&address);
    peer.end();
    receiver
        .finish()
        .fails(1, &[&sink, "appeared meanwhile", "--force"]);
    assert_eq!(std::fs::read(&sink).unwrap(), b"another's");
    assert_eq!(dir.names(), ["out"]);
}

#[test]
fn a_link_is_followed_and_stays() {
    let dir = Dir::in_memory();
    std::fs::create_dir(dir.path("elsewhere")).unwrap();
    let real = dir.file("elsewhere/real", b"old");
    symlink("elsewhere/real", dir.path("link")).unwrap();
    receive(&[&dir.path("link"), "--force"], b"new").0.ok();
    assert_eq!(std::fs::read(real).unwrap(), b"new");
    let link = std::fs::read_link(dir.path("link")).unwrap();
    assert_eq!(link.to_str(), Some("elsewhere/real"));
}

#[test]
fn a_link_to_nothing_is_refused() {
    let dir = Dir::in_memory();
    let link = dir.path("link");
    symlink("nothing", &link).unwrap();
    for options in [&[][..], &["--force"]] {
        let args = [&["recv", "tcp://127.0.0.1:0", &link], options].concat();
        crate::support::run(&args).fails(1, &[&link, "link"]);
    }
    assert_eq!(dir.names(), ["link"]);
}

#[test]
fn permissions_are_the_umasks() {
    let dir = Dir::in_memory();
    let program = env!("CARGO_BIN_EXE_underpass");
    for (umask, want) in [("022", 0o644), ("077", 0o600), ("002", 0o664)] {
        let sink = dir.path(umask);
        let line =
            format!("umask {umask}; exec {program} recv tcp://127.0.0.1:0 {sink} --allow-empty");
        let mut command = Command::new("sh");
        command.args(["-c", &line]).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let (receiver, address) = Running::listening(command);
        Stream::connect(&address).end();
        receiver.finish().ok();
        assert_eq!(mode(&sink), want, "umask {umask}");
    }
}

#[test]
fn a_fifo_is_written_as_it_is() {
    let dir = Dir::in_memory();
    let content = bytes(44, MIB);
    let fifo = dir.path("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, fifo.as_str(), rustix::fs::Mode::RWXU).unwrap();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| std::fs::read(&fifo).unwrap());
        let (got, _) = receive(&[&fifo, "--receipt=json"], &content);
        got.ok().receipt().assert_route("splice", MIB);
        assert!(reader.join().unwrap() == content);
    });
    assert_eq!(dir.names(), ["fifo"]);
}

#[test]
fn a_device_is_written_as_it_is() {
    let (got, _) = receive(&["/dev/null", "--receipt=json"], &bytes(45, MIB));
    let receipt = got.ok().receipt();
    receipt.assert_route("splice", MIB);
    assert_eq!(receipt.party("sink"), ("char_device", "/dev/null"));
}

#[test]
fn a_full_disk_leaves_nothing() {
    let Some(small) = Mount::tmpfs("size=1m") else {
        return;
    };
    let sink = small.path("out");
    for route in ["splice", "read-write"] {
        let args = [sink.as_str(), "--receipt=none", "--route", route];
        let (got, address) = receive(&args, &bytes(46, 4 * MIB));
        got.fails(1, &[&address, &sink, "No space left"]);
        assert_eq!(std::fs::read_dir(small.root()).unwrap().count(), 0);
    }
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    if rustix::process::geteuid().is_root() {
        // Permissions do not stop root; a file system that is mounted read-only does.
        let Some(mount) = Mount::tmpfs("ro") else {
            return;
        };
        refused(&mount.root());
    } else {
        let dir = Dir::in_memory();
        std::fs::set_permissions(dir.root(), PermissionsExt::from_mode(0o555)).unwrap();
        refused(dir.root());
    }
}

fn refused(directory: &str) {
    let sink = format!("{directory}/out");
    let outcome = crate::support::run(&["recv", "tcp://127.0.0.1:0", &sink]);
    outcome.fails(1, &[&sink, "cannot be created in"]);
    assert_eq!(std::fs::read_dir(directory).unwrap().count(), 0);
}

/// If the sink's file system is too small, that is an error of the receiver, and the sender must
/// notice it.
#[test]
fn the_sender_hears_that_the_receivers_disk_is_full() {
    if !needs::root() {
        return;
    }
    let Some(small) = Mount::tmpfs("size=1m") else {
        return;
    };
    let dir = Dir::in_memory();
    let source = dir.file("in", &bytes(47, MORE_THAN_BUFFERS));
    let (receiver, address) =
        Running::recv(&["tcp://127.0.0.1:0", &small.path("out"), "--receipt=none"]);
    let sent = crate::support::run(&["send", &source, &address, "--receipt=none"]);
    sent.fails(3, &[&source, &address]);
    receiver.finish().fails(1, &["No space left"]);
}
