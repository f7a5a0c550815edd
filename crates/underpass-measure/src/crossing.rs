//! Whether a way costs less CPU than copying, and the size from which on it does. The headline and
//! the crossing points are both decided here, so that they cannot contradict each other.

use crate::Way;
use crate::report::{Report, Summary};

/// How the CPU time of a way compares with that of `read-write`, at one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Difference {
    /// It was less in every round.
    Less,
    /// It was less in some rounds and more in others, which may be noise.
    Unclear,
    /// It was more in every round.
    More,
}

impl Difference {
    /// The difference that these ratios within each round show.
    pub(crate) fn of(ratio: &Summary) -> Self {
        if ratio.max < 1.0 {
            Self::Less
        } else if ratio.min > 1.0 {
            Self::More
        } else {
            Self::Unclear
        }
    }
}

/// From which size on a way costs less CPU than `read-write`, in every round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Crossing {
    /// Nothing was timed that could tell.
    Untimed,
    /// The way does not clearly cost less at the largest size.
    Never,
    /// The way costs less at every size.
    Always,
    /// The way costs less at every size from `from` on.
    Between {
        /// The largest size at which the way does not clearly cost less.
        copying: u64,
        /// The smallest size from which on the way costs less at every size.
        from: u64,
        /// The way's CPU time at `from`, as a multiple of that of copying.
        ratio: Summary,
    },
}

/// The size from which on `way` costs less than `read-write` on `interface`.
pub(crate) fn of(report: &Report, way: Way, interface: &str) -> Crossing {
    let mut ratios: Vec<(u64, Summary)> = report
        .by_size
        .iter()
        .filter(|row| row.way == way.name() && row.interface == interface)
        .filter_map(|row| Some((row.bytes, row.to_read_write?.cpu)))
        .collect();
    ratios.sort_by_key(|&(bytes, _)| bytes);

    let is_less = |ratio: &Summary| Difference::of(ratio) == Difference::Less;
    let not_less = ratios.iter().rposition(|(_, ratio)| !is_less(ratio));
    match not_less {
        _ if ratios.is_empty() => Crossing::Untimed,
        None => Crossing::Always,
        Some(last) if last + 1 == ratios.len() => Crossing::Never,
        Some(last) => Crossing::Between {
            copying: ratios[last].0,
            from: ratios[last + 1].0,
            ratio: ratios[last + 1].1,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::Language;
    use crate::report::Ratios;

    #[test]
    fn the_crossing_is_where_it_stays_cheaper() {
        let between = |copying, from, median| Crossing::Between {
            copying,
            from,
            ratio: flat(median),
        };
        let cases: [(&[(u64, f64)], Crossing); 7] = [
            (&[], Crossing::Untimed),
            (&[(4, 0.9), (8, 0.8)], Crossing::Always),
            (&[(4, 1.2), (8, 1.0)], Crossing::Never),
            (&[(4, 1.2), (8, 0.9), (16, 0.7)], between(4, 8, 0.9)),
            // Cheaper at one size by chance does not count.
            (&[(4, 0.9), (8, 1.1), (16, 0.7)], between(8, 16, 0.7)),
            (&[(4, 0.8), (8, 1.1)], Crossing::Never),
            // Equal cost does not count as cheaper, and the order of the rows does not matter.
            (&[(16, 0.5), (4, 1.0), (8, 0.6)], between(4, 8, 0.6)),
        ];
        for (ratios, crossing) in cases {
            assert_eq!(
                of(&report(ratios), Way::Sendfile, "lo"),
                crossing,
                "{ratios:?}"
            );
        }
    }

    #[test]
    fn a_range_that_includes_1_is_unclear() {
        let cases = [
            ([0.55, 0.58, 0.62], Difference::Less),
            ([0.8, 0.9, 1.01], Difference::Unclear),
            ([0.8, 0.9, 1.0], Difference::Unclear),
            ([1.0, 1.0, 1.0], Difference::Unclear),
            ([0.99, 1.2, 1.3], Difference::Unclear),
            ([1.0, 1.2, 1.3], Difference::Unclear),
            ([1.1, 1.2, 1.3], Difference::More),
        ];
        for (ratio, difference) in cases {
            assert_eq!(Difference::of(&summary(ratio)), difference, "{ratio:?}");
        }
    }

    /// For each size, whether sendfile costs less: surely, perhaps, or surely not. The report is
    /// about the size of 16 MiB, the middle one.
    #[test]
    fn the_headline_and_the_crossing_never_contradict_each_other() {
        const MIB: u64 = 1 << 20;
        let kinds = [[0.5, 0.6, 0.7], [0.8, 0.95, 1.1], [1.2, 1.3, 1.4]];
        for kind in 0..27 {
            let at_size = |place: usize| kinds[kind / 3_usize.pow(place as u32) % 3];
            let sizes = [MIB, 16 * MIB, 64 * MIB];
            let mut report = report(&sizes.map(|bytes| (bytes, 1.0)));
            for (at, row) in report.by_size.iter_mut().enumerate() {
                row.to_read_write.as_mut().unwrap().cpu = summary(at_size(at));
                row.cpu_s_per_gb = Some(flat(1.0));
                row.interface = "loopback".into();
            }
            let classic = report.by_size.clone();
            report.by_size.extend(classic.into_iter().map(|mut row| {
                (row.way, row.to_read_write) = ("read-write".into(), None);
                row
            }));
            let saves = crate::page::sentence(&report, Language::English).contains("saves");
            let from = match of(&report, Way::Sendfile, "loopback") {
                Crossing::Always => 0,
                Crossing::Between { from, .. } => from,
                Crossing::Never | Crossing::Untimed => u64::MAX,
            };
            assert_eq!(saves, kind / 3 % 3 == 0, "{kind}");
            assert!(saves || from > 16 * MIB, "{kind}: from {from}");
        }
    }

    #[test]
    fn other_ways_and_interfaces_do_not_count() {
        let report = report(&[(4, 0.5)]);
        assert_eq!(of(&report, Way::Splice, "lo"), Crossing::Untimed);
        assert_eq!(of(&report, Way::Sendfile, "veth"), Crossing::Untimed);
    }

    fn report(ratios: &[(u64, f64)]) -> Report {
        let mut report = crate::page::fixture();
        let row = report.by_size[0].clone();
        report.by_size.clear();
        for &(bytes, cpu) in ratios {
            let mut row = row.clone();
            (row.way, row.interface, row.bytes) = ("sendfile".into(), "lo".into(), bytes);
            row.to_read_write = Some(Ratios {
                throughput: flat(1.0),
                cpu: flat(cpu),
            });
            report.by_size.push(row);
        }
        report
    }

    fn flat(median: f64) -> Summary {
        summary([median; 3])
    }

    fn summary([min, median, max]: [f64; 3]) -> Summary {
        Summary { median, min, max }
    }
}
