//! The hit rate of one node, counted at its store, beside what the simulator says.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use super::meter::Meter;
use super::nodes::{self, Nodes};
use super::objects::{self, name};
use super::ports::Ports;
use super::store::Store;
use super::{Options, client};
use crate::error::{Error, Result};
use crate::simulate::caches::{self, Balance, Plan, simulate};
use crate::simulate::model::{Cluster, Costs, needs};
use crate::simulate::popularity::{Chance, Zipf};
use crate::table::Table;
use crate::{output, size, sys, testfile};

const OBJECTS: usize = 2000;
const SIZE: u64 = 64 << 10;
const EXPONENTS: [f64; 3] = [0.6, 0.9, 1.2];
/// The parts of all objects that fit into the cache.
const CACHES: [u64; 2] = [16 << 20, 48 << 20];
/// Requests that fill the cache, and that are counted.
const BEFORE: u64 = 6000;
const REQUESTS: u64 = 10_000;
/// What is in the cache is not asked about again.
const REVALIDATE: u32 = 3600;
const CLIENTS: u64 = 4;

/// Measures each cache with each popularity, and prints them beside what was simulated.
pub(super) fn run(options: &Options, underpass: Option<&Path>) -> Result<ExitCode> {
    let place = options.dir.clone().unwrap_or_else(std::env::temp_dir);
    let dir = testfile::work_dir(&place)?;
    let mut ports = Ports::of_loopback();
    let store = Store::start(dir.path(), &mut ports)?;
    let meter = Meter::start(store.s3)?;
    let mut chance = Chance::new(options.seed);
    for object in 0..OBJECTS {
        let words = (0..SIZE / 8).flat_map(|_| chance.next().to_le_bytes());
        objects::put(store.s3, &name(object), &words.collect::<Vec<_>>())?;
    }
    let mut table = Table::new(&["cache", "Zipf", "measured %", "simulated %", "calculated %"]);
    for (at, &cache) in CACHES.iter().enumerate() {
        for exponent in EXPONENTS {
            let settings = nodes::Settings {
                kind: options.nodes,
                underpass: underpass.map(Path::to_owned),
                cache,
                revalidate: REVALIDATE,
                store: meter.addr,
                dir: dir.path().join(format!("{at}-{exponent}")),
            };
            let node = Nodes::start(settings, 1, &mut ports)?;
            let plan = plan(cache, exponent, options.seed);
            let measured = measure(node.addrs[0], &meter, &plan)?;
            let simulated = caches::hit_rate(&simulate(&plan));
            let rates = [measured, simulated, calculated(&plan)];
            let rates = rates.map(|rate| format!("{:.1}", rate * 100.0));
            table.row(
                [size::exact(cache), exponent.to_string()]
                    .into_iter()
                    .chain(rates),
            );
        }
    }
    output::print(&format!(
        "{OBJECTS} objects of {}, {REQUESTS} requests after {BEFORE}\n\n{table}",
        size::exact(SIZE)
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn plan(cache: u64, exponent: f64, seed: u64) -> Plan {
    Plan {
        objects: OBJECTS,
        exponent,
        nodes: 1,
        fit: (cache / SIZE) as usize,
        before: BEFORE,
        requests: REQUESTS,
        balance: Balance::Url,
        seed,
    }
}

/// Makes the requests that the simulator makes, and counts how many the store did not see.
fn measure(node: SocketAddr, meter: &Meter, plan: &Plan) -> Result<f64> {
    let zipf = Zipf::new(plan.objects, plan.exponent);
    let mut chance = Chance::new(plan.seed);
    let mut draw = |count| {
        (0..count)
            .map(|_| zipf.draw(&mut chance))
            .collect::<Vec<_>>()
    };
    ask(node, &draw(plan.before))?;
    meter.forget();
    ask(node, &draw(plan.requests))?;
    let fetches = meter.passed().asked("GET ").count;
    Ok(1.0 - fetches as f64 / plan.requests as f64)
}

/// A few clients ask for these, in about this order.
fn ask(node: SocketAddr, objects: &[usize]) -> Result<()> {
    let (next, failed) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let take = || next.fetch_add(1, Ordering::Relaxed) as usize;
                while let Some(&object) = objects.get(take()) {
                    let answer = client::get(node, &format!("/{}", name(object)), None);
                    let whole = answer.is_ok_and(|answer| {
                        answer.status == 200 && answer.body.len() as u64 == SIZE
                    });
                    failed.fetch_add(u64::from(!whole), Ordering::Relaxed);
                    if sys::interrupted() {
                        return;
                    }
                }
            });
        }
    });
    match (sys::interrupted(), failed.into_inner()) {
        (true, _) => Err(Error::new("interrupted")),
        (false, 0) => Ok(()),
        (false, failed) => Err(Error::new(format!("{failed} requests failed"))),
    }
}

fn calculated(plan: &Plan) -> f64 {
    let costs = Costs {
        request: 0.0,
        sent: 0.0,
        fetched: 0.0,
    };
    needs(&Cluster {
        objects: plan.objects as u64,
        exponent: plan.exponent,
        size: SIZE as f64,
        nodes: 1.0,
        cache: plan.fit as f64 * SIZE as f64,
        rate: 1.0,
        revalidate: f64::from(REVALIDATE),
        balance: plan.balance,
        costs,
    })
    .hit_rate
}
