//! Fails each system call of a direction in each way it can fail. The bytes must arrive all the
//! same, or the outcome must say how many did (pitfalls 6, 9 to 12, and 15).

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::io::Errno;

use super::{Direction, Pair, Relay, RelayEnd, RelayOutcome, RelaySettings, Side};
use crate::fake_layer::{self, FakeLayer, KernelEnd};
use crate::layer::{Layer, LayerError};
use crate::route::Route;
use crate::step::Step;
use crate::step::Wait;
use crate::stream::error::PeerError;
use crate::stream::test_sender::{Peer, Sender};
use crate::sys::faulty::{Call, Fault, Faulty};
use crate::wire::{Port, Wire};

const LENGTH: usize = 100_000;

/// A client's content, relayed to a target that reads all the time.
struct Case {
    relayed: RelayOutcome,
    got: Vec<u8>,
    /// The end was said to the target's TLS, if it has any.
    said_end: bool,
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
    run_through(peer, [None, None], route, sys)
}

/// With what lies on the near and on the far socket.
fn run_through(
    peer: Peer,
    layers: [Option<Arc<FakeLayer>>; 2],
    route: Route,
    sys: &Faulty,
) -> Case {
    let wires = layers.each_ref().map(|layer| match layer {
        Some(layer) => Wire::of(Arc::clone(layer) as Arc<dyn Layer>),
        None => Wire::Plain,
    });
    let (mut client, near) = Sender::new(peer, content());
    let (far, mut target) = UnixStream::pair().unwrap();
    for socket in [&far, &target] {
        socket.set_nonblocking(true).unwrap();
    }
    let settings = RelaySettings {
        route: Some(route),
        ..RelaySettings::default()
    };
    let mut pair = Pair::new(&settings, wires.each_ref());
    let mut got = Vec::new();
    if wires[1].is_user() {
        (&target).write_all(&fake_layer::sealed(&[], true)).unwrap();
    }
    target.shutdown(std::net::Shutdown::Write).unwrap();
    while !pair.is_over() {
        client.push(LENGTH);
        while pair.step(
            sys,
            Direction::Up,
            Port::new(near.as_fd(), &wires[0]),
            Port::new(far.as_fd(), &wires[1]),
        ) != Step::Done
        {
            let _ = target.read_to_end(&mut got);
            if !client.has_sent_all() {
                break;
            }
        }
        pair.step(
            sys,
            Direction::Down,
            Port::new(far.as_fd(), &wires[1]),
            Port::new(near.as_fd(), &wires[0]),
        );
    }
    let relayed = pair.finish(RelayEnd::Cut, near.as_fd(), far.as_fd());
    let _ = target.read_to_end(&mut got);
    let mut rest = Vec::new();
    let _ = File::from(near).read_to_end(&mut rest);
    rest.extend_from_slice(client.unsent());
    let [near, far] = layers;
    let (got, said_end) = if far.is_some_and(|far| !far.describe().is_in_kernel()) {
        fake_layer::opened(&got)
    } else {
        (got, true)
    };
    Case {
        relayed,
        got,
        said_end,
        left: near.map_or(rest.len(), |near| near.rest(&rest).len()),
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

/// TLS in this process on the near side, on the far side, and on both.
fn layered() -> [(Peer, [Option<Arc<FakeLayer>>; 2]); 3] {
    let user = || Some(Arc::new(FakeLayer::user()));
    [
        (Peer::Tls, [user(), None]),
        (Peer::Unix, [None, user()]),
        (Peer::Tls, [user(), user()]),
    ]
}

#[test]
fn tls_in_this_process_loses_nothing() {
    let faults = [
        None,
        Some(Fault::Errno(Errno::INTR)),
        Some(Fault::Errno(Errno::AGAIN)),
        Some(Fault::Cap(1)),
        Some(Fault::Half),
    ];
    for call in [Call::LayerReceive, Call::LayerSend, Call::LayerFlush] {
        for (fault, nth) in faults
            .iter()
            .flat_map(|fault| [1, 2, 3].map(|nth| (fault, nth)))
        {
            for (peer, layers) in layered() {
                let what = format!("{peer:?}: {call:?} {nth}: {fault:?}");
                let sys = Faulty::default();
                let sys = match *fault {
                    Some(fault) => sys.at(call, nth, fault),
                    None => sys,
                };
                let case = run_through(peer, layers, Route::ReadWrite, &sys);
                check(&case, &what);
                assert_eq!(case.got.len(), LENGTH, "{what}");
                assert_eq!(case.relayed.ended, RelayEnd::Closed, "{what}");
                assert!(case.relayed.up.ended && case.said_end, "{what}");
                assert_eq!(case.relayed.up.spliced, 0, "{what}");
            }
        }
    }
}

#[test]
fn what_tls_took_goes_out_though_the_client_sends_no_more() {
    let (mut client, near) = UnixStream::pair().unwrap();
    let (far, mut target) = UnixStream::pair().unwrap();
    for socket in [&client, &near, &far, &target] {
        socket.set_nonblocking(true).unwrap();
    }
    let layer = Arc::new(FakeLayer::user());
    let wire = Wire::of(Arc::clone(&layer) as Arc<dyn Layer>);
    let (near, far) = (
        Port::new(near.as_fd(), &Wire::Plain),
        Port::new(far.as_fd(), &wire),
    );
    let mut pair = Pair::new(&RelaySettings::default(), [&Wire::Plain, &wire]);
    let sys = Faulty::default();
    let mut sent = 0;
    while layer.unsent() == 0 {
        sent += client.write(&content()[..1000]).unwrap();
        // Reads it, and writes it.
        for _ in 0..2 {
            pair.step(&sys, Direction::Up, near, far);
        }
    }
    let mut got = Vec::new();
    while pair.step(&sys, Direction::Up, near, far) != Step::Blocked(Wait::Source) {
        let _ = target.read_to_end(&mut got);
    }
    let _ = target.read_to_end(&mut got);
    assert_eq!(fake_layer::opened(&got).0.len(), sent);
}

#[test]
fn a_side_whose_tls_fails_is_gone_and_counted() {
    for call in [Call::LayerReceive, Call::LayerSend] {
        for (nth, (peer, layers)) in [1, 2, 3].into_iter().zip(layered()) {
            let what = format!("{peer:?}: {call:?} {nth}");
            let sys = Faulty::default().from(call, nth, Fault::Errno(Errno::CONNRESET));
            let case = run_through(peer, layers, Route::ReadWrite, &sys);
            check(&case, &what);
            let reset = matches!(case.relayed.ended, RelayEnd::Reset { .. });
            assert!(
                case.struck == 0 || reset && !case.relayed.up.ended,
                "{what}"
            );
        }
    }
}

#[test]
fn tls_in_this_process_refuses_a_splice_that_was_asked_for() {
    for (peer, layers) in layered() {
        let case = run_through(peer, layers, Route::Splice, &Faulty::default());
        check(&case, "splice");
        assert!(case.relayed.up.splice_refused && case.relayed.up.spliced == 0);
        assert_eq!(case.got.len(), LENGTH);
    }
}

#[test]
fn pitfall_39_control_records_do_not_end_a_splice() {
    let stops = [
        (Fault::Errno(Errno::IO), 1),
        (Fault::Errno(Errno::INVAL), 1),
        (Fault::Zero, 1),
        // A record without a byte: what comes next is data.
        (Fault::Zero, 0),
    ];
    for (fault, controls) in stops {
        let near = Arc::new(FakeLayer::kernel(KernelEnd::Closed));
        near.controls.store(controls, Ordering::Relaxed);
        let sys = Faulty::default().at(Call::Splice, 1, fault);
        let far = Arc::new(FakeLayer::kernel(KernelEnd::Closed));
        let case = run_through(Peer::Unix, [Some(near), Some(far)], Route::Splice, &sys);
        check(&case, "a control record");
        assert_eq!(case.relayed.ended, RelayEnd::Closed);
        assert_eq!(case.relayed.up.spliced as usize, LENGTH);
        assert!(!case.relayed.up.splice_refused);
    }
}

#[test]
fn a_client_whose_tls_is_cut_is_gone() {
    let near = Arc::new(FakeLayer::kernel(KernelEnd::Cut));
    for route in [Route::Splice, Route::ReadWrite] {
        let near = Some(Arc::clone(&near));
        let case = run_through(Peer::Unix, [near, None], route, &Faulty::default());
        check(&case, "cut");
        let RelayEnd::Reset { by, error } = case.relayed.ended else {
            panic!("{route}: {:?}", case.relayed.ended);
        };
        assert_eq!(
            (by, error.layer_error()),
            (Side::Near, Some(LayerError::Cut))
        );
        assert_eq!(error.name(), "TLS_CUT");
        assert!(!case.relayed.up.ended, "{route}");
        assert_eq!(case.got.len(), LENGTH, "what came before is passed on");
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
