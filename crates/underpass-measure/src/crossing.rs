//! The crossing point of a way: the size from which on it costs less CPU than copying.

use crate::Way;
use crate::report::{Report, Summary};

/// From which size on a way costs less CPU than `read-write`, by the medians of the ratios within
/// each round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Crossing {
    /// Nothing was timed that could tell.
    Untimed,
    /// The way costs no less at the largest size.
    Never,
    /// The way costs less at every size.
    Always,
    /// The way costs less at every size from `from` on.
    Between {
        /// The largest size at which copying costs no more.
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

    let dearer = ratios.iter().rposition(|(_, ratio)| ratio.median >= 1.0);
    match dearer {
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
        Summary {
            median,
            min: median,
            max: median,
        }
    }
}
