//! Copies one file to a new one on the same file system, with every contender in turn.

mod places;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

use self::places::Place;
use crate::bench::{Bench, stop_if_interrupted};
use crate::contender::{Contender, Places};
use crate::error::{Context, Error, Result};
use crate::receipt::Receipt;
use crate::record::{Case, Metric, Row, Sample, noise};
use crate::run::{Finished, run};
use crate::{program, testfile};

const TIME: &str = "s";
const CPU: &str = "CPU s";

/// Runs on the bench's file system, and for root also on images of btrfs and XFS.
pub(crate) fn run_all(bench: &Bench) -> Result<Vec<Case>> {
    let contenders = bench.contenders()?;
    for binary in bench.underpass.into_iter().chain(bench.before) {
        program::as_installed(binary)?;
    }
    let size = bench.scenario.sizes.first().map_or(1 << 30, |size| size.0);
    let plain = Place::plain(bench.root, size)?;
    let mut cases = vec![on(bench, &contenders, &plain, size)?];
    drop(plain);
    for (kind, mkfs_args) in places::LOOPS {
        // Images are made and removed one after the other, so that only one needs room at a time.
        let place = Place::on_loop(bench.root, kind, mkfs_args, size);
        stop_if_interrupted()?;
        cases.push(match place {
            Ok(place) => on(bench, &contenders, &place, size)?,
            Err(why) => absent(&format!("{kind} on loop"), &contenders, &why),
        });
    }
    Ok(cases)
}

fn on(bench: &Bench, contenders: &[Contender], place: &Place, size: u64) -> Result<Case> {
    let from = testfile::make(&place.path, "source", size)?;
    let mut case = bench.case(&place.name, metrics(), contenders, |who, round| {
        let to = place.path.join("copy");
        let places = Places::default()
            .with("FROM", &from.display())
            .with("TO", &to.display());
        let invocation = bench.invocation(who, places)?;
        settle(place, &to)?;
        let finished = run(&invocation)?;
        check(&from, &to, round == 0)?;
        let sample = sample(who, place, &finished, size);
        settle(place, &to)?;
        sample
    })?;
    case.remarks.extend(noise(&case.rows, TIME));
    Ok(case)
}

fn absent(name: &str, contenders: &[Contender], why: &Error) -> Case {
    let mut rows: Vec<_> = contenders.iter().map(Row::of).collect();
    for row in &mut rows {
        row.absent = Some(why.to_string());
    }
    Case {
        name: name.to_owned(),
        metrics: metrics(),
        rows,
        remarks: Vec::new(),
    }
}

fn metrics() -> Vec<Metric> {
    vec![Metric::less(TIME, 4), Metric::less(CPU, 4)]
}

fn check(from: &Path, to: &Path, compare: bool) -> Result<()> {
    let length = |path: &Path| {
        let data = fs::metadata(path);
        data.map(|data| data.len())
            .context(|| format!("cannot look at {}", path.display()))
    };
    let (bytes, copied) = (length(from)?, length(to)?);
    if copied != bytes || (compare && !testfile::same_content(from, to)?) {
        return Err(Error::new(format!(
            "the copy differs: {copied} bytes of {bytes}"
        )));
    }
    Ok(())
}

/// Removes the copy and writes everything back, so that no contender pays for another's write-back.
fn settle(place: &Place, copy: &Path) -> Result<()> {
    match fs::remove_file(copy) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).context(|| format!("cannot remove {}", copy.display()));
        }
        _ => {}
    }
    let dir =
        File::open(&place.path).context(|| format!("cannot open {}", place.path.display()))?;
    rustix::fs::syncfs(&dir).context(|| format!("cannot sync {}", place.path.display()))
}

fn sample(who: &Contender, place: &Place, finished: &Finished, bytes: u64) -> Result<Sample> {
    let usage = finished.usage;
    let sample = Sample::of([
        (TIME, finished.wall.as_secs_f64()),
        (CPU, usage.user_s + usage.system_s),
        ("user s", usage.user_s),
        ("system s", usage.system_s),
        ("bytes", bytes as f64),
    ]);
    if !who.row.receipt {
        return Ok(sample);
    }
    let receipt = Receipt::parse(&finished.stdout)?;
    receipt.check(bytes, place.shares_extents.then_some("reflink"))?;
    let route = receipt.route.unwrap_or_default();
    Ok(sample.with_routes(BTreeMap::from([(route, receipt.bytes)])))
}
