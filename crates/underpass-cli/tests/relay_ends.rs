//! `relay`: how connections end. What one side does, the other sees.

use std::io::{ErrorKind, Write};

use crate::support::{Dir, Host, MIB, Relay, bytes};

#[test]
fn pitfall_12_a_half_close_is_passed_on_and_the_other_direction_goes_on() {
    let dir = Dir::new();
    for host in Host::each(&dir) {
        let relay = Relay::to(&host.address(), &[]);
        let (mut client, mut target) = (relay.connect(), host.accept());
        client.write_all(b"a question").unwrap();
        client.end();
        assert_eq!(target.read_all(), b"a question");
        let answer = bytes(410, 3 * MIB);
        let sending = std::thread::spawn({
            let answer = answer.clone();
            move || target.write_all(&answer).map(|()| target.end())
        });
        assert!(client.read_all() == answer);
        sending.join().unwrap().unwrap();
        relay.stop().ok();
    }
}

#[test]
fn pitfall_12_a_reset_is_passed_on_as_a_reset() {
    let host = Host::tcp();
    let relay = Relay::to(&host.address(), &[]);
    for client_resets in [true, false] {
        let (mut client, mut target) = (relay.connect(), host.accept());
        client.write_all(b"some").unwrap();
        assert_eq!(target.read_exactly(4), b"some");
        let mut other = if client_resets {
            client.reset();
            target
        } else {
            target.reset();
            client
        };
        let error = other.drain().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{client_resets}");
    }
    relay.stop().ok();
}

#[test]
fn pitfall_12_what_was_said_before_a_reset_still_arrives() {
    let host = Host::tcp();
    let relay = Relay::to(&host.address(), &[]);
    for _ in 0..20 {
        let (mut client, mut target) = (relay.connect(), host.accept());
        let sending = std::thread::spawn({
            let mut client = client.try_clone();
            // An upload that is refused: the answer comes, and then the rest of the upload meets a closed socket.
            move || client.write_all(&vec![0; 64 * MIB]).unwrap_err()
        });
        target.read_exactly(1);
        target.write_all(b"refused").unwrap();
        drop(target);
        assert_eq!(client.read_exactly(7), b"refused");
        sending.join().unwrap();
    }
    relay.stop().ok();
}
