//! What a server answers to a client that breaks the rules of a handshake: always an alert that the
//! client can read, and never plain text.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::thread::{self, JoinHandle};

use rustls::{AlertDescription, Error};
use underpass_tls::FailureReason;

use crate::http::Server;
use crate::support::{Ours, Peer, one_of_each_version, pair, server_config};

/// A header whose record would be longer than any may be.
const TOO_LONG: [u8; 5] = [22, 3, 3, 0xff, 0xff];

const PLAIN_HTTP: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

const CHANGE_CIPHER_SPEC: [u8; 6] = [20, 3, 3, 0, 1, 1];

/// What ends the connection of `peer`, by the records that it gets. `None` if it is no alert.
fn alert(peer: &mut Peer) -> Option<AlertDescription> {
    loop {
        match peer.connection.read_tls(&mut peer.socket) {
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
        match peer.connection.process_new_packets() {
            Ok(_) => {}
            Err(Error::AlertReceived(alert)) => return Some(alert),
            Err(error) => panic!("not what a server may send: {error}"),
        }
    }
}

/// A server's handshake, and how it fails.
fn serve() -> (TcpStream, JoinHandle<io::Error>) {
    let (near, far) = pair();
    let serving = thread::spawn(move || Ours::accept(near, &server_config()).map(drop));
    (far, thread::spawn(|| serving.join().unwrap().unwrap_err()))
}

#[test]
fn whatever_follows_a_hello_gets_an_alert() {
    let interrupted = [22, 3, 3, 0, 4, 16, 0, 0, 9, 23, 3, 3, 0, 1, 0];
    let cases: [(&[u8], &str); 4] = [
        (PLAIN_HTTP, "plain HTTP"),
        (&TOO_LONG, "too long"),
        (&CHANGE_CIPHER_SPEC.repeat(40), "too many"),
        (&interrupted, "in the middle of a message"),
    ];
    for suite in one_of_each_version() {
        for (sent, what) in cases {
            let (far, serving) = serve();
            let mut peer = Peer::without_handshake(far, Some(suite));
            let hello = peer.records();
            peer.socket.write_all(&hello).unwrap();
            peer.socket.write_all(sent).unwrap();
            let alert = alert(&mut peer);
            assert!(alert.is_some(), "no alert: {what}, {:?}", suite.suite());
            let error = serving.join().unwrap();
            let reason = FailureReason::of(&error);
            assert_eq!(reason, FailureReason::Protocol, "{what}: {error}");
        }
    }
}

/// A client that waits for an answer before it goes on.
#[test]
fn what_is_no_hello_gets_an_alert_at_once() {
    let cases: [(&[u8], &str); 4] = [
        (&TOO_LONG, "a record that is too long"),
        (
            &[22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff],
            "a message that is too long",
        ),
        (
            &[22, 3, 1, 0, 4, 1, 0, 0, 9, 23, 3, 3, 0, 1, 0],
            "data in the middle of a message",
        ),
        (
            &[22, 3, 1, 0, 4, 1, 0, 0, 9, 23, 3, 3, 0, 0],
            "no data in the middle of a message",
        ),
    ];
    for (sent, what) in cases {
        let (mut far, serving) = serve();
        far.write_all(sent).unwrap();
        let mut answer = Vec::new();
        // Bytes that the server did not read end the connection by a reset.
        let _ = far.read_to_end(&mut answer);
        // In plain text, as no key exists yet: fatal, and decode_error.
        assert_eq!(answer, [21, 3, 3, 0, 2, 2, 50], "{what}");
        let error = serving.join().unwrap();
        assert_eq!(
            FailureReason::of(&error),
            FailureReason::Protocol,
            "{error}"
        );
    }
}

/// The client has the server's keys already, and whoever is between the two has not: a plain answer
/// could be anybody's.
#[test]
fn plain_http_after_a_hello_gets_no_plain_answer() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::new(dir.path());
    let mut peer = Peer::without_handshake(TcpStream::connect(server.address).unwrap(), None);
    let hello = peer.records();
    peer.socket.write_all(&hello).unwrap();
    peer.socket.write_all(PLAIN_HTTP).unwrap();
    assert_eq!(alert(&mut peer), Some(AlertDescription::DecodeError));
}
