//! For each timed row: how the CPU time divides between user and kernel mode, and how often the
//! sender was switched away.

use maud::{Markup, html};

use super::{Page, tables, words};
use crate::number;
use crate::report::{Row, Sample, Summary};

/// The table is closed until the reader opens it. It is long, and the bars and crossing points
/// already show the main result.
pub(super) fn table(page: &Page) -> Markup {
    let timed: Vec<&Row> = page
        .report
        .by_size
        .iter()
        .filter(|row| !row.samples.is_empty())
        .collect();
    let head = [
        words::WAY,
        words::INTERFACE,
        words::SIZE,
        words::KERNEL_SHARE,
        words::WAITED,
        words::PREEMPTED,
    ];
    html! {
        @if !timed.is_empty() {
            details {
                summary { (page.say(words::SWITCHES)) }
                p { (page.say(words::SWITCHES_INTRO)) }
                (tables::scrolled(page, words::SWITCHES, &head, &html! {
                    @for row in timed { (table_row(page, row)) }
                }))
            }
        }
    }
}

fn table_row(page: &Page, row: &Row) -> Markup {
    let per_gb = |count: u64| count as f64 / (row.sample_bytes() as f64 / 1e9);
    html! {
        tr {
            th scope="row" { (row.way) }
            td { (page.interface(&row.interface)) }
            td { (number::size(row.bytes)) }
            td { (middle(row, kernel_share, number::percent)) }
            td { (middle(row, |sample| Some(per_gb(sample.voluntary_switches)), number::three_digits)) }
            td { (middle(row, |sample| Some(per_gb(sample.involuntary_switches)), number::three_digits)) }
        }
    }
}

/// The kernel's share of the CPU time. `None` if the clock was too coarse to see any CPU time.
fn kernel_share(sample: &Sample) -> Option<f64> {
    let all = sample.user_s + sample.system_s;
    (all > 0.0).then(|| sample.system_s / all)
}

fn middle(row: &Row, of: impl Fn(&Sample) -> Option<f64>, print: fn(f64) -> String) -> String {
    let values: Vec<f64> = row.samples.iter().filter_map(of).collect();
    Summary::of(&values).map_or_else(|| "?".into(), |summary| print(summary.median))
}
