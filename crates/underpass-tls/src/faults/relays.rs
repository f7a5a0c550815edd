//! Relays between sockets of which one or both have TLS.

use std::net::TcpStream;
use std::sync::Arc;

use rustix::io::Errno;
use underpass::Layer;
use underpass::relay::{Direction, Relay, RelayEnd, RelayOutcome, RelaySettings};

use super::rig::{Link, Peer, Role, content, sockets};
use super::{
    Call, FATAL, Fault, Faults, Made, Rule, SPINNING, at_each_byte, at_each_call, passing,
    waits_and_then_fails,
};

/// Which sockets have TLS. Faults happen on the near one if it has, or else on the far one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tls {
    Near,
    Far,
    Both,
}

#[derive(Clone, Copy, Debug)]
struct Way {
    tls: Tls,
    call: Call,
    /// What goes up; a tenth of it comes down.
    length: usize,
}

struct Outcome {
    relayed: RelayOutcome,
    near: Peer,
    far: Peer,
    made: Made,
    struck: usize,
}

fn ways(length: usize) -> Vec<Way> {
    let all = [Tls::Near, Tls::Far, Tls::Both];
    let ways = all
        .into_iter()
        .flat_map(|tls| [Call::Send, Call::Receive].map(|call| Way { tls, call, length }));
    ways.collect()
}

/// One side: our socket, what lies on it, and the peer.
struct End {
    socket: TcpStream,
    layer: Option<Arc<dyn Layer>>,
    peer: Peer,
}

impl End {
    fn new(role: Option<Role>) -> Self {
        let Some(role) = role else {
            let (socket, peer) = sockets();
            return Self {
                socket,
                layer: None,
                peer: Peer::new(peer, None),
            };
        };
        let link = Link::new(role);
        Self {
            layer: Some(link.layer()),
            socket: link.socket,
            peer: link.peer,
        }
    }
}

fn run(way: Way, rules: &[Rule], most_steps: usize) -> Outcome {
    let near = End::new((way.tls != Tls::Far).then_some(Role::Server));
    let far = End::new((way.tls != Tls::Near).then_some(Role::Client));
    let mut near_peer = near.peer.sending(content(way.length));
    let mut far_peer = far.peer.sending(content(way.length / 10));
    let faults = Faults::on(
        match way.tls {
            Tls::Far => &far.socket,
            Tls::Near | Tls::Both => &near.socket,
        },
        rules,
    );
    let settings = RelaySettings::new();
    let sockets = [&near.socket, &far.socket];
    let relay = Relay::with_layers(sockets[0], sockets[1], near.layer, far.layer, &settings);
    let mut relay = relay.unwrap();
    let mut steps = 0;
    while !relay.is_over() && steps < most_steps {
        steps += 1;
        assert!(steps < SPINNING, "it spins");
        for way in Direction::BOTH {
            relay.step(way);
        }
        near_peer.step();
        far_peer.step();
    }
    let relayed = relay.finish();
    let (made, struck) = (faults.made(way.call), faults.struck());
    drop(faults);
    // Closed as `finish` has told the sockets to be: in order, or by a reset.
    drop((near.socket, far.socket));
    near_peer.finish();
    far_peer.finish();
    Outcome {
        relayed,
        near: near_peer,
        far: far_peer,
        made,
        struck,
    }
}

impl Outcome {
    /// What must be true whatever happened: what is told is what arrived, and only a peer that has
    /// everything was told the end.
    #[track_caller]
    fn check(&self, way: Way, what: &dyn std::fmt::Debug) {
        let what = format!("{way:?}, {what:?}: {:?}", self.relayed);
        for (peer, counts, length) in [
            (&self.far, &self.relayed.up, way.length),
            (&self.near, &self.relayed.down, way.length / 10),
        ] {
            assert!(
                content(length).starts_with(&peer.got),
                "{what}: other bytes"
            );
            assert_eq!(counts.bytes(), peer.got.len() as u64, "{what}");
            assert!(
                counts.bytes() + counts.undelivered <= length as u64,
                "{what}"
            );
            if peer.has_ended_well() {
                assert_eq!(peer.got.len(), length, "{what}: a part looks like all");
            }
            assert!(!counts.ended || peer.has_ended_well(), "{what}");
        }
    }

    fn is_whole(&self) -> bool {
        self.relayed.ended == RelayEnd::Closed
            && self.near.has_ended_well()
            && self.far.has_ended_well()
    }
}

#[test]
fn what_passes_by_itself_loses_nothing() {
    for way in ways(100_000) {
        let dry = run(way, &[], SPINNING);
        dry.check(way, &"no fault");
        assert!(dry.is_whole(), "{way:?}: {:?}", dry.relayed);
        for rule in at_each_call(way.call, dry.made, &passing()) {
            let outcome = run(way, std::slice::from_ref(&rule), SPINNING);
            outcome.check(way, &rule);
            assert!(
                outcome.is_whole(),
                "{way:?}, {rule:?}: {:?}",
                outcome.relayed
            );
        }
    }
}

#[test]
fn pitfall_12_an_error_at_any_call_resets_both_and_is_told() {
    for way in ways(50_000) {
        let dry = run(way, &[], SPINNING);
        for errno in FATAL {
            for rule in at_each_call(way.call, dry.made, &[Fault::Errno(errno)]) {
                let outcome = run(way, std::slice::from_ref(&rule), SPINNING);
                outcome.check(way, &rule);
                if outcome.struck > 0 {
                    let ended = outcome.relayed.ended;
                    assert!(
                        matches!(ended, RelayEnd::Reset { .. }),
                        "{rule:?}: {ended:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn what_was_taken_and_not_sent_before_an_error_is_not_claimed() {
    for way in ways(100_000) {
        let dry = run(way, &[], SPINNING);
        for rules in waits_and_then_fails(way.call, dry.made) {
            run(way, &rules, SPINNING).check(way, &rules);
        }
    }
}

#[test]
fn pitfall_44_a_stream_that_is_cut_behind_any_byte_is_never_complete() {
    for way in ways(300) {
        let dry = run(way, &[], SPINNING);
        let mut rules = at_each_byte(way.call, dry.made, &Fault::Errno(Errno::CONNRESET));
        if way.call == Call::Receive {
            rules.extend(at_each_byte(way.call, dry.made, &Fault::End));
        }
        for rule in rules {
            let outcome = run(way, std::slice::from_ref(&rule), SPINNING);
            outcome.check(way, &rule);
        }
    }
}

#[test]
fn a_relay_that_is_ended_at_any_step_tells_what_arrived() {
    for way in ways(50_000) {
        for steps in 0..40 {
            run(way, &[], steps).check(way, &steps);
        }
    }
}
