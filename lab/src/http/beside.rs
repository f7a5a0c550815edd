//! The latency of a small file in the page cache while the same server has other work: clients that
//! download cold files, or files in the page cache.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use super::check;
use super::load::{Load, Window};
use super::throttle::SlowDisk;
use crate::bench::{Bench, WARMUP, remove};
use crate::error::{Context, Error, Result};
use crate::record::{Case, Metric, Row, Sample, Side};
use crate::server::running::Running;
use crate::{size, sys};

const HOT: &str = "hot";
const HOT_SIZE: u64 = 1 << 10;
const CONNECTIONS: usize = 4;
/// The most bytes that a download client discards at once. This kernel does not preempt a system
/// call by default, and the small file's client waits for the same processor.
const BITE: usize = 64 << 10;

const SLOW: u64 = 32 << 20;
/// How far a burst may exceed the disk's limit. A disk that delivered more was not slow.
const SLOW_LIMIT: f64 = 1.5;

const RATIO: &str = "p99 beside ÷ alone";
const ALONE: &str = "p99 µs alone";
const BESIDE: &str = "p99 µs beside";
const WORST: &str = "worst ms beside";
const REQUESTS_ALONE: &str = "requests/s alone";
const REQUESTS_BESIDE: &str = "requests/s beside";
const PULLED: &str = "pulled MB/s";
const OWN_WAIT: &str = "own wait µs";

/// What the download clients ask for: one path each, all of one size.
struct Pulled {
    paths: Vec<String>,
    size: u64,
}

/// Beside clients that download cold files from a slow disk.
pub(crate) fn cold(bench: &Bench) -> Result<Vec<Case>> {
    let (pullers, size) = pullers(bench);
    let case = format!(
        "beside {pullers} readers of a disk of {}/s",
        size::exact(SLOW)
    );
    let (image, point) = (bench.root.join("image"), bench.root.join("cold"));
    let disk = match SlowDisk::new(&image, &point, pullers, size, SLOW) {
        Ok(disk) => disk,
        Err(why) => return absent(bench, case, &why),
    };
    let path = |at| format!("cold/cold-{at}");
    let pulled = Pulled {
        paths: (0..pullers).map(path).collect(),
        size,
    };
    let prepare = |server: &Running| {
        disk.make_cold()?;
        disk.slow_down(&server.processes()?)
    };
    let limit = SLOW as f64 * SLOW_LIMIT / 1e6;
    let slow = |sample: &Sample| match sample.get(PULLED) {
        Some(rate) if rate > limit => Err(Error::new(format!("{rate:.0} MB/s from the slow disk"))),
        _ => Ok(()),
    };
    let cases = cases(bench, &case, &pulled, &prepare, &slow);
    drop(disk);
    // The image's disk space is needed for the following scenarios.
    remove(&image)?;
    cases
}

/// Beside clients that download a large file from the page cache, as fast as it comes.
pub(crate) fn fair(bench: &Bench) -> Result<Vec<Case>> {
    let (pullers, size) = pullers(bench);
    let case = format!("beside {pullers} readers of {}", size::exact(size));
    let file = bench.file("large", size)?;
    let pulled = Pulled {
        paths: vec!["large".to_owned(); pullers],
        size,
    };
    let cases = cases(bench, &case, &pulled, &|_| Ok(()), &|_| Ok(()));
    remove(&file)?;
    cases
}

fn pullers(bench: &Bench) -> (usize, u64) {
    let scenario = bench.scenario;
    let pullers = scenario.connections.first().copied().unwrap_or(1);
    (
        pullers,
        scenario.sizes.first().map_or(1 << 30, |size| size.0),
    )
}

/// A case that this machine cannot run appears in the tables too, with the reason.
fn absent(bench: &Bench, case: String, why: &Error) -> Result<Vec<Case>> {
    let contenders = bench.contenders()?;
    let mut rows: Vec<_> = contenders.iter().map(Row::of).collect();
    for row in &mut rows {
        row.absent = Some(why.to_string());
    }
    Ok(vec![Case {
        name: case,
        metrics: metrics(),
        rows,
        remarks: Vec::new(),
    }])
}

fn cases(
    bench: &Bench,
    case: &str,
    pulled: &Pulled,
    prepare: &dyn Fn(&Running) -> Result<()>,
    accept: &dyn Fn(&Sample) -> Result<()>,
) -> Result<Vec<Case>> {
    let contenders = bench.contenders()?;
    let file = bench.file(HOT, HOT_SIZE)?;
    let case = bench.case(case, metrics(), &contenders, |who, round| {
        let mut server = Running::start(bench, who)?;
        prepare(&server)?;
        let load = Load::new(server.addr, HOT, HOT_SIZE, CONNECTIONS);
        if round == 0 {
            server.explain(check::content(&load, &file))?;
        }
        let measured = measure(bench, &server, &load, pulled, round);
        let sample = server.explain(measured)?;
        accept(&sample)?;
        let routes = server.routes()?;
        if who.row.side == Side::Ours && routes.get("sendfile") == Some(&0) {
            return Err(Error::new("the large files did not go by sendfile"));
        }
        Ok(sample.with_routes(routes))
    })?;
    remove(&file)?;
    Ok(vec![case])
}

fn metrics() -> Vec<Metric> {
    vec![
        Metric::less(RATIO, 2),
        Metric::less(BESIDE, 0),
        Metric::told(ALONE, 0),
        Metric::told(WORST, 1),
        Metric::told(REQUESTS_ALONE, 0),
        Metric::more(REQUESTS_BESIDE, 0),
        Metric::told(PULLED, 0),
        Metric::told(OWN_WAIT, 1),
    ]
}

fn measure(
    bench: &Bench,
    server: &Running,
    load: &Load,
    pulled: &Pulled,
    round: u32,
) -> Result<Sample> {
    let window = || load.run(WARMUP, bench.window(round), &|| server.cpu());
    let alone = bench.on_load_side(window)?;
    let pullers = Load {
        addr: server.addr,
        paths: pulled.paths.clone(),
        body: pulled.size,
        connections: pulled.paths.len(),
        discard: BITE,
        tls: None,
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
        Ok(sample(
            &alone,
            &beside?,
            pulled_bytes,
            pulled_s.as_secs_f64(),
        ))
    })
}

fn sample(alone: &Window, beside: &Window, pulled_bytes: u64, pulled_s: f64) -> Sample {
    let requests = beside.requests.max(1) as f64;
    Sample::of([
        (RATIO, beside.p99_us / alone.p99_us),
        (ALONE, alone.p99_us),
        (BESIDE, beside.p99_us),
        (WORST, beside.max_us / 1e3),
        (REQUESTS_ALONE, alone.requests as f64 / alone.seconds),
        (REQUESTS_BESIDE, beside.requests as f64 / beside.seconds),
        (PULLED, pulled_bytes as f64 / 1e6 / pulled_s),
        (OWN_WAIT, beside.load_wait_s * 1e6 / requests),
        ("pulled bytes", pulled_bytes as f64),
        ("pulled s", pulled_s),
        ("server CPU s beside", beside.server_cpu_s),
    ])
}
