//! A large object that no node has yet, beside the store's own answer; and a hundred clients that
//! ask for one at once.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use serde_json::json;

use super::client::{self, Came};
use super::link::Link;
use super::meter::{Asked, Meter};
use super::nodes::{self, Kind, Nodes};
use super::objects::{self, BUCKET, name};
use super::ports::Ports;
use super::store::Store;
use super::{Options, default_folder, report};
use crate::error::{Error, Result};
use crate::header::Header;
use crate::simulate::popularity::Chance;
use crate::stats::Summary;
use crate::table::Table;
use crate::{output, sys, testfile};

const BLOCK: usize = 4 << 20;
/// How often the store is asked for one block, in each round.
const BLOCKS: usize = 4;
/// Of the object that one client gets, and of that which many get at once.
const LARGE: usize = 1 << 30;
const SHARED: usize = 64 << 20;
const CLIENTS: usize = 100;
/// Everything fits.
const CACHE: u64 = 4 << 30;
const REVALIDATE: u32 = 3600;

/// Whom a client asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Store,
    Node(Kind),
}

const WAYS: [Way; 4] = [
    Way::Store,
    Way::Node(Kind::Underpass),
    Way::Node(Kind::Nginx),
    Way::Node(Kind::Varnish),
];

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Store => "the store itself",
            Self::Node(Kind::Underpass) => "underpass serve",
            Self::Node(Kind::Nginx) => "nginx, proxy_cache and slice",
            Self::Node(Kind::Varnish) => "Varnish",
        }
    }
}

/// One object that came to one client.
struct Get {
    came: Came,
    node_cpu: Duration,
    store_cpu: Duration,
}

/// All that was measured of one way.
struct Measured {
    way: Way,
    gets: Vec<Get>,
    /// For one client and the large object.
    large: Asked,
    /// For many clients and the other one. The store itself is not asked.
    shared: Option<Asked>,
}

struct Place {
    store: Store,
    meter: Meter,
    ports: Ports,
    underpass: Option<PathBuf>,
    dir: tempfile::TempDir,
    nodes: usize,
}

/// Measures in turn, each time with an empty cache, and prints the medians.
pub(super) fn run(
    options: &Options,
    header: &Header,
    underpass: Option<PathBuf>,
) -> Result<ExitCode> {
    let mut place = Place::new(options, underpass)?;
    let mut chance = Chance::new(options.seed);
    let words = (0..LARGE / 8).flat_map(|_| chance.next().to_le_bytes());
    let content: Vec<u8> = words.collect();
    for (number, size) in [LARGE, SHARED].into_iter().enumerate() {
        objects::put(place.store.s3, &name(number), &content[..size])?;
    }
    let block = place.blocks(&content, options.rounds)?;
    let mut gets = WAYS.map(|_| Vec::new());
    for round in 0..options.rounds {
        for (at, way) in WAYS.into_iter().enumerate() {
            eprintln!("lab: cold, round {round}: {}", way.name());
            gets[at].push(place.one(way, &content)?);
        }
    }
    let mut all = Vec::new();
    for (way, gets) in WAYS.into_iter().zip(gets) {
        eprintln!("lab: cold, what is fetched: {}", way.name());
        let is_node = way != Way::Store;
        let shared = is_node.then(|| place.fetched(way, 1, CLIENTS, &content[..SHARED]));
        all.push(Measured {
            way,
            gets,
            large: place.fetched(way, 0, 1, &content)?,
            shared: shared.transpose()?,
        });
    }
    let text = one_client(&block, &all) + &many_clients(&all);
    output::print(&format!("\n{text}"))?;
    if let Some(folder) = options.into.clone().or_else(default_folder) {
        let ways: Vec<_> = all.iter().map(numbers).collect();
        let numbers = json!({ "header": header, "block_s": block, "ways": ways });
        let link = options.link.as_deref().unwrap_or_default();
        let name = ["cold", link].join(if link.is_empty() { "" } else { "-" });
        let text = format!("```text\n{header}\n{text}```\n");
        report::write(&folder, &format!("{name}.md"), &text)?;
        report::write(&folder, &format!("{name}.json"), &format!("{numbers}\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn numbers(measured: &Measured) -> serde_json::Value {
    let samples = |of: fn(&Get) -> Duration| {
        let samples = measured.gets.iter().map(|get| of(get).as_secs_f64());
        samples.collect::<Vec<_>>()
    };
    let fetched = |it: &Asked| json!({ "gets": it.count, "bytes": it.bodies });
    json!({
        "who": measured.way.name(),
        "first_byte_s": samples(|get| get.came.first),
        "whole_s": samples(|get| get.came.whole),
        "node_cpu_s": samples(|get| get.node_cpu),
        "store_cpu_s": samples(|get| get.store_cpu),
        "fetched": fetched(&measured.large),
        "fetched_for_many": measured.shared.as_ref().map(fetched),
    })
}

impl Place {
    fn new(options: &Options, underpass: Option<PathBuf>) -> Result<Self> {
        let root = options.dir.clone().unwrap_or_else(std::env::temp_dir);
        testfile::check_space(&root, 6 * LARGE as u64)?;
        let dir = testfile::work_dir(&root)?;
        let store = match &options.link {
            None => Store::start(dir.path(), &mut Ports::of_loopback())?,
            Some(rate) => Link::new(rate)?
                .at_far_end(|address| Store::start(dir.path(), &mut Ports::of(address)))?,
        };
        Ok(Self {
            meter: Meter::start(store.s3)?,
            store,
            ports: Ports::of_loopback(),
            underpass,
            dir,
            nodes: 0,
        })
    }

    /// How long the store takes for one block.
    fn blocks(&self, content: &[u8], rounds: usize) -> Result<Vec<f64>> {
        let path = format!("/{BUCKET}/{}", name(0));
        let get = |_| {
            let range = Some((0, BLOCK as u64 - 1));
            let came = client::compare(self.store.s3, &path, range, &content[..BLOCK]);
            came.map(|came| came.whole.as_secs_f64())
                .map_err(|why| Error::new(format!("the store: {why}")))
        };
        (0..rounds * BLOCKS).map(get).collect()
    }

    /// The whole object, to one client.
    fn one(&mut self, way: Way, content: &[u8]) -> Result<Get> {
        // Counting costs a copy, which one client would see.
        let store = self.store.s3;
        let (addr, path, node) = self.way(way, 0, store)?;
        let cpu = || -> Result<_> {
            let node = node.as_ref().map_or(Ok(Duration::ZERO), Nodes::cpu)?;
            Ok((node, self.store.cpu()?))
        };
        let (node_before, store_before) = cpu()?;
        let came = client::compare(addr, &path, None, content);
        let came = came.map_err(|why| Error::new(format!("{}: {why}", way.name())))?;
        let (node_after, store_after) = cpu()?;
        Ok(Get {
            came,
            node_cpu: node_after.saturating_sub(node_before),
            store_cpu: store_after.saturating_sub(store_before),
        })
    }

    /// What is fetched when so many clients ask for an object at once.
    fn fetched(
        &mut self,
        way: Way,
        object: usize,
        clients: usize,
        content: &[u8],
    ) -> Result<Asked> {
        let meter = self.meter.addr;
        let (addr, path, _node) = self.way(way, object, meter)?;
        self.meter.forget();
        let failed = std::thread::scope(|scope| {
            let get = || client::compare(addr, &path, None, content);
            let clients: Vec<_> = (0..clients).map(|_| scope.spawn(get)).collect();
            let ended = clients.into_iter().map(ScopedJoinHandle::join);
            let failed = ended.filter_map(|ended| ended.ok().and_then(std::result::Result::err));
            failed.collect::<Vec<_>>()
        });
        if let Some(why) = failed.first() {
            return Err(Error::new(format!("{}: {why}", way.name())));
        }
        let object = format!("GET /{BUCKET}/{}", name(object));
        Ok(self.meter.passed().asked(&object))
    }

    /// Where to ask for an object, and what has to run meanwhile: a node with an empty cache, which
    /// finds the store at this address.
    fn way(
        &mut self,
        way: Way,
        object: usize,
        store: SocketAddr,
    ) -> Result<(SocketAddr, String, Option<Nodes>)> {
        if sys::interrupted() {
            return Err(Error::new("interrupted"));
        }
        let Way::Node(kind) = way else {
            return Ok((store, format!("/{BUCKET}/{}", name(object)), None));
        };
        self.nodes += 1;
        // What was written for the last one must not be written during this.
        rustix::fs::sync();
        let settings = nodes::Settings {
            kind,
            underpass: self.underpass.clone(),
            cache: CACHE,
            revalidate: REVALIDATE,
            store,
            dir: self.dir.path().join(format!("cold-{}", self.nodes)),
        };
        let nodes = Nodes::start(settings, 1, &mut self.ports)?;
        Ok((nodes.addrs[0], format!("/{}", name(object)), Some(nodes)))
    }
}

fn one_client(block: &[f64], all: &[Measured]) -> String {
    let middle = |samples: &[f64]| Summary::of(samples).map_or(0.0, |it| it.median);
    let median = |measured: &Measured, of: fn(&Get) -> Duration| {
        let samples = measured.gets.iter().map(|get| of(get).as_secs_f64());
        middle(&samples.collect::<Vec<_>>())
    };
    let block = middle(block);
    let plain = median(&all[0], |get| get.came.whole);
    let mut table = Table::new(&[
        "1 GiB, cold",
        "first byte ms",
        "÷ a block",
        "GB/s",
        "÷ the store",
        "CPU s, node",
        "CPU s, store",
        "GETs",
        "fetched ÷ size",
    ]);
    for one in all {
        let first = median(one, |get| get.came.first);
        let whole = median(one, |get| get.came.whole);
        table.row([
            one.way.name().to_owned(),
            format!("{:.1}", first * 1e3),
            format!("{:.2}", first / block),
            format!("{:.3}", LARGE as f64 / 1e9 / whole),
            format!("{:.2}", plain / whole),
            format!("{:.2}", median(one, |get| get.node_cpu)),
            format!("{:.2}", median(one, |get| get.store_cpu)),
            one.large.count.to_string(),
            format!("{:.3}", one.large.bodies as f64 / LARGE as f64),
        ]);
    }
    format!(
        "{table}\nOne block of 4 MiB takes the store {:.1} ms, from the connection to its last byte.\n",
        block * 1e3
    )
}

fn many_clients(all: &[Measured]) -> String {
    let mut text = String::new();
    for one in all {
        let Some(fetched) = &one.shared else { continue };
        let twice = match fetched.bodies.checked_sub(SHARED as u64) {
            Some(0) => "no byte twice".to_owned(),
            Some(more) => format!("{:.1} MB too many", more as f64 / 1e6),
            None => "which is not all of it".to_owned(),
        };
        let _ = writeln!(
            text,
            "\n{}: {CLIENTS} clients at once for {} MiB: {} GETs, {:.1} MB of bodies, {twice}",
            one.way.name(),
            SHARED >> 20,
            fetched.count,
            fetched.bodies as f64 / 1e6
        );
    }
    text
}
