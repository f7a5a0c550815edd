//! `lab simulate-cluster`: what some nodes in front of a store need: hit rate, bytes from the
//! store, CPU and network of a node.

pub(crate) mod caches;
pub(crate) mod model;
pub(crate) mod popularity;

use std::fmt::Write;

use clap::Args;

use self::caches::{Balance, Counts, Plan, hit_rate, simulate};
use self::model::{Cluster, Costs, Needs, needs};
use crate::error::Result;
use crate::table::Table;
use crate::{output, size};

/// Up to so many objects are simulated too. More are only calculated.
const SIMULATED: u64 = 2_000_000;
/// Requests for each object that fill the caches, and that are counted.
const REQUESTS_PER_OBJECT: u64 = 10;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Number of nodes
    #[arg(long, default_value = "3", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    nodes: u32,
    /// Number of objects in the store
    #[arg(long, default_value = "100000", value_parser = clap::value_parser!(u64).range(1..))]
    objects: u64,
    /// Size of each object
    #[arg(long, default_value = "1MiB", value_parser = size::parse)]
    size: u64,
    /// Exponent of Zipf's law: how much more often popular objects are asked for. From 0.6 to 1.1
    /// is usual for web caches
    #[arg(long, default_value = "0.9", value_parser = exponent)]
    zipf: f64,
    /// Sizes of the cache of a node; one table row for each
    #[arg(long, default_value = "1GiB,10GiB,30GiB", value_delimiter = ',', value_parser = size::parse)]
    cache: Vec<u64>,
    /// How the balancer chooses a node [default: both, one after the other]
    #[arg(long)]
    balance: Option<Balance>,
    /// Requests a second, of all clients
    #[arg(long, default_value = "1000", value_parser = positive)]
    rate: f64,
    /// Seconds between two questions of a node about one object
    #[arg(long, default_value = "10", value_parser = positive)]
    revalidate: f64,
    /// CPU µs for a request
    #[arg(long, default_value = "12", value_parser = positive)]
    request_cpu: f64,
    /// CPU seconds for 10^9 bytes that are sent
    #[arg(long, default_value = "0.1", value_parser = positive)]
    sent_cpu: f64,
    /// CPU seconds for 10^9 bytes that come from the store
    #[arg(long, default_value = "1.5", value_parser = positive)]
    fetched_cpu: f64,
    /// The same seed simulates the same requests
    #[arg(long, default_value = "1")]
    seed: u64,
}

/// Prints a row for each cache size and way to balance.
pub(crate) fn run(options: &Options) -> Result<()> {
    let balances = options
        .balance
        .map_or(vec![Balance::Url, Balance::Turns], |one| vec![one]);
    let mut table = Table::new(&[
        "balanced by, cache",
        "hits %",
        "simulated %",
        "busiest node",
        "store MB/s",
        "fetches/s",
        "questions/s",
        "requests/s",
        "out Gbit/s",
        "in Gbit/s",
        "processors",
    ]);
    let mut first = 0.0;
    for &balance in &balances {
        for &cache in &options.cache {
            let needs = needs(&options.cluster(balance, cache));
            first = needs.first;
            let simulated =
                (options.objects <= SIMULATED).then(|| simulate(&options.plan(balance, cache)));
            table.row(cells(balance, cache, &needs, simulated.as_deref()));
        }
    }
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{} nodes, {} objects of {}, Zipf {}, {} requests a second\n\n{table}\nrequests/s and what \
         follows are of one node, if all have the same load. The most popular\nobject gets \
         {:.2} % of all requests; by URL, all of them come to one node, and a balancer\nwith \
         bounded loads passes on what is too much.",
        options.nodes,
        options.objects,
        size::exact(options.size),
        options.zipf,
        options.rate,
        first * 100.0,
    );
    output::print(&text)
}

impl Options {
    fn cluster(&self, balance: Balance, cache: u64) -> Cluster {
        Cluster {
            objects: self.objects,
            exponent: self.zipf,
            size: self.size as f64,
            nodes: f64::from(self.nodes),
            cache: cache as f64,
            rate: self.rate,
            revalidate: self.revalidate,
            balance,
            costs: Costs {
                request: self.request_cpu / 1e6,
                sent: self.sent_cpu / 1e9,
                fetched: self.fetched_cpu / 1e9,
            },
        }
    }

    fn plan(&self, balance: Balance, cache: u64) -> Plan {
        // In turn, a node sees each object so much more seldom.
        let nodes = match balance {
            Balance::Url => 1,
            Balance::Turns => u64::from(self.nodes).min(100),
        };
        let requests = (self.objects * REQUESTS_PER_OBJECT).max(100_000) * nodes;
        Plan {
            objects: self.objects as usize,
            exponent: self.zipf,
            nodes: self.nodes as usize,
            fit: (cache / self.size) as usize,
            before: requests,
            requests,
            balance,
            seed: self.seed,
        }
    }
}

fn cells(balance: Balance, cache: u64, needs: &Needs, simulated: Option<&[Counts]>) -> Vec<String> {
    let by = match balance {
        Balance::Url => "URL",
        Balance::Turns => "turns",
    };
    let percent = |share: f64| format!("{:.1}", share * 100.0);
    let gigabits = |bytes: f64| format!("{:.2}", bytes * 8.0 / 1e9);
    let busiest = |nodes: &[Counts]| {
        let all: u64 = nodes.iter().map(|node| node.requests).sum();
        let most = nodes.iter().map(|node| node.requests).max().unwrap_or(0);
        format!("{:.2} ×", (most * nodes.len() as u64) as f64 / all as f64)
    };
    let none = || "–".to_owned();
    vec![
        format!("{by}, {}", size::exact(cache)),
        percent(needs.hit_rate),
        simulated.map_or_else(none, |nodes| percent(hit_rate(nodes))),
        simulated.map_or_else(none, busiest),
        format!("{:.1}", needs.from_store / 1e6),
        format!("{:.1}", needs.fetches),
        format!("{:.1}", needs.questions),
        format!("{:.0}", needs.requests),
        gigabits(needs.sent),
        gigabits(needs.received),
        format!("{:.2}", needs.processors),
    ]
}

fn exponent(text: &str) -> std::result::Result<f64, String> {
    let number = text.parse().ok();
    let number = number.filter(|number| (0.0..=3.0).contains(number));
    number.ok_or_else(|| "a number from 0 to 3, such as 0.9".to_owned())
}

fn positive(text: &str) -> std::result::Result<f64, String> {
    let number: Option<f64> = text.parse().ok();
    let number = number.filter(|number| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| "a number that is not negative".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_mean_nothing_are_refused() {
        for text in ["x", "NaN", "-1", "inf"] {
            assert!(positive(text).is_err() && exponent(text).is_err(), "{text}");
        }
        assert!(exponent("3.1").is_err());
    }
}
