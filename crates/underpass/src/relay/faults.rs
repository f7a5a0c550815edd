//! Fails each system call of a direction in each way it can fail. The bytes must arrive all the
//! same, or the outcome must say how many did (pitfalls 6, 9 to 12, and 15).

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use rustix::io::Errno;

use super::{Direction, Pair, Relay, RelayEnd, RelayOutcome, RelaySettings, Side};
use crate::route::Route;
use crate::step::Step;
use crate::step::Wait;
use crate::stream::error::PeerError;
use crate::stream::test_sender::{Peer, Sender};
use crate::sys::faulty::{Call, Fault, Faulty};

const LENGTH: usize = 100_000;

/// A client's content, relayed to a target that reads all the time.
struct Case {
    relayed: RelayOutcome,
    got: Vec<u8>,
    /// Bytes that were not read from the client.
    left: usize,
    struck: usize,
    log: usize,
}

fn content() -> Vec<u8> {
    (0..LENGTH).map(|at| (at * 7 + at / 251) as u8).collect()
}

fn run(route: Route, sys: &Faulty) -> Case {
    run_from(Peer::Unix, route, sys)
}

fn run_from(peer: Peer, route: Route, sys: &Faulty) -> Case {
    let (mut client, near) = Sender::new(peer, content());
    let (far, mut target) = UnixStream::pair().unwrap();
    for socket in [&far, &target] {
        socket.set_nonblocking(true).unwrap();
    }
    let settings = RelaySettings {
        route: Some(route),
        ..RelaySettings::default()
    };
    let mut pair = Pair::new(&settings);
    let mut got = Vec::new();
    drop(
        target
            .try_clone()
            .map(|target| target.shutdown(std::net::Shutdown::Write)),
    );
    while !pair.is_over() {
        client.push(LENGTH);
        while pair.step(sys, Direction::Up, near.as_fd(), far.as_fd()) != Step::Done {
            let _ = target.read_to_end(&mut got);
            if !client.has_sent_all() {
                break;
            }
        }
        pair.step(sys, Direction::Down, far.as_fd(), near.as_fd());
    }
    let relayed = pair.finish(RelayEnd::Cut, near.as_fd(), far.as_fd());
    let _ = target.read_to_end(&mut got);
    let mut rest = Vec::new();
    let _ = File::from(near).read_to_end(&mut rest);
    Case {
        relayed,
        got,
        left: rest.len() + LENGTH - client.sent,
        struck: sys.struck(),
        log: sys.log().len(),
    }
}

/// Checks that the counts of a case match the bytes.
fn check(case: &Case, what: &str) {
    let up = &case.relayed.up;
    assert!(content().starts_with(&case.got), "{what}: other bytes");
    assert_eq!(up.bytes() as usize, case.got.len(), "{what}: {up:?}");
    let all = case.got.len() + up.undelivered as usize + case.left;
    assert_eq!(all, LENGTH, "{what}: {up:?}");
    assert!(case.log < 3000, "{what}: {} calls", case.log);
}

#[test]
fn pitfall_10_and_15_what_passes_by_itself_loses_nothing() {
    let faults = [
        Fault::Errno(Errno::INTR),
        Fault::Errno(Errno::AGAIN),
        Fault::Cap(1),
        Fault::Half,
    ];
    for (route, call) in [
        (Route::ReadWrite, Call::Read),
        (Route::ReadWrite, Call::Write),
        (Route::Splice, Call::Splice),
    ] {
        for fault in faults {
            for nth in 1..4 {
                let what = format!("{route}: {call:?} {nth}: {fault:?}");
                let case = run(route, &Faulty::default().at(call, nth, fault));
                check(&case, &what);
                assert_eq!((case.struck, case.got.len()), (1, LENGTH), "{what}");
                assert_eq!(case.relayed.ended, RelayEnd::Closed, "{what}");
                assert!(!case.relayed.up.splice_refused, "{what}");
            }
        }
    }
}

#[test]
fn pitfall_24_an_urgent_byte_is_no_end() {
    let faults = [Fault::Errno(Errno::INTR), Fault::Errno(Errno::AGAIN)];
    for (route, call) in [
        (Route::ReadWrite, Call::Read),
        (Route::Splice, Call::Read),
        (Route::Splice, Call::Splice),
        (Route::Splice, Call::AtMark),
    ] {
        for fault in faults {
            for nth in 1..8 {
                let what = format!("{route}: {call:?} {nth}: {fault:?}");
                let sys = Faulty::default().at(call, nth, fault);
                let case = run_from(Peer::UrgentTcp, route, &sys);
                check(&case, &what);
                assert_eq!(case.got.len(), LENGTH, "{what}");
                assert_eq!(case.relayed.ended, RelayEnd::Closed, "{what}");
                let spliced = case.relayed.up.spliced > LENGTH as u64 / 4;
                assert_eq!(spliced, route == Route::Splice, "{what}");
            }
        }
    }
}

#[test]
fn pitfall_06_and_09_splice_refused_at_any_call_goes_on_copying() {
    for errno in [Errno::INVAL, Errno::PERM, Errno::NOSYS] {
        for nth in 1..4 {
            let what = format!("{errno:?} at {nth}");
            let sys = Faulty::default().from(Call::Splice, nth, Fault::Errno(errno));
            let case = run(Route::Splice, &sys);
            check(&case, &what);
            assert_eq!(case.got.len(), LENGTH, "{what}");
            assert!(case.relayed.up.splice_refused, "{what}");
        }
    }
}

#[test]
fn pitfall_11_no_splice_says_that_more_comes() {
    // Every call is cut short, so that last pieces of all kinds occur.
    for cap in [1000, 4096, 70_000] {
        let sys = Faulty::default().from(Call::Splice, 1, Fault::Cap(cap));
        let case = run(Route::Splice, &sys);
        check(&case, "capped");
        assert_eq!(case.got.len(), LENGTH);
        let splices = sys
            .log()
            .into_iter()
            .filter(|made| made.call == Call::Splice);
        assert_eq!(splices.filter(|made| made.more).count(), 0, "{cap}");
    }
}

#[test]
fn pitfall_13_a_pipe_that_cannot_be_had_is_counted() {
    // Pipes left in the pool would be used without a call.
    crate::route::pipe::empty_pool();
    let sys = Faulty::default().from(Call::Pipe, 1, Fault::Errno(Errno::MFILE));
    let case = run(Route::Splice, &sys);
    check(&case, "EMFILE");
    assert_eq!(case.got.len(), LENGTH);
}

#[test]
fn pitfall_12_a_side_that_is_gone_is_told_and_counted() {
    for (route, call) in [
        (Route::ReadWrite, Call::Read),
        (Route::ReadWrite, Call::Write),
        (Route::Splice, Call::Splice),
    ] {
        for nth in 1..4 {
            let what = format!("{route}: {call:?} {nth}");
            let sys = Faulty::default().from(call, nth, Fault::Errno(Errno::CONNRESET));
            let case = run(route, &sys);
            check(&case, &what);
            assert!(
                matches!(case.relayed.ended, RelayEnd::Reset { .. }),
                "{what}"
            );
            assert!(!case.relayed.up.ended, "{what}");
        }
    }
}

#[test]
fn a_client_that_is_gone_while_its_bytes_wait_is_seen_by_looking() {
    let (mut client, mut near) = UnixStream::pair().unwrap();
    let (far, target) = UnixStream::pair().unwrap();
    near.write_all(b"unread, so that to go is to reset")
        .unwrap();
    client.set_nonblocking(true).unwrap();
    let mut relay = Relay::new(near, far, &RelaySettings::default()).unwrap();
    while client.write(&[0; 4096]).is_ok() || relay.step(Direction::Up) != Step::Blocked(Wait::Sink)
    {
    }
    relay.look();
    assert!(!relay.is_over(), "the client is there");
    drop(client);
    assert_eq!(relay.step(Direction::Up), Step::Blocked(Wait::Sink));
    relay.look();
    assert!(relay.is_over());
    let waiting = relay.in_flight(Direction::Up);
    let relayed = relay.finish();
    let reset = RelayEnd::Reset {
        by: Side::Near,
        error: PeerError::new(Errno::CONNRESET),
    };
    assert_eq!((relayed.ended, waiting), (reset, 0));
    assert!(relayed.up.undelivered > 0);
    drop(target);
}
