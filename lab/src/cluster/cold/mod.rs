//! A large object that no node has yet, beside the store's own answer; and a hundred clients that
//! ask for one at once.

mod tables;

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use serde_json::json;

use super::client;
use super::link::Link;
use super::meter::{Asked, Meter};
use super::nodes::{self, Kind, Nodes};
use super::objects::{self, BUCKET, READY, name};
use super::ports::Ports;
use super::store::Store;
use super::{Options, default_folder, report};
use crate::error::{Context, Error, Result};
use crate::header::Header;
use crate::simulate::popularity::Chance;
use crate::{output, sys, testfile};

const BLOCK: usize = 4 << 20;
/// How often each way is asked for a first byte, in each round.
const FIRSTS: usize = 4;
/// Of the object that one client gets, and of that which many get at once.
const LARGE: usize = 1 << 30;
const SHARED: usize = 64 << 20;
const CLIENTS: usize = 100;
/// More than a node, the store and the client take for the large object.
const MEMORY: u64 = 3 << 30;
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

/// A first byte, beside one block of the same object from the store itself, right before.
struct First {
    byte: Duration,
    block: Duration,
}

/// One object that came to one client.
struct Get {
    whole: Duration,
    node_cpu: Duration,
    store_cpu: Duration,
}

/// All that was measured of one way.
struct Measured {
    way: Way,
    firsts: Vec<First>,
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
    let mut firsts = WAYS.map(|_| Vec::new());
    let mut gets = WAYS.map(|_| Vec::new());
    for round in 0..options.rounds {
        // Each comes behind each.
        for turn in 0..WAYS.len() {
            let at = (turn + round) % WAYS.len();
            eprintln!("lab: cold, round {round}: {}", WAYS[at].name());
            for _ in 0..FIRSTS {
                firsts[at].push(place.first(WAYS[at], &content)?);
            }
            gets[at].push(place.one(WAYS[at], &content)?);
        }
    }
    let mut all = Vec::new();
    for ((way, firsts), gets) in WAYS.into_iter().zip(firsts).zip(gets) {
        eprintln!("lab: cold, what is fetched: {}", way.name());
        let is_node = way != Way::Store;
        let shared = is_node.then(|| place.fetched(way, 1, CLIENTS, &content[..SHARED]));
        all.push(Measured {
            way,
            firsts,
            gets,
            large: place.fetched(way, 0, 1, &content)?,
            shared: shared.transpose()?,
        });
    }
    let text = tables::of(&all);
    output::print(&format!("\n{text}"))?;
    if let Some(folder) = options.into.clone().or_else(default_folder) {
        let ways: Vec<_> = all.iter().map(numbers).collect();
        let numbers = json!({ "header": header, "ways": ways });
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
    let firsts = measured.firsts.iter().map(|first| {
        let (byte, block) = (first.byte.as_secs_f64(), first.block.as_secs_f64());
        json!({ "first_byte_s": byte, "block_s": block })
    });
    let fetched = |it: &Asked| json!({ "gets": it.count, "bytes": it.bodies });
    json!({
        "who": measured.way.name(),
        "first_bytes": firsts.collect::<Vec<_>>(),
        "whole_s": samples(|get| get.whole),
        "node_cpu_s": samples(|get| get.node_cpu),
        "store_cpu_s": samples(|get| get.store_cpu),
        "fetched": fetched(&measured.large),
        "fetched_for_many": measured.shared.as_ref().map(fetched),
    })
}

impl Place {
    fn new(options: &Options, underpass: Option<PathBuf>) -> Result<Self> {
        let root = options.dir.clone().unwrap_or_else(std::env::temp_dir);
        testfile::check_space(&root, 8 * LARGE as u64)?;
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

    /// The first byte of the object, and before it the first block of it from the store.
    fn first(&mut self, way: Way, content: &[u8]) -> Result<First> {
        let failed = |why| Error::new(format!("{}: {why}", way.name()));
        let store = self.store.s3;
        let (addr, path, node) = self.way(way, 0, store)?;
        let (from, range) = (
            format!("/{BUCKET}/{}", name(0)),
            Some((0, BLOCK as u64 - 1)),
        );
        let block = client::compare(store, &from, range, &content[..BLOCK]);
        let block = block.map_err(|why| Error::new(format!("the store: {why}")))?;
        let byte = client::first_byte(addr, &path, content).map_err(failed)?;
        self.stop(node)?;
        Ok(First { byte, block })
    }

    /// The whole object, to one client.
    fn one(&mut self, way: Way, content: &[u8]) -> Result<Get> {
        // Counting costs a copy, which one client would see.
        let store = self.store.s3;
        let (addr, path, node) = self.way(way, 0, store)?;
        take_memory(self.dir.path())?;
        let cpu = || -> Result<_> {
            let node = node.as_ref().map_or(Ok(Duration::ZERO), Nodes::cpu)?;
            Ok((node, self.store.cpu()?))
        };
        let (node_before, store_before) = cpu()?;
        let whole = client::compare(addr, &path, None, content);
        let whole = whole.map_err(|why| Error::new(format!("{}: {why}", way.name())))?;
        let (node_after, store_after) = cpu()?;
        self.stop(node)?;
        Ok(Get {
            whole,
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
        let (addr, path, node) = self.way(way, object, meter)?;
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
        self.stop(node)?;
        let object = format!("GET /{BUCKET}/{}", name(object));
        Ok(self.meter.passed().asked(&object))
    }

    /// Where to ask for an object, and what has to run meanwhile: a node with an empty cache, which
    /// finds the store at this address, and has served one small object.
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
            dir: self.place_of_node(),
        };
        let nodes = Nodes::start(settings, 1, &mut self.ports)?;
        let addr = nodes.addrs[0];
        client::get(addr, &format!("/{READY}"), None).map_err(Error::new)?;
        Ok((addr, format!("/{}", name(object)), Some(nodes)))
    }

    /// Stops a node, if one runs, and removes what it kept: it would take memory from the next one.
    fn stop(&self, node: Option<Nodes>) -> Result<()> {
        if node.is_some() {
            drop(node);
            let dir = self.place_of_node();
            fs::remove_dir_all(&dir).context(|| format!("cannot remove {}", dir.display()))?;
        }
        Ok(())
    }

    fn place_of_node(&self) -> PathBuf {
        self.dir.path().join(format!("cold-{}", self.nodes))
    }
}

/// Has the kernel find memory now: pages of no file, and those of a file that is written as nodes
/// write theirs. In a virtual machine that gives free memory back to its host (free page
/// reporting), each page costs a fault in the host when it is used again, which can take longer
/// than all that is measured here.
fn take_memory(dir: &Path) -> Result<()> {
    let path = "/proc/meminfo";
    let text = fs::read_to_string(path).context(|| format!("cannot read {path}"))?;
    let kilobytes = text.lines().find_map(|line| {
        let line = line.strip_prefix("MemAvailable:")?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    });
    let count = MEMORY.min(kilobytes.unwrap_or(0) * 512);
    drop(std::hint::black_box(vec![1_u8; count as usize]));
    let file = dir.join("memory");
    let write = || -> std::io::Result<()> {
        let piece = vec![1; 1 << 20];
        let mut pages = fs::File::create(&file)?;
        for _ in 0..count >> 20 {
            pages.write_all(&piece)?;
        }
        fs::remove_file(&file)
    };
    write().context(|| format!("cannot write {}", file.display()))
}
