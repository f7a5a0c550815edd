//! `lab cluster`: a distributed store, nodes that serve it, and a balancer in front of them, all on
//! this machine: to look at, or with faults while clients compare every byte.

mod client;
mod cold;
mod crowd;
mod faults;
mod hits;
mod link;
mod meter;
mod nodes;
mod objects;
mod ports;
mod report;
mod store;

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use tempfile::TempDir;

use self::meter::Meter;
use self::nodes::Nodes;
use self::objects::{BUCKET, Objects};
use self::ports::Ports;
use self::report::Phase;
use self::store::Store;
use crate::error::{Error, Result};
use crate::header::Header;
use crate::spawned::Spawned;
use crate::{header, output, program, size, sys, testfile};

/// How long a program may take until it is ready.
const PATIENCE: Duration = Duration::from_secs(60);
/// How soon a Ctrl-C is seen.
const LOOK: Duration = Duration::from_millis(50);
const NODES: usize = 3;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Let things go wrong one after the other while clients read, print what they saw, and end.
    /// Without this, the cluster runs until Ctrl-C
    #[arg(long)]
    faults: bool,
    /// Measure the hit rate of one node beside what the simulator says of it, and end
    #[arg(long, conflicts_with = "faults")]
    hits: bool,
    /// Measure how fast an object comes that no node has yet, beside the store itself, and end
    #[arg(long, conflicts_with_all = ["faults", "hits"])]
    cold: bool,
    /// With --cold, have the store in a network of its own, from which bytes come at this rate,
    /// such as 1gbit. Needs root, ip and tc
    #[arg(long, value_name = "RATE", requires = "cold")]
    link: Option<String>,
    /// With --cold, how often each way is measured
    #[arg(long, default_value = "5", requires = "cold", value_parser = rounds)]
    rounds: usize,
    /// What the nodes are
    #[arg(long, default_value = "underpass")]
    nodes: nodes::Kind,
    /// Number of objects
    #[arg(long, default_value = "200", value_parser = clap::value_parser!(u64).range(1..=99_999))]
    objects: u64,
    /// Size of the cache of each node. Small, so that the store is needed
    #[arg(long, default_value = "64MiB", value_parser = size::parse)]
    cache_size: u64,
    /// Seconds between two questions of a node about one object
    #[arg(long, default_value = "1")]
    revalidate: u32,
    /// The same seed makes the same objects and requests
    #[arg(long, default_value = "1")]
    seed: u64,
    /// With --faults and --cold, the folder for the results [default: lab/runs/DATE-cluster, if
    /// lab/runs is there]
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// The underpass binary [default: the one built beside the lab, else the one on PATH]
    #[arg(long, value_name = "PATH")]
    underpass: Option<PathBuf>,
    /// Where to make files, which are removed afterwards [default: the system's temporary
    /// directory]
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// Everything that runs. All of it is stopped and removed when this is dropped.
pub(super) struct Cluster {
    /// Of the balancer.
    addr: SocketAddr,
    balancer: Spawned,
    nodes: Nodes,
    meter: Meter,
    objects: Arc<Objects>,
    store: Store,
    _dir: TempDir,
}

/// Starts the cluster, and shows it or lets things go wrong.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let underpass = program::underpass(options.underpass.as_deref())?;
    let header = Header::here()
        .with("underpass", program::describe(underpass.as_deref()))
        .with(
            "nodes",
            format!("{NODES}, {:?}", options.nodes).to_lowercase(),
        )
        .with("seed", options.seed.to_string());
    let header = match &options.link {
        Some(rate) => header.with("link", rate),
        None => header,
    };
    output::print(&format!("{header}\n"))?;
    if options.hits {
        return hits::run(options, underpass.as_deref());
    }
    if options.cold {
        return cold::run(options, &header, underpass);
    }
    let mut cluster = Cluster::start(options, underpass)?;
    if !options.faults {
        return show(&mut cluster);
    }
    let mut phases: Vec<Phase> = Vec::new();
    for fault in faults::ALL {
        output::print(&format!("{} …\n", fault.name()))?;
        phases.push(faults::run(&mut cluster, fault, options.seed)?);
    }
    output::print(&format!("\n{}", report::text(&phases)))?;
    let folder = options.into.clone().or_else(default_folder);
    if let Some(folder) = &folder {
        report::keep(folder, &header, &phases, &cluster.commands()?)?;
    }
    let right = phases.iter().all(Phase::is_right);
    Ok(if right {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

impl Cluster {
    fn start(options: &Options, underpass: Option<PathBuf>) -> Result<Self> {
        let place = options.dir.clone().unwrap_or_else(std::env::temp_dir);
        let dir = testfile::work_dir(&place)?;
        let mut ports = Ports::of_loopback();
        let store = Store::start(dir.path(), &mut ports)?;
        let objects = Objects::make(store.s3, options.objects as usize, options.seed)?;
        let meter = Meter::start(store.s3)?;
        let settings = nodes::Settings {
            kind: options.nodes,
            underpass,
            cache: options.cache_size,
            revalidate: options.revalidate,
            store: meter.addr,
            dir: dir.path().to_owned(),
        };
        let nodes = Nodes::start(settings, NODES, &mut ports)?;
        let (balancer, addr) = nodes::balancer(&nodes.addrs, dir.path(), &mut ports)?;
        Ok(Self {
            addr,
            balancer,
            nodes,
            meter,
            objects: Arc::new(objects),
            store,
            _dir: dir,
        })
    }

    /// How a node is started.
    fn commands(&self) -> Result<String> {
        let mut text = self.nodes.command()?;
        // The directories of this run are gone after it.
        for (number, part) in text.clone().split("/lab-").skip(1).enumerate() {
            let name: String = part.chars().take_while(|it| it.is_alphanumeric()).collect();
            text = text.replace(&format!("/lab-{name}"), &format!("/DIR{}", number + 1));
        }
        text.push('\n');
        Ok(text)
    }
}

/// Says where everything is, and waits for Ctrl-C.
fn show(cluster: &mut Cluster) -> Result<ExitCode> {
    let mut text = format!(
        "{NODES} nodes serve s3://{BUCKET}, which has {} objects. Try\n\n  curl -O http://{}/{}\n\n",
        cluster.objects.count(),
        cluster.addr,
        objects::name(0)
    );
    let _ = writeln!(text, "balancer  http://{}", cluster.addr);
    for (number, addr) in cluster.nodes.addrs.iter().enumerate() {
        let pid = cluster.nodes.pid(number).unwrap_or(0);
        let _ = writeln!(text, "node {number}    http://{addr} (process {pid})");
    }
    let _ = writeln!(text, "store     http://{}/{BUCKET}/", cluster.store.s3);
    let _ = writeln!(text, "\nCtrl-C stops and removes all of it.");
    output::print(&text)?;
    // A signal ends this too.
    let running = cluster.balancer.within(Duration::MAX, || None::<()>);
    match running {
        Err(_) if sys::interrupted() => Ok(ExitCode::SUCCESS),
        running => running.map(|()| ExitCode::SUCCESS),
    }
}

/// Waits, and fails when a Ctrl-C came.
pub(super) fn pause(time: Duration) -> Result<()> {
    let until = Instant::now() + time;
    loop {
        if sys::interrupted() {
            return Err(Error::new("interrupted"));
        }
        match until.checked_duration_since(Instant::now()) {
            None => return Ok(()),
            Some(left) => std::thread::sleep(left.min(LOOK)),
        }
    }
}

fn rounds(text: &str) -> std::result::Result<usize, String> {
    let rounds = text.parse().ok().filter(|rounds| (1..=99).contains(rounds));
    rounds.ok_or_else(|| "a number from 1 to 99".to_owned())
}

fn default_folder() -> Option<PathBuf> {
    let runs = PathBuf::from("lab/runs");
    runs.is_dir()
        .then(|| runs.join(format!("{}-cluster", header::today())))
}
