//! Request after request against the caches of some nodes, each of which drops what was used least
//! recently.

use super::popularity::{Chance, Zipf, mix};

/// How the balancer chooses a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Balance {
    /// By the URL: each object has one node
    Url,
    /// In turn: each object comes to all nodes
    Turns,
}

/// What is simulated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) objects: usize,
    pub(crate) exponent: f64,
    pub(crate) nodes: usize,
    /// How many objects fit into the cache of a node; all are of one size.
    pub(crate) fit: usize,
    /// Requests that fill the caches and are not counted.
    pub(crate) before: u64,
    pub(crate) requests: u64,
    pub(crate) balance: Balance,
    pub(crate) seed: u64,
}

/// What one node did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) requests: u64,
    pub(crate) hits: u64,
}

/// The counts of each node.
pub(crate) fn simulate(plan: &Plan) -> Vec<Counts> {
    let zipf = Zipf::new(plan.objects, plan.exponent);
    let mut chance = Chance::new(plan.seed);
    let mut caches: Vec<_> = (0..plan.nodes)
        .map(|_| Recent::new(plan.objects, plan.fit))
        .collect();
    let mut counts = vec![Counts::default(); plan.nodes];
    for number in 0..plan.before + plan.requests {
        let object = zipf.draw(&mut chance);
        let node = match plan.balance {
            Balance::Url => mix(object as u64 + 1) % plan.nodes as u64,
            Balance::Turns => number % plan.nodes as u64,
        } as usize;
        let hit = caches[node].take(object);
        if number >= plan.before {
            counts[node].requests += 1;
            counts[node].hits += u64::from(hit);
        }
    }
    counts
}

/// The hits of all nodes per request.
pub(crate) fn hit_rate(counts: &[Counts]) -> f64 {
    let requests: u64 = counts.iter().map(|node| node.requests).sum();
    let hits: u64 = counts.iter().map(|node| node.hits).sum();
    hits as f64 / requests.max(1) as f64
}

/// The objects of a cache in the order of their use: a ring of numbers, with one more for its ends.
struct Recent {
    later: Vec<usize>,
    earlier: Vec<usize>,
    fit: usize,
    held: usize,
}

const ABSENT: usize = usize::MAX;

impl Recent {
    fn new(objects: usize, fit: usize) -> Self {
        let mut links = vec![ABSENT; objects + 1];
        links[objects] = objects;
        Self {
            later: links.clone(),
            earlier: links,
            fit,
            held: 0,
        }
    }

    /// Uses an object, and says whether it was there.
    fn take(&mut self, object: usize) -> bool {
        let ends = self.later.len() - 1;
        let was_there = self.later[object] != ABSENT;
        if was_there {
            self.remove(object);
        } else if self.held == self.fit {
            self.remove(self.later[ends]);
        }
        if self.fit > 0 {
            let newest = self.earlier[ends];
            (self.later[newest], self.earlier[object]) = (object, newest);
            (self.later[object], self.earlier[ends]) = (ends, object);
            self.held += 1;
        }
        was_there
    }

    fn remove(&mut self, object: usize) {
        let (earlier, later) = (self.earlier[object], self.later[object]);
        let ends = self.later.len() - 1;
        if object == ends {
            return;
        }
        (self.later[earlier], self.earlier[later]) = (later, earlier);
        (self.later[object], self.earlier[object]) = (ABSENT, ABSENT);
        self.held -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = Plan {
        objects: 1000,
        exponent: 0.9,
        nodes: 4,
        fit: 100,
        before: 20_000,
        requests: 50_000,
        balance: Balance::Url,
        seed: 1,
    };

    #[test]
    fn what_was_used_least_recently_is_dropped() {
        let mut recent = Recent::new(5, 2);
        let taken = [0, 1, 0, 2, 0, 1].map(|object| recent.take(object));
        assert_eq!(taken, [false, false, true, false, true, false]);
        let mut none = Recent::new(2, 0);
        assert!(!none.take(1) && !none.take(1));
    }

    #[test]
    fn nodes_that_are_chosen_by_url_hold_more_together() {
        let by_url = hit_rate(&simulate(&PLAN));
        let in_turn = hit_rate(&simulate(&Plan {
            balance: Balance::Turns,
            ..PLAN
        }));
        assert!(by_url > in_turn + 0.1, "{by_url} {in_turn}");
    }

    #[test]
    fn a_cache_for_everything_misses_nothing_once_it_is_full() {
        let plan = Plan {
            nodes: 1,
            fit: 1000,
            before: 200_000,
            ..PLAN
        };
        assert!(hit_rate(&simulate(&plan)) > 0.999);
        let empty = Plan { fit: 0, ..plan };
        assert!(hit_rate(&simulate(&empty)) < f64::EPSILON);
    }

    #[test]
    fn the_same_seed_counts_the_same() {
        assert_eq!(simulate(&PLAN), simulate(&PLAN));
    }
}
