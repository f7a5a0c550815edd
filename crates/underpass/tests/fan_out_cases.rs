//! A stream to many subscribers, checked byte for byte over thousands of seeded cases: subscribers
//! that join late, read slowly, send something or are killed, a producer that ends or dies, small
//! lags and both policies. The seed decides who acts next, so a case that fails can be repeated:
//! `UNDERPASS_FAN_OUT_SEED=17 cargo test -p underpass --test fan_out_cases`.

use std::os::fd::OwnedFd;
use std::time::Duration;

use underpass::fan_out::{
    Alone, FanOutSettings, Hub, Slow, SourceEnd, StreamSource, Subscriber, SubscriberCounts,
    SubscriberEnd,
};
use underpass::{Route, Step};

mod support;
use support::peers::{Peer, Random, STUCK, Saw, each_seed};

const CASES: u64 = 2_000;

#[test]
fn pitfall_14_every_subscriber_gets_every_byte_from_where_it_joined() {
    each_seed("UNDERPASS_FAN_OUT_SEED", CASES, |seed| {
        Case::new(seed).run();
    });
}

/// A subscriber, and the program at the other end of its connection.
struct Listener {
    peer: Peer,
    subscriber: Option<Subscriber<OwnedFd>>,
    outcome: Option<(SubscriberCounts, SubscriberEnd)>,
    killed: bool,
}

struct Case {
    seed: u64,
    random: Random,
    producer: Peer,
    source: Option<StreamSource<OwnedFd>>,
    hub: Hub,
    settings: FanOutSettings,
    listeners: Vec<Listener>,
    /// How many subscribers are still to come.
    late: u64,
    /// The producer dies after this many actions.
    death: Option<u64>,
}

impl Case {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let (mut producer, source) = Peer::new(&mut random);
        producer.content.truncate(100_000);
        producer.bite = producer.bite.max(producer.content.len() as u64 / 50);
        let settings = settings(&mut random);
        let hub = Hub::new(settings.clone());
        let source = hub.source(source).unwrap();
        let death = random.one_in(5).then(|| 1 + random.below(300));
        let mut case = Self {
            seed,
            producer,
            source: Some(source),
            hub,
            listeners: Vec::new(),
            late: random.below(3),
            death,
            settings,
            random,
        };
        for _ in 0..case.settings.begin_with.max(1) {
            case.join();
        }
        case
    }

    fn join(&mut self) {
        let (mut peer, socket) = Peer::new(&mut self.random);
        // What the peer sends would have to be read. The driver does that, a step does not.
        peer.content.clear();
        peer.bite = peer.bite.max(self.producer.content.len() as u64 / 100);
        self.listeners.push(Listener {
            peer,
            subscriber: Some(self.hub.subscribe(socket).unwrap()),
            outcome: None,
            killed: false,
        });
    }

    fn run(mut self) {
        let (mut actions, mut idle) = (0, 0);
        while self.source.is_some() || self.listeners.iter().any(|one| one.subscriber.is_some()) {
            actions += 1;
            if self.death == Some(actions) {
                self.producer.kill();
            }
            idle = if self.act() { 0 } else { idle + 1 };
            if idle > 0 && self.nobody_is_left() {
                return;
            }
            let seed = self.seed;
            assert!(
                idle < STUCK,
                "seed {seed}: nothing moves: {:?}",
                self.source
            );
            if idle > 1000 {
                std::thread::sleep(Duration::from_micros(50));
            }
        }
    }

    /// Whether the stream would wait for ever.
    fn nobody_is_left(&self) -> bool {
        self.late == 0
            && self.settings.alone == Alone::Wait
            && self.listeners.iter().all(|one| one.subscriber.is_none())
    }

    /// One participant acts. Returns whether that moved anything.
    fn act(&mut self) -> bool {
        let random = &mut self.random;
        match random.below(8) {
            0 => random.one_in(self.producer.lazy) && self.producer.write(random),
            1 => self.step_source(),
            2 if self.late > 0 && random.one_in(20) => {
                self.late -= 1;
                self.join();
                true
            }
            2..6 => {
                let count = self.listeners.len() as u64;
                let which = random.below(count) as usize;
                self.give(which)
            }
            _ => {
                let count = self.listeners.len() as u64;
                let one = &mut self.listeners[random.below(count) as usize];
                if random.one_in(500) && one.peer.socket.is_some() {
                    one.peer.kill();
                    one.killed = true;
                }
                random.one_in(one.peer.lazy) && (one.peer.read(random) | one.peer.write(random))
            }
        }
    }

    fn step_source(&mut self) -> bool {
        match self.source.as_mut().map(StreamSource::step) {
            Some(Step::Done) => {
                let (taken, ended) = self.source.take().unwrap().finish();
                let said = format!("seed {}: {taken:?}, {ended:?}", self.seed);
                let all = self.producer.content.len() as u64;
                if self.producer.socket.is_some() {
                    assert_eq!((ended, taken.bytes()), (SourceEnd::Ended, all), "{said}");
                } else {
                    // A Unix socket that is closed does not say why.
                    let seen = !self.producer.is_tcp || matches!(ended, SourceEnd::Died { .. });
                    assert!(
                        seen || self.producer.ended,
                        "{said}: the death was not seen"
                    );
                    assert!(taken.bytes() <= self.producer.sent as u64, "{said}");
                }
                assert!(!taken.splice_refused && taken.pipes_refused == 0, "{said}");
                true
            }
            Some(Step::Moved(_)) => true,
            _ => false,
        }
    }

    fn give(&mut self, which: usize) -> bool {
        let one = &mut self.listeners[which];
        match one.subscriber.as_mut().map(Subscriber::step) {
            Some(Step::Done) => {
                // The peer must still get what was sent to it before it is reset.
                one.peer.drain();
                let (given, ended) = one.subscriber.take().unwrap().finish();
                one.peer.read_to_end();
                one.outcome = Some((given, ended));
                self.check(which);
                true
            }
            Some(Step::Moved(_)) => true,
            _ => false,
        }
    }

    fn check(&self, which: usize) {
        let one = &self.listeners[which];
        let (given, ended) = one.outcome.unwrap();
        let said = format!(
            "seed {}, subscriber {which}: {given:?}, {ended:?}",
            self.seed
        );
        let from = given.from as usize;
        assert!(
            self.producer.content[from..].starts_with(&one.peer.got),
            "{said}: other bytes"
        );
        let got = one.peer.got.len() as u64;
        assert!(got <= given.bytes(), "{said}: got {got}");
        assert!(
            !given.splice_refused && given.pipes_refused == 0,
            "{said}: not by its route"
        );
        match self.settings.route {
            Some(Route::Splice) => assert_eq!(given.copied, 0, "{said}"),
            Some(Route::ReadWrite) => assert_eq!(given.spliced + given.tee_calls, 0, "{said}"),
            _ => {}
        }
        match ended {
            SubscriberEnd::Gone { .. } => assert!(one.killed, "{said}: nobody killed it"),
            SubscriberEnd::Lagged => assert_eq!(self.settings.slow, Slow::Drop, "{said}"),
            SubscriberEnd::Closed | SubscriberEnd::SourceDied => {
                let whole = given.from + given.bytes() + given.undelivered;
                assert_eq!(given.undelivered, 0, "{said}");
                if self.producer.socket.is_some() {
                    assert_eq!(ended, SubscriberEnd::Closed, "{said}");
                    assert_eq!(whole as usize, self.producer.content.len(), "{said}");
                }
                if !one.killed {
                    assert_eq!(got, given.bytes(), "{said}");
                    let wanted = match ended {
                        SubscriberEnd::SourceDied
                            if one.peer.is_tcp && !self.settings.clean_end =>
                        {
                            Saw::Reset
                        }
                        _ => Saw::End,
                    };
                    assert_eq!(one.peer.saw, Some(wanted), "{said}");
                }
            }
            other => panic!("{said}: {other:?}"),
        }
    }
}

fn settings(random: &mut Random) -> FanOutSettings {
    let mut settings = FanOutSettings::default();
    settings.lag = 1 << (14 + random.below(10));
    if random.one_in(3) {
        settings.slow = Slow::Drop;
    }
    if random.one_in(3) {
        settings.alone = Alone::Discard;
    }
    settings.clean_end = random.one_in(4);
    settings.begin_with = random.below(5) as usize;
    settings.route =
        [None, None, Some(Route::Splice), Some(Route::ReadWrite)][random.below(4) as usize];
    settings
}
