//! How long a small hot file takes while the same server has other work: pulling clients, of cold files or of hot ones.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use serde::Serialize;
use serde_json::{Value, json};

use super::goal::{self, Goal, Wanted};
use super::load::{Load, Window};
use super::running::Running;
use super::series::{self, Series};
use super::servers::{NGINX, UNDERPASS};
use super::throttle::SlowDisk;
use super::{Bench, Section, WARMUP, check, remove};
use crate::error::{Context, Error, Result};
use crate::table::Table;
use crate::{size, sys};

const HOT: &str = "hot";
const HOT_SIZE: u64 = 1 << 10;
const CONNECTIONS: usize = 4;
const PULLERS: usize = 8;
/// The most that a puller discards at once: this kernel's default does not preempt a system call, and the small file's client
/// waits for the same processor.
const BITE: usize = 64 << 10;

const COLD_SIZE: u64 = 256 << 20;
const SLOW: u64 = 32 << 20;
/// What the disk may have delivered above its limit, for bursts, before it was no slow disk at all.
const SLOW_LIMIT: f64 = 1.5;

/// The small file alone, then beside the pullers, on one run of the server.
#[derive(Debug, Serialize)]
struct Sample {
    alone: Window,
    beside: Window,
    /// What the pullers got from their start to the end of the window, and how long that was.
    pulled_bytes: u64,
    pulled_s: f64,
}

const RATIO: fn(&Sample) -> f64 = |sample| sample.beside.p99_us / sample.alone.p99_us;
const ALONE: fn(&Sample) -> f64 = |sample| sample.alone.p99_us;
const BESIDE: fn(&Sample) -> f64 = |sample| sample.beside.p99_us;
const WORST: fn(&Sample) -> f64 = |sample| sample.beside.max_us / 1e3;
const PULLED: fn(&Sample) -> f64 = |sample| sample.pulled_bytes as f64 / 1e6 / sample.pulled_s;
const OWN_WAIT: fn(&Sample) -> f64 =
    |sample| sample.beside.load_wait_s * 1e6 / sample.beside.requests.max(1) as f64;

/// What the pullers ask for: one path each, all of one size.
struct Pulled {
    paths: Vec<String>,
    size: u64,
}

/// Beside clients of cold files on a slow disk.
pub(super) fn cold(bench: &Bench) -> Result<Section> {
    let (image, point) = (bench.root.join("image"), bench.root.join("cold"));
    let disk = match SlowDisk::new(&image, &point, PULLERS, COLD_SIZE, SLOW) {
        Ok(disk) => disk,
        Err(why) => {
            return Ok(Section {
                text: format!("cold: SKIPPED: {why}\n"),
                json: json!({ "skipped": why.to_string() }),
                void: Vec::new(),
            });
        }
    };
    let path = |at| format!("cold/cold-{at}");
    let pulled = Pulled {
        paths: (0..PULLERS).map(path).collect(),
        size: COLD_SIZE,
    };
    let prepare = |server: &Running| {
        disk.make_cold()?;
        disk.slow_down(server.pid())
    };
    let limit = SLOW as f64 * SLOW_LIMIT / 1e6;
    let slow = |sample: &Sample| match PULLED(sample) {
        rate if rate > limit => Err(Error::new(format!("{rate:.0} MB/s from the slow disk"))),
        _ => Ok(()),
    };
    let what = format!(
        "1 KiB, {CONNECTIONS} connections, beside {PULLERS} of cold files from a disk of {}/s",
        size::exact(SLOW)
    );
    let section = section(bench, "cold", &what, &pulled, &prepare, &slow);
    drop(disk);
    // The image's blocks are not kept for the parts to come.
    remove(&image)?;
    section
}

/// Beside clients that take a large hot file as fast as it comes.
pub(super) fn fair(bench: &Bench) -> Result<Section> {
    let size = bench.options.size;
    let file = bench.file("large", size)?;
    let pulled = Pulled {
        paths: vec!["large".to_owned(); PULLERS],
        size,
    };
    let what = format!(
        "1 KiB, {CONNECTIONS} connections, beside {PULLERS} of {}",
        size::exact(size)
    );
    let section = section(bench, "fair", &what, &pulled, &|_| Ok(()), &|_| Ok(()));
    remove(&file)?;
    section
}

fn section(
    bench: &Bench,
    part: &str,
    what: &str,
    pulled: &Pulled,
    prepare: &dyn Fn(&Running) -> Result<()>,
    accept: &dyn Fn(&Sample) -> Result<()>,
) -> Result<Section> {
    let file = bench.file(HOT, HOT_SIZE)?;
    let wanted = |server: &str| [UNDERPASS, NGINX].contains(&server);
    let rows = bench.interleave(part, wanted, |start, round| {
        let mut server = Running::start(start, bench.root)?;
        prepare(&server)?;
        let load = Load::new(server.addr, HOT, HOT_SIZE, CONNECTIONS);
        if round == 0 {
            server.explain(check::content(&load, &file))?;
        }
        let measured = measure(bench, &server, &load, pulled);
        let sample = server.explain(measured)?;
        accept(&sample)?;
        Ok(sample)
    })?;
    remove(&file)?;
    let measured = series::summary(&rows, UNDERPASS, RATIO);
    let goal = format!("{part}: p99 of underpass beside them ÷ alone");
    let goals = [Goal::new(goal, Wanted::AtMost(2.0), measured)];
    Ok(Section {
        text: format!("{}\n{}{NOTE}", table(what, &rows), goal::table(&goals)),
        json: json!({
            "servers": rows.iter().map(Series::to_json).collect::<Value>(),
            "goals": goal::to_json(&goals),
        }),
        void: series::void(part, &rows),
    })
}

const NOTE: &str = "p99 over all responses of a closed loop, and what is still awaited at the end, with its age. A server that stands still
answers few meanwhile: see requests/s and the worst, too.
The pullers share the load's processor but run only when it is idle (SCHED_IDLE); own wait is what the measuring client
waited for its processor all the same, in the mean over its responses beside the pullers.
";

fn table(what: &str, rows: &[Series<Sample>]) -> String {
    let mut table = Table::new(&[
        "server",
        "p99 µs alone",
        "beside",
        "×",
        "min–max",
        "worst ms",
        "requests/s alone",
        "beside",
        "pulled MB/s",
        "own wait µs",
    ]);
    for row in rows {
        table.row(row.row(|| {
            Some(vec![
                row.median(ALONE, 0),
                row.median(BESIDE, 0),
                row.median(RATIO, 2),
                row.spread(RATIO, 2),
                row.median(WORST, 1),
                row.median(|s| s.alone.requests as f64 / s.alone.seconds, 0),
                row.median(|s| s.beside.requests as f64 / s.beside.seconds, 0),
                row.median(PULLED, 0),
                row.median(OWN_WAIT, 1),
            ])
        }));
    }
    format!("{what}\n{table}")
}

fn measure(bench: &Bench, server: &Running, load: &Load, pulled: &Pulled) -> Result<Sample> {
    let window = || load.run(WARMUP, bench.window(), &|| server.cpu());
    let alone = bench.on_load_side(window)?;
    let pullers = Load {
        addr: server.addr,
        paths: pulled.paths.clone(),
        body: pulled.size,
        connections: PULLERS,
        discard: BITE,
    };
    let (stop, arrived) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let pulling = scope.spawn(|| {
            bench.pinning.pin_sink()?;
            sys::run_when_idle().context(|| "cannot stand back for others".into())?;
            pullers.pull(&stop, &arrived)
        });
        let started = Instant::now();
        let beside = bench.on_load_side(window);
        let (pulled_bytes, pulled_s) = (arrived.load(Ordering::Relaxed), started.elapsed());
        stop.store(true, Ordering::Relaxed);
        let ended = pulling.join();
        ended.map_err(|_| Error::new("the pullers' thread died"))??;
        if pulled_bytes == 0 {
            return Err(Error::new("the pullers got nothing"));
        }
        Ok(Sample {
            alone,
            beside: beside?,
            pulled_bytes,
            pulled_s: pulled_s.as_secs_f64(),
        })
    })
}
