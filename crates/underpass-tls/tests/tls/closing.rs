//! How streams end.

use std::io::{ErrorKind, Write as _};
use std::net::Shutdown;
use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use underpass_tls::LayerError;

use crate::support::{bytes, is_in_kernel, one_of_each_version, serve};

#[test]
fn a_stream_that_ends_without_close_notify_was_cut() {
    for suite in one_of_each_version() {
        let (ours, mut peer) = serve(Some(suite));
        peer.send(b"some of it");
        peer.socket.shutdown(Shutdown::Write).unwrap();
        let (got, end) = ours.receive_all(100);
        assert_eq!(got, b"some of it");
        let error = end.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{error}");
        assert_eq!(LayerError::of(&error), Some(LayerError::Cut));
        // It stays so.
        let again = ours.receive(&mut [0; 10]).unwrap_err();
        assert_eq!(again.kind(), ErrorKind::UnexpectedEof);
    }
}

#[test]
fn a_stream_that_ends_in_the_middle_of_a_record_was_cut() {
    for suite in one_of_each_version() {
        let (ours, mut peer) = serve(Some(suite));
        peer.connection.writer().write_all(&bytes(1, 1000)).unwrap();
        let records = peer.records();
        peer.socket.write_all(&records[..500]).unwrap();
        peer.socket.shutdown(Shutdown::Write).unwrap();
        let (got, end) = ours.receive_all(100);
        assert!(got.is_empty());
        let error = end.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{error}");
    }
}

/// Pitfall 44: one direction can end before the other.
#[test]
fn pitfall_44_each_direction_ends_by_itself() {
    for suite in one_of_each_version() {
        let (ours, mut peer) = serve(Some(suite));
        peer.close();
        assert_eq!(ours.receive(&mut [0; 10]).unwrap(), 0);
        assert_eq!(ours.receive(&mut [0; 10]).unwrap(), 0);
        ours.send_all(b"still here").unwrap();
        ours.close().unwrap();
        assert_eq!(peer.receive_all().unwrap(), b"still here");
        let error = ours.send(&[b"too late"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    }
}

/// Pitfall 44: close_notify waits for room, and comes after the data.
#[test]
fn pitfall_44_close_notify_waits_for_room() {
    let (ours, mut peer) = serve(None);
    is_in_kernel(&ours.session);
    ours.socket.set_nonblocking(true).unwrap();
    let content = bytes(2, 1 << 20);
    let socket = ours.socket.as_fd();
    let (mut sent, mut is_quiet) = (Vec::new(), false);
    // The kernel acknowledges some of it late, which makes room once more.
    let error = loop {
        match ours.send(&[&content]) {
            Ok(count) => {
                sent.extend_from_slice(&content[..count]);
                is_quiet = false;
            }
            Err(error) if is_quiet => break error,
            Err(_) => {
                wait_for_room(socket);
                is_quiet = true;
            }
        }
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    let error = ours.session.close(socket).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    assert!(ours.session.has_unsent());
    let reader = std::thread::spawn(move || peer.receive_all().unwrap());
    ours.socket.set_nonblocking(false).unwrap();
    ours.close().unwrap();
    assert_eq!(ours.session.unsent(), 0);
    assert!(reader.join().unwrap() == sent);
}

/// Waits until there is room, for a moment.
fn wait_for_room(socket: BorrowedFd<'_>) {
    let moment = Timespec {
        tv_sec: 0,
        tv_nsec: 300_000_000,
    };
    let mut sockets = [PollFd::from_borrowed_fd(socket, PollFlags::OUT)];
    poll(&mut sockets, Some(&moment)).unwrap();
}

#[test]
fn bytes_that_were_taken_and_not_sent_are_counted() {
    let (ours, _peer) = serve(None);
    if is_in_kernel(&ours.session) {
        return;
    }
    ours.socket.set_nonblocking(true).unwrap();
    let content = bytes(3, 1 << 20);
    let mut total = 0;
    while let Ok(count) = ours.send(&[&content]) {
        total += count as u64;
    }
    let unsent = ours.session.unsent();
    assert!(unsent > 0 && unsent < total, "{unsent} of {total}");
}
