//! A stream to several subscribers with TLS, of which one has faults; and from a producer with TLS
//! that has them.

use std::net::TcpStream;
use std::sync::Arc;

use underpass::Step;
use underpass::fan_out::{FanOutSettings, Hub, SourceEnd, SubscriberCounts, SubscriberEnd};

use super::rig::{Link, Peer, Role, content};
use super::{
    Call, FATAL, Fault, Faults, Made, Rule, SPINNING, at_each_byte, at_each_call, passing,
    waits_and_then_fails,
};

const SUBSCRIBERS: usize = 3;

/// Where the faults are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Producer,
    FirstSubscriber,
}

impl At {
    fn call(self) -> Call {
        match self {
            Self::Producer => Call::Receive,
            Self::FirstSubscriber => Call::Send,
        }
    }
}

struct Outcome {
    source: SourceEnd,
    /// What the hub says that all subscribers were given.
    given: u64,
    subscribers: Vec<(SubscriberCounts, SubscriberEnd, Peer)>,
    made: Made,
    struck: usize,
}

fn run(at: At, length: usize, rules: &[Rule], most_steps: usize) -> Outcome {
    let producer = Link::new(Role::Server);
    let layer = producer.layer();
    let mut producing = producer.peer.sending(content(length));
    let links: Vec<Link> = (0..SUBSCRIBERS).map(|_| Link::new(Role::Server)).collect();
    let faults = match at {
        At::Producer => Faults::on(&producer.socket, rules),
        At::FirstSubscriber => Faults::on(&links[0].socket, rules),
    };
    let hub = Hub::new(FanOutSettings::new().lag(32 << 10).begin_with(SUBSCRIBERS));
    let mut source = hub.source_through(&producer.socket, layer).unwrap();
    let mut subscribers: Vec<_> = links
        .into_iter()
        .map(|link| {
            let layer: Arc<dyn underpass::Layer> = link.layer();
            let subscriber = hub.subscribe_through::<TcpStream>(link.socket, layer);
            (subscriber.unwrap(), link.peer)
        })
        .collect();
    let mut steps = 0;
    loop {
        producing.step();
        let mut is_over = source.step() == Step::Done;
        for (subscriber, peer) in &mut subscribers {
            is_over &= subscriber.step() == Step::Done;
            peer.step();
        }
        steps += 1;
        assert!(steps < SPINNING, "it spins");
        if is_over || steps >= most_steps {
            break;
        }
    }
    let (_, ended) = source.finish();
    let finished = subscribers.into_iter().map(|(subscriber, mut peer)| {
        let (counts, ended) = subscriber.finish();
        peer.finish();
        (counts, ended, peer)
    });
    let subscribers = finished.collect();
    let stats = hub.stats();
    Outcome {
        source: ended,
        given: stats.given_spliced.get() + stats.given_copied.get(),
        subscribers,
        made: faults.made(at.call()),
        struck: faults.struck(),
    }
}

impl Outcome {
    /// What must be true whatever happened: what is told is what arrived, and only a subscriber
    /// that has everything was told the end.
    #[track_caller]
    fn check(&self, length: usize, what: &dyn std::fmt::Debug) {
        let got = self
            .subscribers
            .iter()
            .map(|(.., peer)| peer.got.len() as u64);
        assert_eq!(self.given, got.sum::<u64>(), "{what:?}");
        for (counts, ended, peer) in &self.subscribers {
            let what = format!("{what:?}: {counts:?}, {ended:?}, {:?}", self.source);
            assert!(
                content(length).starts_with(&peer.got),
                "{what}: other bytes"
            );
            assert_eq!(counts.bytes(), peer.got.len() as u64, "{what}");
            let is_closed = *ended == SubscriberEnd::Closed;
            assert_eq!(peer.has_ended_well(), is_closed, "{what}: {:?}", peer.ended);
            assert!(!is_closed || peer.got.len() == length, "{what}");
        }
    }

    fn whole(&self) -> usize {
        let ends = self.subscribers.iter().map(|(_, ended, _)| ended);
        ends.filter(|ended| **ended == SubscriberEnd::Closed)
            .count()
    }
}

#[test]
fn what_passes_by_itself_loses_nothing() {
    const LENGTH: usize = 100_000;
    for at in [At::Producer, At::FirstSubscriber] {
        let dry = run(at, LENGTH, &[], SPINNING);
        for rule in at_each_call(at.call(), dry.made, &passing()) {
            let outcome = run(at, LENGTH, std::slice::from_ref(&rule), SPINNING);
            outcome.check(LENGTH, &rule);
            assert_eq!(outcome.whole(), SUBSCRIBERS, "{at:?}, {rule:?}");
        }
    }
}

#[test]
fn pitfall_12_an_error_of_one_is_told_and_the_others_get_all() {
    const LENGTH: usize = 50_000;
    for at in [At::Producer, At::FirstSubscriber] {
        let dry = run(at, LENGTH, &[], SPINNING);
        for errno in FATAL {
            for rule in at_each_call(at.call(), dry.made, &[Fault::Errno(errno)]) {
                let outcome = run(at, LENGTH, std::slice::from_ref(&rule), SPINNING);
                outcome.check(LENGTH, &rule);
                assert_eq!(outcome.struck, 1, "{rule:?}");
                let whole = match at {
                    At::Producer => 0,
                    At::FirstSubscriber => SUBSCRIBERS - 1,
                };
                assert_eq!(outcome.whole(), whole, "{at:?}, {rule:?}");
            }
        }
    }
}

#[test]
fn what_was_taken_and_not_sent_before_an_error_is_not_claimed() {
    const LENGTH: usize = 100_000;
    for at in [At::Producer, At::FirstSubscriber] {
        let dry = run(at, LENGTH, &[], SPINNING);
        for rules in waits_and_then_fails(at.call(), dry.made) {
            run(at, LENGTH, &rules, SPINNING).check(LENGTH, &rules);
        }
    }
}

#[test]
fn pitfall_44_a_stream_that_is_cut_behind_any_byte_is_never_complete() {
    const LENGTH: usize = 300;
    for at in [At::Producer, At::FirstSubscriber] {
        let dry = run(at, LENGTH, &[], SPINNING);
        let fault = match at {
            At::Producer => Fault::End,
            At::FirstSubscriber => Fault::Errno(rustix::io::Errno::CONNRESET),
        };
        for rule in at_each_byte(at.call(), dry.made, &fault) {
            let outcome = run(at, LENGTH, std::slice::from_ref(&rule), SPINNING);
            outcome.check(LENGTH, &rule);
        }
    }
}

#[test]
fn a_fan_out_that_is_ended_at_any_step_tells_what_arrived() {
    for steps in 1..40 {
        run(At::Producer, 50_000, &[], steps).check(50_000, &steps);
    }
}
