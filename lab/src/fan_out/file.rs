//! A file in the page cache to many subscribers, each from its start.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::readers::Readers;
use super::running::{Running, What};
use super::{Delivered, metrics, pattern, size_for_each, told};
use crate::bench::{Bench, remove};
use crate::contender::Contender;
use crate::error::{Context, Error, Result};
use crate::receipt::Receipt;
use crate::record::{Case, Sample};
use crate::testfile;

pub(crate) fn run(bench: &Bench) -> Result<Vec<Case>> {
    let contenders = bench.contenders()?;
    let mut cases = Vec::new();
    for &subscribers in &bench.scenario.connections {
        let size = size_for_each(bench, subscribers);
        testfile::check_space(bench.root, size)?;
        let file = make(bench.root, size)?;
        let name = format!("from a file, to {subscribers}");
        let case = bench.case(&name, metrics(), &contenders, |who, round| {
            let what = What::File(&file);
            let (running, _, readers) = Running::start(bench, who, what, subscribers)?;
            measure(bench, running, readers, who, size, round == 0)
        })?;
        remove(&file)?;
        cases.push(told(case));
    }
    Ok(cases)
}

/// Sends the file, of `size` bytes, once to each subscriber.
fn measure(
    bench: &Bench,
    mut running: Running,
    mut readers: Readers,
    who: &Contender,
    size: u64,
    compare: bool,
) -> Result<Sample> {
    let subscribers = readers.count();
    let read = bench.on_load_side(|| {
        if who.row.http {
            readers.request("hot")?;
        }
        readers.read(size, compare)
    });
    let seconds = running.before.1.elapsed().as_secs_f64();
    let ends = running.explain(read)?;
    let finished = running.finish()?;
    let delivered = Delivered {
        bytes: size * subscribers as u64,
        seconds,
        cpu_s: finished.cpu_s,
        ends_cpu_s: ends.as_secs_f64(),
    };
    let mut sample = delivered.sample();
    if let Some(route) = &who.row.route {
        check(&finished.stdout, subscribers, size, route)?;
        sample = sample.with_routes([(route.clone(), delivered.bytes)].into());
    }
    Ok(sample)
}

/// Makes a file of the streams' pattern, on the disk and in the page cache.
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

/// Fails unless there is a receipt for every subscriber, with all bytes by this route.
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
