//! What a reader must know to judge the numbers.

use crate::report::{Evidence, Report, Row};
use crate::way::Way;

/// If the rounds differ by more than this fraction of the median, single figures mean little.
const NOISY: f64 = 0.3;

pub(crate) fn add(report: &mut Report) {
    let mut found = Vec::new();
    found.extend(noise(report));
    found.extend(processors(report));
    found.extend(no_disk(report));
    found.extend(uncounted(report));
    report.warnings.extend(found);
}

/// The spread of the classic loop between its rounds, at the size where it is smallest. It is the
/// measure of noise.
fn noise(report: &Report) -> Option<String> {
    let spread = |row: &Row| row.cpu_s_per_gb.map(|summary| summary.spread());
    let yardstick = report
        .by_size
        .iter()
        .filter(|row| row.way == Way::ReadWrite.name());
    let mut spreads: Vec<_> = yardstick.filter_map(spread).collect();
    spreads.sort_by(f64::total_cmp);
    let middle = *spreads.get(spreads.len() / 2)?;
    (middle > NOISY).then(|| {
        format!(
            "this machine is noisy: the CPU time of read-write varied by {:.0} % between rounds; believe ratios before \
             figures, and repeat before either",
            middle * 100.0
        )
    })
}

fn processors(report: &Report) -> Option<String> {
    (report.machine.processors < 2).then(|| {
        "sender and receiver shared one processor: throughput is of both together".to_owned()
    })
}

fn no_disk(report: &Report) -> Option<String> {
    let file_system = &report.machine.file_system;
    ["tmpfs", "ramfs"].contains(&file_system.as_str()).then(|| {
        format!("the file lay on {file_system}, which has no disk: the DMA from one is of other file systems (--dir)")
    })
}

fn uncounted(report: &Report) -> Option<String> {
    let unknown = |row: &&Row| row.copies.by_cpu.evidence == Evidence::Unknown;
    let row = report.per_unit.iter().find(unknown)?;
    let hop = row
        .copies
        .hops
        .iter()
        .find(|hop| hop.copies.evidence == Evidence::Unknown)?;
    Some(format!(
        "copies of {} over {} are not known: {}: {}",
        row.way, row.interface, hop.kind, hop.copies.why
    ))
}
