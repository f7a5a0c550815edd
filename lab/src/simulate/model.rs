//! What a cluster of any size needs, calculated: hit rate by Che's approximation, bytes from the
//! store, CPU and network of a node.

use super::caches::Balance;
use super::popularity::{Ranks, ranks};

/// A cluster and its load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cluster {
    pub(crate) objects: u64,
    pub(crate) exponent: f64,
    /// Bytes of an object.
    pub(crate) size: f64,
    pub(crate) nodes: f64,
    /// Bytes of the cache of a node.
    pub(crate) cache: f64,
    /// Requests a second, of all clients.
    pub(crate) rate: f64,
    /// Seconds between two questions of a node about one object.
    pub(crate) revalidate: f64,
    pub(crate) balance: Balance,
    pub(crate) costs: Costs,
}

/// CPU time of a node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Costs {
    /// Seconds for a request.
    pub(crate) request: f64,
    /// Seconds for a byte that is sent.
    pub(crate) sent: f64,
    /// Seconds for a byte that comes from the store.
    pub(crate) fetched: f64,
}

/// What it comes to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Needs {
    pub(crate) hit_rate: f64,
    /// Bytes a second that the store sends, to all nodes.
    pub(crate) from_store: f64,
    /// Requests a second that the store gets: for objects, and whether they are still the same.
    pub(crate) fetches: f64,
    pub(crate) questions: f64,
    /// Of one node, where all have the same load: requests a second, bytes a second, processors.
    pub(crate) requests: f64,
    pub(crate) sent: f64,
    pub(crate) received: f64,
    pub(crate) processors: f64,
    /// The share of all requests that the most popular object gets. By URL, one node has them.
    pub(crate) first: f64,
}

pub(crate) fn needs(cluster: &Cluster) -> Needs {
    let ranks = ranks(cluster.objects, cluster.exponent);
    // By URL, all caches together hold each object once. In turn, each holds what all the others
    // hold.
    let (together, holders) = match cluster.balance {
        Balance::Url => (cluster.nodes, 1.0),
        Balance::Turns => (1.0, cluster.nodes),
    };
    let fit = cluster.cache * together / cluster.size;
    let hit_rate = hit_rate(&ranks, fit);
    let fetches = cluster.rate * (1.0 - hit_rate);
    let from_store = fetches * cluster.size;
    let asked: f64 = ranks
        .iter()
        .map(|range| {
            let rate = range.share * cluster.rate / holders;
            range.count * holders * rate / (1.0 + rate * cluster.revalidate)
        })
        .sum();
    let requests = cluster.rate / cluster.nodes;
    let (sent, received) = (requests * cluster.size, from_store / cluster.nodes);
    let costs = cluster.costs;
    Needs {
        hit_rate,
        from_store,
        fetches,
        // A fetch of what is not there says what it is.
        questions: (asked - fetches).max(0.0),
        requests,
        sent,
        received,
        processors: requests * costs.request + sent * costs.sent + received * costs.fetched,
        first: ranks.first().map_or(0.0, |range| range.share),
    }
}

/// The chance that an object is in a cache that holds `fit` objects and drops what was used least
/// recently: Che, Tung and Wang (2002). An object is there if it was asked for within the time that
/// it takes until `fit` different ones were.
fn hit_rate(ranks: &[Ranks], fit: f64) -> f64 {
    let objects: f64 = ranks.iter().map(|range| range.count).sum();
    if fit >= objects {
        return 1.0;
    }
    let held = |requests: f64| -> f64 {
        let chance = |range: &Ranks| range.count * -(-range.share * requests).exp_m1();
        ranks.iter().map(chance).sum()
    };
    let (mut low, mut high) = (0.0, 1.0);
    while held(high) < fit {
        high *= 2.0;
    }
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if held(middle) < fit {
            low = middle;
        } else {
            high = middle;
        }
    }
    let hits = |range: &Ranks| range.count * range.share * -(-range.share * high).exp_m1();
    ranks.iter().map(hits).sum()
}

#[cfg(test)]
mod tests {
    use super::super::caches::{self, Plan, simulate};
    use super::*;

    const CLUSTER: Cluster = Cluster {
        objects: 10_000,
        exponent: 0.9,
        size: 1e6,
        nodes: 4.0,
        cache: 1e9,
        rate: 1000.0,
        revalidate: 10.0,
        balance: Balance::Url,
        costs: Costs {
            request: 1e-5,
            sent: 1e-10,
            fetched: 1e-9,
        },
    };

    /// What is calculated is what is simulated, to one hundredth.
    #[test]
    fn both_ways_have_the_same_hit_rate() {
        for exponent in [0.6, 0.9, 1.2] {
            for (nodes, fit, balance) in [
                (1, 100, Balance::Url),
                (1, 2000, Balance::Url),
                (4, 300, Balance::Url),
                (4, 300, Balance::Turns),
            ] {
                let simulated = caches::hit_rate(&simulate(&Plan {
                    objects: 10_000,
                    exponent,
                    nodes,
                    fit,
                    before: 200_000,
                    requests: 200_000,
                    balance,
                    seed: 3,
                }));
                let calculated = needs(&Cluster {
                    exponent,
                    nodes: nodes as f64,
                    cache: fit as f64 * 1e6,
                    balance,
                    ..CLUSTER
                });
                let off = (simulated - calculated.hit_rate).abs();
                assert!(off < 0.01, "{exponent} {nodes} {balance:?}: {off}");
            }
        }
    }

    #[test]
    fn all_that_fits_is_fetched_once() {
        let needs = needs(&Cluster {
            cache: 1e10,
            ..CLUSTER
        });
        assert!((needs.hit_rate - 1.0).abs() < 1e-12 && needs.from_store < 1e-6);
        // Each object is asked about at most every ten seconds.
        assert!(needs.questions > 100.0 && needs.questions < 1000.0);
        assert!((needs.sent - 250e6).abs() < 1.0 && (needs.requests - 250.0).abs() < 1e-9);
    }

    #[test]
    fn costs_add_up() {
        let needs = needs(&Cluster {
            cache: 0.0,
            ..CLUSTER
        });
        assert!(needs.hit_rate < 1e-9 && needs.questions < 1.0);
        let expected = 250.0 * 1e-5 + 250e6 * 1e-10 + 250e6 * 1e-9;
        assert!((needs.processors - expected).abs() < 1e-6);
    }
}
