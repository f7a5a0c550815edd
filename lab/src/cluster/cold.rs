//! A large object that no node has yet, beside the store's own answer; and a hundred clients that
//! ask for it at once.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::ScopedJoinHandle;

use serde_json::json;

use super::client::{self, Came};
use super::meter::Meter;
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

const ROUNDS: usize = 5;
const BLOCK: usize = 4 << 20;
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

const WAYS: [Way; 3] = [
    Way::Store,
    Way::Node(Kind::Underpass),
    Way::Node(Kind::Nginx),
];

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Store => "the store itself",
            Self::Node(Kind::Underpass) => "underpass serve",
            Self::Node(Kind::Nginx) => "nginx, proxy_cache and slice",
        }
    }
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
    let root = options.dir.clone().unwrap_or_else(std::env::temp_dir);
    testfile::check_space(&root, 6 * LARGE as u64)?;
    let dir = testfile::work_dir(&root)?;
    let mut ports = Ports::new();
    let store = Store::start(dir.path(), &mut ports)?;
    let meter = Meter::start(store.s3)?;
    let mut place = Place {
        store,
        meter,
        ports,
        underpass,
        dir,
        nodes: 0,
    };
    let mut chance = Chance::new(options.seed);
    let words = (0..LARGE / 8).flat_map(|_| chance.next().to_le_bytes());
    let content: Vec<u8> = words.collect();
    for (number, size) in [LARGE, SHARED].into_iter().enumerate() {
        objects::put(place.store.s3, &name(number), &content[..size])?;
    }
    let block = place.blocks(&content)?;
    let mut came = WAYS.map(|_| Vec::new());
    for round in 0..ROUNDS {
        for (at, way) in WAYS.into_iter().enumerate() {
            eprintln!("lab: cold, round {round}: {}", way.name());
            came[at].push(place.one(way, &content)?);
        }
    }
    let mut text = one_client(&block, &came);
    let mut shared = Vec::new();
    for way in &WAYS[1..] {
        let (fetches, bytes) = place.many(*way, &content[..SHARED])?;
        let blocks = SHARED / BLOCK;
        shared.push(
            json!({ "who": way.name(), "blocks": blocks, "fetches": fetches,
            "bytes": bytes }),
        );
        let _ = writeln!(
            text,
            "\n{}: {CLIENTS} clients at once for {blocks} blocks: {fetches} fetches, {:.1} MB",
            way.name(),
            bytes as f64 / 1e6
        );
    }
    output::print(&format!("\n{text}"))?;
    if let Some(folder) = options.into.clone().or_else(default_folder) {
        let one: Vec<_> = WAYS.iter().zip(&came).map(samples).collect();
        let numbers = json!({ "header": header, "block_s": block, "one": one, "shared": shared });
        report::write(
            &folder,
            "cold.md",
            &format!("```text\n{header}\n{text}```\n"),
        )?;
        report::write(&folder, "cold.json", &format!("{numbers}\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn samples((way, came): (&Way, &Vec<Came>)) -> serde_json::Value {
    let first: Vec<_> = came.iter().map(|it| it.first.as_secs_f64()).collect();
    let whole: Vec<_> = came.iter().map(|it| it.whole.as_secs_f64()).collect();
    json!({ "who": way.name(), "first_byte_s": first, "whole_s": whole })
}

impl Place {
    /// How long the store takes for one block.
    fn blocks(&self, content: &[u8]) -> Result<Vec<f64>> {
        let path = format!("/{BUCKET}/{}", name(0));
        let get = |_| {
            let range = Some((0, BLOCK as u64 - 1));
            let came = client::compare(self.store.s3, &path, range, &content[..BLOCK]);
            came.map(|came| came.whole.as_secs_f64())
                .map_err(|why| Error::new(format!("the store: {why}")))
        };
        (0..ROUNDS * 4).map(get).collect()
    }

    /// The whole object, to one client.
    fn one(&mut self, way: Way, content: &[u8]) -> Result<Came> {
        let (addr, path, _node) = self.way(way, 0)?;
        let came = client::compare(addr, &path, None, content);
        came.map_err(|why| Error::new(format!("{}: {why}", way.name())))
    }

    /// The number of fetches for all clients, and the bytes that came for them.
    fn many(&mut self, way: Way, content: &[u8]) -> Result<(u64, u64)> {
        let (addr, path, _node) = self.way(way, 1)?;
        self.meter.forget();
        let failed = std::thread::scope(|scope| {
            let get = || client::compare(addr, &path, None, content);
            let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(get)).collect();
            let ended = clients.into_iter().map(ScopedJoinHandle::join);
            let failed = ended.filter_map(|ended| ended.ok().and_then(std::result::Result::err));
            failed.collect::<Vec<_>>()
        });
        if let Some(why) = failed.first() {
            return Err(Error::new(format!("{}: {why}", way.name())));
        }
        let requests = self.meter.requests();
        let fetches = requests.iter().filter(|(line, _)| line.starts_with("GET "));
        Ok((
            fetches.map(|(_, count)| count).sum(),
            self.meter.passed().bytes,
        ))
    }

    /// Where to ask for an object, and what has to run meanwhile: a node with an empty cache.
    fn way(&mut self, way: Way, object: usize) -> Result<(SocketAddr, String, Option<Nodes>)> {
        if sys::interrupted() {
            return Err(Error::new("interrupted"));
        }
        let Way::Node(kind) = way else {
            return Ok((self.store.s3, format!("/{BUCKET}/{}", name(object)), None));
        };
        self.nodes += 1;
        // What was written for the last one must not be written during this.
        rustix::fs::sync();
        let settings = nodes::Settings {
            kind,
            underpass: self.underpass.clone(),
            cache: CACHE,
            revalidate: REVALIDATE,
            // Counting costs a copy, which one client would see.
            store: if object == 0 {
                self.store.s3
            } else {
                self.meter.addr
            },
            dir: self.dir.path().join(format!("cold-{}", self.nodes)),
        };
        let nodes = Nodes::start(settings, 1, &mut self.ports)?;
        Ok((nodes.addrs[0], format!("/{}", name(object)), Some(nodes)))
    }
}

fn one_client(block: &[f64], came: &[Vec<Came>; 3]) -> String {
    let median = |samples: Vec<f64>| Summary::of(&samples).map_or(0.0, |it| it.median);
    let block = median(block.to_vec());
    let plain = median(came[0].iter().map(|it| it.whole.as_secs_f64()).collect());
    let mut table = Table::new(&[
        "1 GiB, cold",
        "first byte ms",
        "÷ a block",
        "GB/s",
        "÷ the store",
    ]);
    for (way, came) in WAYS.iter().zip(came) {
        let first = median(came.iter().map(|it| it.first.as_secs_f64()).collect());
        let whole = median(came.iter().map(|it| it.whole.as_secs_f64()).collect());
        table.row([
            way.name().to_owned(),
            format!("{:.1}", first * 1e3),
            format!("{:.2}", first / block),
            format!("{:.2}", LARGE as f64 / 1e9 / whole),
            format!("{:.2}", plain / whole),
        ]);
    }
    format!(
        "{table}\nOne block of 4 MiB takes the store {:.1} ms, from the connection to its last byte.\n",
        block * 1e3
    )
}
