//! Handshakes.

use std::io;
use std::os::fd::AsFd as _;

use rustix::io::Errno;

use super::rig::{Role, handshakes, sockets};
use super::{Call, Fault, Faults, Made, Rule, SPINNING, always, at_each_call, passing};
use super::{FATAL, Moment};
use crate::{FailureReason, Progress};

/// How many bytes pass between two faults: there are thousands.
const STRIDE: u64 = 7;

struct Outcome {
    ours: io::Result<()>,
    /// The peer's, when our socket is closed.
    peer: io::Result<()>,
    made: Made,
}

fn run(role: Role, call: Call, rules: &[Rule]) -> Outcome {
    let (near, far) = sockets();
    let [mut ours, mut theirs] = handshakes(role, &near, &far);
    let faults = Faults::on(&near, rules);
    let (mut our_end, mut peer_end) = (None, None);
    for step in 0.. {
        assert!(step < SPINNING, "it spins");
        if our_end.is_none() {
            our_end = end(ours.step(near.as_fd()));
        }
        if peer_end.is_none() {
            peer_end = end(theirs.step(far.as_fd()));
        }
        match (&our_end, &peer_end) {
            (Some(Ok(())), None) | (None, _) => {}
            _ => break,
        }
    }
    let made = faults.made(call);
    drop((faults, near));
    // Our socket is closed: now the peer must come to an end, too.
    far.set_nonblocking(false).unwrap();
    let peer_end = peer_end.or_else(|| end(theirs.step(far.as_fd())));
    Outcome {
        ours: our_end.expect("an end"),
        peer: peer_end.expect("an end of the peer"),
        made,
    }
}

fn end(step: io::Result<Progress>) -> Option<io::Result<()>> {
    match step {
        Ok(Progress::Done(_)) => Some(Ok(())),
        Ok(Progress::WantRead | Progress::WantWrite) => None,
        Err(error) => Some(Err(error)),
    }
}

const WAYS: [(Role, Call); 4] = [
    (Role::Server, Call::Send),
    (Role::Server, Call::Receive),
    (Role::Client, Call::Send),
    (Role::Client, Call::Receive),
];

#[test]
fn what_passes_by_itself_keeps_no_handshake_from_its_end() {
    for (role, call) in WAYS {
        let dry = run(role, call, &[]);
        let mut rules = at_each_call(call, dry.made, &passing());
        rules.push(always(call, Fault::Cap(1)));
        for rule in rules {
            let outcome = run(role, call, std::slice::from_ref(&rule));
            assert!(
                outcome.ours.is_ok(),
                "{role:?}, {rule:?}: {:?}",
                outcome.ours
            );
            assert!(
                outcome.peer.is_ok(),
                "{role:?}, {rule:?}: {:?}",
                outcome.peer
            );
        }
    }
}

#[test]
fn an_error_at_any_call_ends_the_handshake() {
    for (role, call) in WAYS {
        let dry = run(role, call, &[]);
        for errno in FATAL {
            for rule in at_each_call(call, dry.made, &[Fault::Errno(errno)]) {
                let error = run(role, call, std::slice::from_ref(&rule))
                    .ours
                    .unwrap_err();
                assert_eq!(error.raw_os_error(), Some(errno.raw_os_error()), "{rule:?}");
                assert_eq!(FailureReason::of(&error), FailureReason::Socket);
            }
        }
    }
}

#[test]
fn a_connection_that_is_cut_behind_any_byte_ends_the_handshake() {
    for (role, call) in WAYS {
        let dry = run(role, call, &[]);
        for passed in (0..dry.made.bytes).step_by(STRIDE as usize) {
            let fault = match call {
                Call::Send => Fault::Errno(Errno::CONNRESET),
                Call::Receive => Fault::End,
            };
            let rule = Rule {
                call,
                moment: Moment::Bytes(passed),
                fault,
            };
            let error = run(role, call, std::slice::from_ref(&rule))
                .ours
                .unwrap_err();
            let wanted = match call {
                Call::Send => FailureReason::Socket,
                Call::Receive => FailureReason::Closed,
            };
            assert_eq!(
                FailureReason::of(&error),
                wanted,
                "{role:?}, {rule:?}: {error}"
            );
        }
    }
}
