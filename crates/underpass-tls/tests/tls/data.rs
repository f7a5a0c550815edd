//! Data, in all versions and ciphers.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::AsFd as _;
use std::thread;

use underpass::{Sent, sendfile_once};

use crate::support::{
    Ours, Peer, Tap, bytes, call, client_config, is_in_kernel, one_of_each_version, serve,
    server_config, suites, version_of,
};

/// Not a multiple of a record.
const LEN: usize = 3_000_001;

#[test]
fn a_server_sends_and_receives_with_every_cipher() {
    for suite in suites() {
        let (ours, peer) = serve(Some(suite));
        assert_eq!(ours.session.info().version, version_of(suite));
        both_ways(&ours, peer);
    }
}

#[test]
fn a_client_sends_and_receives_with_every_cipher() {
    for suite in suites() {
        let (ours, peer) = call(Some(suite));
        assert_eq!(ours.session.info().version, version_of(suite));
        both_ways(&ours, peer);
    }
}

/// Sends and receives, and ends both directions.
fn both_ways(ours: &Ours, mut peer: Peer) {
    is_in_kernel(&ours.session);
    let (there, back) = (bytes(1, LEN), bytes(2, LEN));
    let (expected, answer) = (there.clone(), back.clone());
    let far = thread::spawn(move || {
        assert!(peer.receive_all().unwrap() == expected);
        peer.send(&answer);
        peer.close();
        peer
    });
    ours.send_all(&there).unwrap();
    ours.close().unwrap();
    let (got, end) = ours.receive_all(100_000);
    end.unwrap();
    assert!(got == back, "{}", ours.session.info());
    far.join().unwrap();
}

#[test]
fn slices_of_any_size_arrive_in_order() {
    let (ours, mut peer) = serve(None);
    let content = bytes(3, 200_000);
    let far = thread::spawn(move || peer.receive_all().unwrap());
    let cuts = [
        0, 1, 300, 300, 16_384, 16_700, 33_084, 90_000, 90_010, 200_000,
    ];
    let mut left: Vec<&[u8]> = cuts
        .windows(2)
        .map(|cut| &content[cut[0]..cut[1]])
        .collect();
    while left.iter().any(|slice| !slice.is_empty()) {
        let mut count = ours.send(&left).unwrap();
        for slice in &mut left {
            let taken = count.min(slice.len());
            *slice = &slice[taken..];
            count -= taken;
        }
    }
    ours.close().unwrap();
    assert!(far.join().unwrap() == content);
}

#[test]
fn data_is_received_a_byte_at_a_time() {
    for suite in one_of_each_version() {
        let (ours, mut peer) = serve(Some(suite));
        let content = bytes(4, 40_000);
        peer.send(&content);
        peer.close();
        let (got, end) = ours.receive_all(1);
        end.unwrap();
        assert!(got == content);
    }
}

/// Pitfall 38: what came along with the end of the handshake is not lost.
#[test]
fn pitfall_38_data_that_comes_along_with_finished_is_handed_on() {
    for suite in one_of_each_version() {
        let (near, far) = crate::support::pair();
        let sender = thread::spawn(move || {
            let mut peer = Peer::without_handshake(far, Some(suite));
            // rustls keeps it until it may send it, and then sends all at once.
            peer.connection.writer().write_all(b"early and ").unwrap();
            while peer.connection.is_handshaking() {
                peer.connection.complete_io(&mut peer.socket).unwrap();
            }
            peer.send(b"late");
            peer.close();
            peer
        });
        let ours = Ours::accept(near, &server_config()).unwrap();
        let (got, end) = ours.receive_all(100);
        end.unwrap();
        assert_eq!(got, b"early and late");
        drop(sender.join().unwrap());
    }
}

/// Nothing that was sent or received passes as it is.
#[test]
fn nothing_passes_in_plain_text() {
    const SECRET: &[u8] = b"nobody but the two of us may read this";
    for suite in one_of_each_version() {
        let (near, far, tap) = Tap::between();
        let far = thread::spawn(move || {
            let mut peer = Peer::client(far, Some(suite));
            peer.send(SECRET);
            peer.close();
            peer.receive_all().unwrap()
        });
        let ours = Ours::accept(near, &server_config()).unwrap();
        ours.send_all(SECRET).unwrap();
        let (got, end) = ours.receive_all(1000);
        end.unwrap();
        assert_eq!(got, SECRET);
        ours.close().unwrap();
        assert_eq!(far.join().unwrap(), SECRET);
        drop(ours);
        let passed = tap.all();
        let is_plain = passed
            .windows(16)
            .any(|part| SECRET.windows(16).any(|it| it == part));
        assert!(!is_plain);
    }
}

/// Pitfall 43: a sendfile(2) that blocks again and again goes on where it stopped. Pitfall 45: and
/// the file is as it was.
#[test]
fn pitfall_43_and_45_a_file_arrives_through_a_small_send_buffer() {
    let (near, far) = crate::support::pair();
    rustix::net::sockopt::set_socket_send_buffer_size(&near, 16 << 10).unwrap();
    let far = thread::spawn(move || Peer::client(far, None).receive_all().unwrap());
    let ours = Ours::accept(near, &server_config()).unwrap();
    if !is_in_kernel(&ours.session) {
        return;
    }
    let content = bytes(5, LEN);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&content).unwrap();
    ours.socket.set_nonblocking(true).unwrap();
    send_file(&ours, &file);
    ours.socket.set_nonblocking(false).unwrap();
    ours.close().unwrap();
    assert!(far.join().unwrap() == content);
    let mut after = Vec::new();
    let mut reader = File::open(format!("/proc/self/fd/{}", raw(&file))).unwrap();
    reader.read_to_end(&mut after).unwrap();
    assert!(after == content, "the page cache was written to");
}

fn raw(file: &File) -> i32 {
    std::os::fd::AsRawFd::as_raw_fd(file)
}

fn send_file(ours: &Ours, file: &File) {
    let mut offset = 0;
    let mut blocked = 0;
    while offset < LEN as u64 {
        let left = LEN - offset as usize;
        match sendfile_once(file.as_fd(), offset, ours.socket.as_fd(), left).unwrap() {
            Sent::Moved(count) => {
                offset += count as u64;
                ours.session
                    .sent(ours.socket.as_fd(), count as u64)
                    .unwrap();
            }
            Sent::Blocked => {
                blocked += 1;
                ours.session.sent(ours.socket.as_fd(), 0).unwrap();
                wait_writable(&ours.socket);
            }
            Sent::Ended => panic!("the file ended"),
        }
    }
    assert!(blocked > 0, "nothing was tried");
}

fn wait_writable(socket: &TcpStream) {
    let mut sockets = [rustix::event::PollFd::new(
        socket,
        rustix::event::PollFlags::OUT,
    )];
    let ready = rustix::event::poll(
        &mut sockets,
        Some(&rustix::event::Timespec {
            tv_sec: 20,
            tv_nsec: 0,
        }),
    );
    assert_eq!(ready, Ok(1), "the socket is never writable again");
}

/// Pitfall 42: a record that was left open is ended by a flush, and by the end.
#[test]
fn pitfall_42_an_open_record_is_ended() {
    for closes in [false, true] {
        let (ours, mut peer) = serve(None);
        is_in_kernel(&ours.session);
        let head = [std::io::IoSlice::new(b"a head")];
        let socket = ours.socket.as_fd();
        assert_eq!(ours.session.send(socket, &head, true).unwrap(), 6);
        if closes {
            ours.close().unwrap();
            assert_eq!(peer.receive_all().unwrap(), b"a head");
        } else {
            ours.session.flush(socket).unwrap();
            peer.expect(b"a head");
            ours.close().unwrap();
            assert_eq!(peer.receive_all().unwrap(), b"");
        }
    }
}

#[test]
fn two_sessions_of_ours_understand_each_other() {
    let (near, far) = crate::support::pair();
    let server = thread::spawn(move || Ours::accept(near, &server_config()).unwrap());
    let client = Ours::connect(far, &client_config()).unwrap();
    let server = server.join().unwrap();
    let content = bytes(6, LEN);
    let expected = content.clone();
    let receiver = thread::spawn(move || {
        let (got, end) = server.receive_all(1 << 20);
        end.unwrap();
        assert!(got == expected);
    });
    client.send_all(&content).unwrap();
    client.close().unwrap();
    receiver.join().unwrap();
}

/// It tells data from an end, and takes neither.
#[test]
fn whether_there_is_data_is_known_without_taking_it() {
    for suite in one_of_each_version() {
        let (ours, mut peer) = serve(Some(suite));
        is_in_kernel(&ours.session);
        let has_data = |ours: &Ours| ours.session.has_data(ours.socket.as_fd());
        peer.send(b"data");
        for _ in 0..2 {
            assert!(has_data(&ours).unwrap());
        }
        ours.expect(b"data");
        peer.close();
        assert!(!has_data(&ours).unwrap());
        assert_eq!(ours.receive(&mut [0; 10]).unwrap(), 0);

        let (ours, peer) = serve(Some(suite));
        peer.socket.shutdown(std::net::Shutdown::Write).unwrap();
        let error = has_data(&ours).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "{error}");

        // A server's tickets come first.
        let (ours, mut peer) = call(Some(suite));
        peer.send(b"data");
        assert!(has_data(&ours).unwrap());
        ours.expect(b"data");
    }
}
