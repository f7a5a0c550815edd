//! A hot file to many, each from its start.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::contenders::{self, SENDFILE, Start, UNDERPASS};
use super::running::{Running, What};
use super::{Bench, CPU_PER_GB, RATE, Sample, Section, pattern, stream};
use crate::error::{Context, Error, Result};
use crate::http::goal::{self, Goal, Wanted};
use crate::http::series::{self, Series};
use crate::pin::Pinning;
use crate::receipt::Receipt;
use crate::testfile;

const SUBSCRIBERS: &[u32] = &[1, 16];

const NOTE: &str = "As above, but × is to the bare sendfile loop. `underpass serve` is asked over HTTP; the others send when they are connected to.
";

pub(super) fn run(bench: &Bench<'_>) -> Result<Section> {
    let place = bench.options.dir.clone().unwrap_or_else(std::env::temp_dir);
    let contenders = contenders::of_file(bench.underpass.as_deref());
    let (mut tables, mut goals, mut void) = (Vec::new(), Vec::new(), Vec::new());
    let mut cases = Vec::new();
    for subscribers in bench.to(SUBSCRIBERS) {
        let size = bench.options.size / u64::from(subscribers);
        testfile::check_space(&place, size)?;
        let dir = testfile::work_dir(&place)?;
        let file = make(dir.path(), size)?;
        let name = format!("from a file, to {subscribers}");
        let rows = bench.interleave(&name, &contenders, |start, round| {
            measure(
                start,
                bench.pinning,
                &file,
                subscribers as usize,
                size,
                round == 0,
            )
        })?;
        tables.push(stream::table(&name, &rows, SENDFILE, SENDFILE));
        for (measure, what, wanted) in [
            (CPU_PER_GB, "CPU/GB", Wanted::AtMost(1.05)),
            (RATE, "GB/s", Wanted::AtLeast(0.95)),
        ] {
            let of_bare = series::ratio(&rows, UNDERPASS, SENDFILE, measure);
            let what = format!("{name}: {what} of underpass ÷ {SENDFILE}");
            goals.push(Goal::new(what, wanted, of_bare));
        }
        void.extend(series::void(&name, &rows));
        let all: Value = rows.iter().map(Series::to_json).collect();
        cases.push(json!({ "subscribers": subscribers, "who": all }));
    }
    Ok(Section {
        text: format!("{}\n{}{NOTE}", tables.join("\n"), goal::table(&goals)),
        json: json!({ "cases": cases, "goals": goal::to_json(&goals) }),
        void,
    })
}

/// A file of what streams are made of, on the disk and in the page cache.
fn make(dir: &Path, size: u64) -> Result<PathBuf> {
    let path = dir.join("hot");
    let write = || {
        let mut file = File::create(&path)?;
        let mut place = 0;
        while place < size {
            let piece = pattern::at(place);
            let most = usize::try_from(size - place).unwrap_or(usize::MAX);
            let piece = &piece[..piece.len().min(most)];
            file.write_all(piece)?;
            place += piece.len() as u64;
        }
        file.sync_all()
    };
    write().context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// Hands the file, of `size` bytes, out to each of `subscribers` once.
pub(crate) fn measure(
    start: &Start,
    pinning: Pinning,
    file: &Path,
    subscribers: usize,
    size: u64,
    compare: bool,
) -> Result<Sample> {
    let (mut running, _, mut readers) = Running::start(start, What::File(file), subscribers)?;
    let read = std::thread::scope(|scope| {
        let reading = scope.spawn(move || {
            pinning.pin_sink()?;
            if start.http {
                readers.request("hot")?;
            }
            readers.read(size, compare)
        });
        let died = |_| Error::new("the subscribers' thread died");
        reading.join().map_err(died)?
    });
    let seconds = running.before.1.elapsed().as_secs_f64();
    let ends = running.explain(read)?;
    let finished = running.finish()?;
    if let Some(route) = start.route {
        check(&finished.stdout, subscribers, size, route)?;
    }
    Ok(Sample {
        bytes: size * subscribers as u64,
        seconds,
        cpu_s: finished.cpu_s,
        ends_cpu_s: ends.as_secs_f64(),
        copied: None,
    })
}

/// Errors unless there is a receipt for every subscriber, of all bytes by this route.
fn check(stdout: &str, subscribers: usize, size: u64, route: &str) -> Result<()> {
    let receipts: Vec<_> = stdout.lines().collect();
    if receipts.len() != subscribers {
        let told = receipts.len();
        return Err(Error::new(format!(
            "{told} of {subscribers} subscribers have a receipt"
        )));
    }
    receipts
        .iter()
        .try_for_each(|line| Receipt::parse(line)?.check(size, Some(route)))
}
