//! Fails each system call of a fan-out in each way it can fail. The bytes must arrive all the same,
//! or the counts must say how many did (pitfalls 6, 9, 10, 12 to 15).

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use rustix::io::Errno;

use super::ring::Ring;
use super::send_state::SendState;
use super::source::ReadState;
use super::{
    FanOutSettings, FanOutStats, Shared, SourceCounts, SourceEnd, SubscriberCounts, SubscriberEnd,
};
use crate::fake_layer::{self, FakeLayer};
use crate::layer::Layer;
use crate::route::Route;
use crate::step::{Step, Wait};
use crate::stream::test_sender::{Peer, Sender};
use crate::sys::faulty::{Call, Fault, Faulty};
use crate::wire::Wire;

const LENGTH: usize = 200_000;
/// Bytes sent at once. Small, so that each kind of call is made several times.
const PIECE: usize = 20_000;
const SUBSCRIBERS: usize = 3;

/// A stream to a few subscribers that read all the time.
struct Case {
    taken: SourceCounts,
    source: SourceEnd,
    given: Vec<(SubscriberCounts, SubscriberEnd, Vec<u8>)>,
}

fn content() -> Vec<u8> {
    (0..LENGTH).map(|at| (at * 7 + at / 251) as u8).collect()
}

fn run(route: Route, sys: &Faulty) -> Case {
    run_from(Peer::Unix, route, sys)
}

fn run_from(peer: Peer, route: Route, sys: &Faulty) -> Case {
    run_through(peer, [false; SUBSCRIBERS], route, sys)
}

/// With TLS in this process on the sockets of some subscribers; on the producer's with
/// [`Peer::Tls`].
fn run_through(peer: Peer, tls: [bool; SUBSCRIBERS], route: Route, sys: &Faulty) -> Case {
    let user = || Wire::of(Arc::new(FakeLayer::user()));
    let of_source = match peer {
        Peer::Tls => user(),
        _ => Wire::Plain,
    };
    let settings = FanOutSettings {
        route: Some(route),
        lag: 32 << 10,
        ..FanOutSettings::default()
    };
    let shared = Arc::new(Shared {
        ring: Mutex::new(Ring::new(&settings)),
        settings,
        stats: FanOutStats::default(),
    });
    let (mut producer, source) = Sender::new(peer, content());
    let mut taking = ReadState::new(Arc::clone(&shared), of_source, false);
    let all = tls.into_iter().map(|tls| {
        let (near, far) = pair();
        let wire = if tls { user() } else { Wire::Plain };
        (
            SendState::new(Arc::clone(&shared), wire),
            near,
            far,
            Vec::new(),
        )
    });
    let mut all: Vec<_> = all.collect();
    loop {
        producer.push(PIECE);
        let mut over = taking.step(sys, source.as_fd()) == Step::Done;
        for (giving, near, far, got) in &mut all {
            for _ in 0..4 {
                over &= giving.step(sys, near.as_fd()) == Step::Done;
                let _ = far.read_to_end(got);
            }
        }
        if over {
            break;
        }
    }
    let given = all
        .into_iter()
        .zip(tls)
        .map(|((giving, near, far, got), tls)| {
            if !tls {
                return (giving, near, far, got);
            }
            let (got, said_end) = fake_layer::opened(&got);
            let closed = giving.ended == Some(SubscriberEnd::Closed);
            assert_eq!(said_end, closed, "the end, and {:?}", giving.ended);
            (giving, near, far, got)
        });
    Case {
        taken: taking.taken,
        source: taking.ended.unwrap(),
        given: given
            .map(|(giving, _, _, got)| (giving.given, giving.ended.unwrap(), got))
            .collect(),
    }
}

fn pair() -> (UnixStream, UnixStream) {
    let (one, other) = UnixStream::pair().unwrap();
    one.set_nonblocking(true).unwrap();
    other.set_nonblocking(true).unwrap();
    (one, other)
}

/// Checks that the counts match the bytes; with `whole`, that all bytes arrived.
fn check(case: &Case, whole: bool, what: &str) {
    for (given, ended, got) in &case.given {
        let what = format!("{what}: {given:?}, {ended:?}, {:?}", case.taken);
        assert!(content().starts_with(got), "{what}: other bytes");
        assert_eq!(given.bytes() as usize, got.len(), "{what}");
        if whole {
            assert_eq!(
                (got.len(), *ended),
                (LENGTH, SubscriberEnd::Closed),
                "{what}"
            );
            assert_eq!(given.undelivered, 0, "{what}");
        }
    }
    assert!(!whole || case.source == SourceEnd::Ended, "{what}");
}

const WAYS: [(Route, Call); 5] = [
    (Route::ReadWrite, Call::Read),
    (Route::ReadWrite, Call::Write),
    (Route::Splice, Call::Splice),
    (Route::Splice, Call::Tee),
    (Route::Splice, Call::Pipe),
];

#[test]
fn pitfall_10_and_15_what_passes_by_itself_loses_nothing() {
    for (route, call) in &WAYS[..4] {
        for fault in [Fault::Errno(Errno::INTR), Fault::Cap(1), Fault::Half] {
            for nth in 1..6 {
                let what = format!("{route}: {call:?} {nth}: {fault:?}");
                let sys = Faulty::default().at(*call, nth, fault);
                let case = run(*route, &sys);
                check(&case, true, &what);
                assert_eq!(sys.struck(), 1, "{what}");
            }
        }
    }
}

#[test]
fn subscribers_with_tls_share_one_buffer_and_lose_nothing() {
    let faults = [
        Fault::Errno(Errno::INTR),
        Fault::Errno(Errno::AGAIN),
        Fault::Cap(1),
        Fault::Half,
    ];
    let tables = [[true; 3], [false, true, false], [true, false, true]];
    for (peer, tls) in [Peer::Unix, Peer::Tls]
        .into_iter()
        .flat_map(|peer| tables.map(|tls| (peer, tls)))
    {
        for (route, call) in [
            (Route::ReadWrite, Call::LayerSend),
            (Route::Splice, Call::LayerSend),
            (Route::ReadWrite, Call::LayerReceive),
            (Route::ReadWrite, Call::LayerFlush),
        ] {
            for (fault, nth) in faults
                .iter()
                .flat_map(|fault| [1, 2, 3].map(|nth| (*fault, nth)))
            {
                let what = format!("{peer:?} {tls:?} {route}: {call:?} {nth}: {fault:?}");
                let sys = Faulty::default().at(call, nth, fault);
                let case = run_through(peer, tls, route, &sys);
                check(&case, true, &what);
                for ((given, ..), tls) in case.given.iter().zip(tls) {
                    assert!(!tls || given.spliced + given.tee_calls == 0, "{what}");
                }
                // Each byte is read once, whoever gets it.
                assert_eq!(case.taken.bytes() as usize, LENGTH, "{what}");
            }
        }
    }
}

#[test]
fn what_tls_took_goes_out_though_the_producer_sends_no_more() {
    let settings = FanOutSettings::default();
    let shared = Arc::new(Shared {
        ring: Mutex::new(Ring::new(&settings)),
        settings,
        stats: FanOutStats::default(),
    });
    let (mut producer, source) = pair();
    let (near, mut far) = pair();
    let layer = Arc::new(FakeLayer::user());
    let wire = Wire::of(Arc::clone(&layer) as Arc<dyn Layer>);
    let mut taking = ReadState::new(Arc::clone(&shared), Wire::Plain, false);
    let mut giving = SendState::new(Arc::clone(&shared), wire);
    let sys = Faulty::default();
    let mut sent = 0;
    while layer.unsent() == 0 {
        sent += producer.write(&content()[..1000]).unwrap();
        taking.step(&sys, source.as_fd());
        // Takes it, and gives it.
        for _ in 0..2 {
            giving.step(&sys, near.as_fd());
        }
    }
    let mut got = Vec::new();
    while giving.step(&sys, near.as_fd()) != Step::Blocked(Wait::Source) {
        let _ = far.read_to_end(&mut got);
    }
    let _ = far.read_to_end(&mut got);
    assert_eq!(fake_layer::opened(&got).0.len(), sent);
    assert_eq!(giving.given.bytes() as usize, sent);
}

#[test]
fn a_subscriber_whose_tls_fails_is_gone_alone() {
    for nth in 1..6 {
        let what = format!("at {nth}");
        let fault = Fault::Errno(Errno::CONNRESET);
        let sys = Faulty::default().at(Call::LayerSend, nth, fault);
        let case = run_through(Peer::Unix, [true, true, false], Route::ReadWrite, &sys);
        check(&case, false, &what);
        let gone = case.given.iter();
        let gone = gone.filter(|(_, ended, _)| matches!(ended, SubscriberEnd::Gone { .. }));
        assert_eq!(gone.count(), 1, "{what}");
        let whole = case.given.iter().filter(|(.., got)| got.len() == LENGTH);
        assert_eq!(whole.count(), SUBSCRIBERS - 1, "{what}");
    }
}

#[test]
fn pitfall_24_an_urgent_byte_is_no_end() {
    for (route, call) in [
        (Route::ReadWrite, Call::Read),
        (Route::Splice, Call::Read),
        (Route::Splice, Call::Splice),
        (Route::Splice, Call::AtMark),
    ] {
        for nth in 1..8 {
            let what = format!("{route}: {call:?} {nth}");
            let sys = Faulty::default().at(call, nth, Fault::Errno(Errno::INTR));
            let case = run_from(Peer::UrgentTcp, route, &sys);
            check(&case, true, &what);
            let spliced = case.taken.spliced > LENGTH as u64 / 4;
            assert_eq!(spliced, route == Route::Splice, "{what}");
        }
    }
}

#[test]
fn pitfall_14_a_tee_that_falls_short_is_not_gone_on_with() {
    for fault in [Fault::Cap(1), Fault::Half, Fault::Errno(Errno::INVAL)] {
        let sys = Faulty::default().from(Call::Tee, 1, fault);
        let case = run(Route::Splice, &sys);
        check(&case, true, "tee");
        let copied = case.given.iter().any(|(given, ..)| given.copied > 0);
        assert!(copied && sys.struck() > 0, "{fault:?}: it was not copied");
        assert!(case.given.iter().any(|(given, ..)| given.splice_refused));
    }
}

#[test]
fn pitfall_06_and_09_splice_refused_at_any_call_goes_on_copying() {
    for errno in [Errno::INVAL, Errno::PERM, Errno::NOSYS] {
        for nth in 1..6 {
            let what = format!("{errno:?} at {nth}");
            let sys = Faulty::default().from(Call::Splice, nth, Fault::Errno(errno));
            let case = run(Route::Splice, &sys);
            check(&case, true, &what);
            let refused = case.given.iter().any(|(given, ..)| given.splice_refused);
            assert!(refused || case.taken.splice_refused, "{what}");
        }
    }
}

#[test]
fn pitfall_13_a_pipe_that_cannot_be_had_is_counted() {
    for nth in [1, 2, 3] {
        // Pipes left in the pool would be used without a call.
        crate::route::pipe::empty_pool();
        let sys = Faulty::default().from(Call::Pipe, nth, Fault::Errno(Errno::MFILE));
        let case = run(Route::Splice, &sys);
        check(&case, true, "EMFILE");
    }
}

#[test]
fn pitfall_12_an_end_that_is_gone_is_told_and_counted() {
    for (route, call) in &WAYS[..3] {
        for nth in 1..8 {
            let what = format!("{route}: {call:?} {nth}");
            let sys = Faulty::default().at(*call, nth, Fault::Errno(Errno::CONNRESET));
            let case = run(*route, &sys);
            check(&case, false, &what);
            let died = matches!(case.source, SourceEnd::Died { .. });
            let gone = case.given.iter();
            let gone = gone.filter(|(_, ended, _)| matches!(ended, SubscriberEnd::Gone { .. }));
            let gone = gone.count();
            assert_eq!(
                (died, gone),
                if died { (true, 0) } else { (false, 1) },
                "{what}"
            );
            // The other subscribers have every byte.
            let whole = case.given.iter().filter(|(.., got)| got.len() == LENGTH);
            assert!(died || whole.count() == SUBSCRIBERS - 1, "{what}");
        }
    }
}
