//! Turns samples of streams into rows.

use super::{By, Run};
use crate::probe::Work;
use crate::report::{Count, HopKind, Sample, StreamRow, Summary};
use crate::rows;
use crate::sample::Outcome;
use crate::way::CALL;

/// The hops at which the thread that passes a stream on could copy.
const HOPS: [HopKind; 3] = [
    HopKind::SocketToUser,
    HopKind::UserToSocket,
    HopKind::KernelToSocket,
];

/// A row with counts, and without times yet.
pub(crate) fn counted(run: &Run<'_>, outcome: &Outcome) -> StreamRow {
    let units = run.delivered() as f64 / CALL as f64;
    let syscalls = match outcome.counted.syscalls {
        Some(calls) => Count::measured(calls as f64 / units, "tracepoint raw_syscalls:sys_enter"),
        None => Count::measured(
            outcome.reported.calls as f64 / units,
            "counted by the program as it made them",
        ),
    };
    StreamRow {
        stream: run.case.stream.name().to_owned(),
        way: run.case.by.name().to_owned(),
        consumers: run.case.consumers,
        bytes: run.bytes,
        syscalls,
        cpu_copies: copies(run, outcome),
        samples: Vec::new(),
        gb_per_s: None,
        cpu_s_per_gb: None,
        to_read_write: None,
    }
}

/// Copies per byte of the stream: counted if every hop was counted, otherwise expected.
fn copies(run: &Run<'_>, outcome: &Outcome) -> Count {
    let (mut bytes, mut at) = (0, Vec::new());
    for hop in HOPS {
        let Some(copied) = outcome.counted.sum(Work::Copy(hop)) else {
            return expected(run);
        };
        let Some(more) = copied.bytes else {
            return Count::unknown(format!("kprobes: {}", copied.at));
        };
        bytes += more;
        at.push(copied.at.as_str());
    }
    let copies = bytes as f64 / run.bytes as f64;
    Count::measured(copies, format!("kprobes: {}", at.join("; ")))
}

fn expected(run: &Run<'_>) -> Count {
    let why = match run.case.by {
        By::ReadWrite => "read(2) copies once, and write(2) once for each consumer",
        By::Splice => "splice(2) and tee(2) pass references to pages on",
    };
    Count::expected(f64::from(run.case.expected_copies()), why)
}

/// Fills in the figures that are calculated from the samples of `row`, and of `base`, the row of
/// `read-write` beside it.
pub(crate) fn summarise(row: &mut StreamRow, base: &[Sample]) {
    let gigabytes = row.delivered_bytes() as f64 / 1e9;
    let rates = row.samples.iter().map(|sample| gigabytes / sample.wall_s);
    row.gb_per_s = Summary::of(&rates.collect::<Vec<_>>());
    let costs = row
        .samples
        .iter()
        .map(|sample| rows::cpu(sample) / gigabytes);
    row.cpu_s_per_gb = Summary::of(&costs.collect::<Vec<_>>());
    row.to_read_write = rows::ratios(&row.samples, base);
}
