//! The content of relayed connections, checked byte for byte over thousands of seeded cases: small
//! socket buffers, delays at every place, sides that end, sides that are killed. A delay is the
//! order in which sides act. The seed decides it, so a case that fails can be repeated:
//! `UNDERPASS_RELAY_SEED=17 cargo test -p underpass --test relay_cases`.

use std::os::fd::OwnedFd;
use std::time::Duration;

use underpass::relay::{Direction, Relay, RelayEnd, RelayOutcome, RelaySettings};
use underpass::{Route, Step};

mod support;
use support::peers::{Peer, Random, STUCK, Saw, each_seed};

const CASES: u64 = 10_000;

#[test]
fn pitfall_10_and_15_every_byte_arrives_once_and_in_order() {
    each_seed("UNDERPASS_RELAY_SEED", CASES, |seed| Case::new(seed).run());
}

struct Case {
    seed: u64,
    random: Random,
    relay: Relay<OwnedFd, OwnedFd>,
    client: Peer,
    target: Peer,
    /// How often the relay acts: one in this many times.
    lazy: u64,
    /// The side to be killed, and after how many actions.
    kill: Option<(bool, u64)>,
    killed: bool,
}

impl Case {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let (mut client, near) = Peer::new(&mut random);
        let (mut target, far) = Peer::new(&mut random);
        // Single bytes, but not very many of them.
        let most = client.content.len().max(target.content.len()) as u64;
        for peer in [&mut client, &mut target] {
            peer.bite = peer.bite.max(most / 100);
        }
        let mut settings = RelaySettings::default();
        settings.route =
            [None, None, Some(Route::Splice), Some(Route::ReadWrite)][random.below(4) as usize];
        let kill = random
            .one_in(3)
            .then(|| (random.one_in(2), random.below(400)));
        let lazy = 1 + random.below(4);
        Self {
            relay: Relay::new(near, far, &settings).unwrap(),
            seed,
            random,
            client,
            target,
            lazy,
            kill,
            killed: false,
        }
    }

    fn run(mut self) {
        let (mut actions, mut idle) = (0, 0);
        while !self.relay.is_over() {
            actions += 1;
            if self.kill.is_some_and(|(_, after)| after == actions) {
                self.kill();
            }
            let moved = self.act();
            idle = if moved { 0 } else { idle + 1 };
            assert!(
                idle < STUCK,
                "seed {}: nothing moves: {:?}",
                self.seed,
                self.relay
            );
            if idle > 1000 {
                std::thread::sleep(Duration::from_micros(50));
            }
        }
        let Self { relay, .. } = self;
        let relayed = relay.finish();
        for peer in [&mut self.client, &mut self.target] {
            peer.read_to_end();
        }
        Self::check(self.seed, self.killed, &relayed, &self.client, &self.target);
    }

    /// One side, or the relay in one direction, acts. Returns whether that moved anything.
    fn act(&mut self) -> bool {
        let random = &mut self.random;
        match random.below(6) {
            0 => random.one_in(self.client.lazy) && self.client.write(random),
            1 => random.one_in(self.client.lazy) && self.client.read(random),
            2 => random.one_in(self.target.lazy) && self.target.write(random),
            3 => random.one_in(self.target.lazy) && self.target.read(random),
            way => {
                let way = Direction::BOTH[way as usize - 4];
                random.one_in(self.lazy) && matches!(self.relay.step(way), Step::Moved(_))
            }
        }
    }

    fn kill(&mut self) {
        let side = self.kill.map(|(client, _)| client);
        let peer = if side == Some(true) {
            &mut self.client
        } else {
            &mut self.target
        };
        peer.kill();
        self.killed = true;
    }

    fn check(seed: u64, killed: bool, relayed: &RelayOutcome, client: &Peer, target: &Peer) {
        let ways = [
            (&relayed.up, client, target, "up"),
            (&relayed.down, target, client, "down"),
        ];
        for (carried, from, to, way) in ways {
            let told = carried.bytes() as usize;
            let said = format!(
                "seed {seed}, {way}: {carried:?}, sent {}, got {}",
                from.sent,
                to.got.len()
            );
            assert!(from.content.starts_with(&to.got), "{said}: other bytes");
            let refused = carried.splice_refused || carried.pipes_refused > 0;
            assert!(!refused, "{said}: not by the route it should be");
            assert!(
                to.got.len() <= told && told <= from.sent,
                "{said}: not the account"
            );
            assert!(
                told + carried.undelivered as usize <= from.sent,
                "{said}: more than was sent"
            );
            if killed {
                // A side that has not seen the end before sees a reset.
                let clean = carried.ended || relayed.ended == RelayEnd::Closed || !to.is_tcp;
                assert!(
                    to.socket.is_none() || clean || to.saw == Some(Saw::Reset),
                    "{said}: {:?}",
                    to.saw
                );
            } else {
                assert_eq!(relayed.ended, RelayEnd::Closed, "{said}");
                assert_eq!((told, to.got.len()), (from.content.len(), told), "{said}");
                assert_eq!((carried.undelivered, carried.ended), (0, true), "{said}");
                assert_eq!(to.saw, Some(Saw::End), "{said}");
            }
        }
    }
}
