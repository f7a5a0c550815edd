//! Seeded clients that ask for objects, and compare every byte that comes.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::client;
use super::objects::{Objects, Outcome, name};
use crate::simulate::popularity::{Chance, Zipf, mix};

/// The popularity of objects.
const EXPONENT: f64 = 0.9;
/// One request in so many is for a part of an object.
const PARTS: u64 = 4;

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// Since the clients began.
    pub(super) began: Duration,
    pub(super) ended: Duration,
    pub(super) object: usize,
    pub(super) bytes: u64,
    pub(super) outcome: Outcome,
}

/// Who asks whom for what.
pub(super) struct Crowd<'a> {
    pub(super) to: SocketAddr,
    pub(super) objects: &'a Objects,
    pub(super) clients: usize,
    pub(super) seed: u64,
    /// All of them ask for this one only.
    pub(super) only: Option<usize>,
}

impl Crowd<'_> {
    /// Has the clients ask until `meanwhile` is over, and returns what they saw.
    pub(super) fn during<T>(&self, meanwhile: impl FnOnce(Instant) -> T) -> (Vec<Seen>, T) {
        let over = AtomicBool::new(false);
        let start = Instant::now();
        let zipf = Zipf::new(self.objects.count(), EXPONENT);
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..self.clients)
                .map(|number| {
                    let (over, zipf) = (&over, &zipf);
                    scope.spawn(move || self.client(number, zipf, over, start))
                })
                .collect();
            let done = meanwhile(start);
            over.store(true, Ordering::Relaxed);
            let seen = clients
                .into_iter()
                .flat_map(|client| client.join().unwrap_or_default());
            (seen.collect(), done)
        })
    }

    fn client(&self, number: usize, zipf: &Zipf, over: &AtomicBool, start: Instant) -> Vec<Seen> {
        let mut chance = Chance::new(mix(self.seed) ^ mix(number as u64 + 1));
        let mut seen = Vec::new();
        while !over.load(Ordering::Relaxed) {
            let object = self.only.unwrap_or_else(|| zipf.draw(&mut chance));
            let range = self.range(object, &mut chance);
            let began = start.elapsed();
            let answer = client::get(self.to, &format!("/{}", name(object)), range);
            let ended = start.elapsed();
            let bytes = answer.as_ref().map_or(0, |answer| answer.body.len() as u64);
            let outcome = self.objects.judge(answer, range);
            seen.push(Seen {
                began,
                ended,
                object,
                bytes,
                outcome,
            });
        }
        seen
    }

    fn range(&self, object: usize, chance: &mut Chance) -> Option<(u64, u64)> {
        if !chance.next().is_multiple_of(PARTS) {
            return None;
        }
        let size = self.objects.size(object) as u64;
        let from = chance.below(size);
        Some((from, from + chance.below(size - from)))
    }
}
