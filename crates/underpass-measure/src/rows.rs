//! Turns samples into rows.

use crate::crypto;
use crate::hops;
use crate::report::{Count, Evidence, Ratios, Row, Sample, Summary};
use crate::sample::{Outcome, SampleSpec};

/// A row of counts. They are divided by `files`, the number of files that were sent.
pub(crate) fn counted(spec: &SampleSpec<'_>, outcome: &Outcome, bytes: u64, files: u64) -> Row {
    let each = |count: u64| count as f64 / files as f64;
    let counted = &outcome.counted;
    let syscalls = match counted.syscalls {
        Some(calls) => Count::measured(each(calls), "tracepoint raw_syscalls:sys_enter"),
        None => Count::measured(
            each(outcome.reported.calls),
            "counted by the program as it made them",
        ),
    };
    let faults = counted.user_faults.unwrap_or(0);
    let switches = syscalls.value.map(|calls| 2.0 * (calls + each(faults)));
    let (known, why) = match counted.user_faults {
        Some(_) => (
            syscalls.evidence,
            "two a system call and two a page fault in user mode",
        ),
        // A mapping needs hardly any calls, but many page faults.
        None => (
            Evidence::Expected,
            "two a system call; page faults in user mode were not counted",
        ),
    };
    Row {
        way: spec.way.to_string(),
        interface: spec.network.link.name().to_owned(),
        bytes,
        repeats: files,
        mode_switches: Count::new(switches, known, why),
        syscalls,
        copies: hops::copies(spec, outcome),
        crypto: crypto::passes(spec, outcome),
        sampled: None,
        samples: Vec::new(),
        gb_per_s: None,
        cpu_s_per_gb: None,
        to_read_write: None,
    }
}

pub(crate) fn sample(outcome: &Outcome) -> Sample {
    let usage = &outcome.counted.usage;
    Sample {
        wall_s: outcome.wall.as_secs_f64(),
        user_s: usage.user.as_secs_f64(),
        system_s: usage.system.as_secs_f64(),
        voluntary_switches: usage.voluntary,
        involuntary_switches: usage.involuntary,
    }
}

/// Fills in the figures that are calculated from the samples of `row`, and of `base`, the row of
/// `read-write` beside it.
pub(crate) fn summarise(row: &mut Row, base: Option<&[Sample]>) {
    let gigabytes = row.sample_bytes() as f64 / 1e9;
    let of = |value: fn(&Sample) -> f64| row.samples.iter().map(value).collect::<Vec<_>>();
    let rates: Vec<_> = of(|s| s.wall_s)
        .iter()
        .map(|wall| gigabytes / wall)
        .collect();
    let costs: Vec<_> = of(cpu).iter().map(|cpu| cpu / gigabytes).collect();
    row.gb_per_s = Summary::of(&rates);
    row.cpu_s_per_gb = Summary::of(&costs);
    row.to_read_write = base.and_then(|base| ratios(&row.samples, base));
}

pub(crate) fn cpu(sample: &Sample) -> f64 {
    sample.user_s + sample.system_s
}

/// The ratios within each round.
pub(crate) fn ratios(those: &[Sample], base: &[Sample]) -> Option<Ratios> {
    let pairs = || those.iter().zip(base);
    let throughput: Vec<_> = pairs().map(|(a, b)| b.wall_s / a.wall_s).collect();
    let cpu: Vec<_> = pairs()
        .filter(|(_, b)| cpu(b) > 0.0)
        .map(|(a, b)| cpu(a) / cpu(b))
        .collect();
    Some(Ratios {
        throughput: Summary::of(&throughput)?,
        cpu: Summary::of(&cpu)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(wall_s: f64, system_s: f64) -> Sample {
        Sample {
            wall_s,
            user_s: 0.0,
            system_s,
            voluntary_switches: 0,
            involuntary_switches: 0,
        }
    }

    #[test]
    fn ratios_are_taken_inside_a_round() {
        let base = [sample(1.0, 1.0), sample(4.0, 4.0), sample(2.0, 2.0)];
        let twice = base.map(|s| sample(s.wall_s / 2.0, s.system_s / 4.0));
        let ratios = ratios(&twice, &base).unwrap();
        assert_eq!((ratios.throughput.median, ratios.cpu.median), (2.0, 0.25));
        assert_eq!((ratios.throughput.min, ratios.cpu.max), (2.0, 0.25));
    }
}
