//! Throughput and CPU time of each way as bars, by interface and size.

use maud::{Markup, html};

use super::words::Text;
use super::{Page, switches, words};
use crate::Way;
use crate::number;
use crate::report::{Row, Summary};

/// The quantity that the bars of one group show.
struct Quantity {
    name: Text,
    of: fn(&Row) -> Option<Summary>,
    ratio: fn(&Row) -> Option<Summary>,
}

const QUANTITIES: [Quantity; 2] = [
    Quantity {
        name: words::THROUGHPUT,
        of: |row| row.gb_per_s,
        ratio: |row| Some(row.to_read_write?.throughput),
    },
    Quantity {
        name: words::CPU_TIME,
        of: |row| row.cpu_s_per_gb,
        ratio: |row| Some(row.to_read_write?.cpu),
    },
];

/// One group for each interface, quantity and size. Interfaces other than the headline's are
/// folded.
pub(super) fn section(page: &Page) -> Markup {
    html! {
        section {
            h2 { (page.say(words::TIMES)) }
            @if page.report.by_size.is_empty() {
                p.absent { (page.say(words::NO_TIMES)) }
            } @else {
                p { (page.say(words::TIMES_INTRO)) }
                @for interface in page.report.used_interfaces() { (over(page, interface)) }
                (switches::table(page))
            }
        }
    }
}

fn over(page: &Page, interface: &str) -> Markup {
    let rows: Vec<&Row> = page
        .report
        .by_size
        .iter()
        .filter(|row| row.interface == interface)
        .collect();
    let mut sizes: Vec<u64> = rows.iter().map(|row| row.bytes).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let bars = html! {
        @if rows.is_empty() {
            p.absent { (page.say(words::NO_ROWS_HERE)) }
        } @else {
            @for quantity in &QUANTITIES {
                h4 { (page.say(quantity.name)) }
                div.groups { @for &bytes in &sizes { (group(page, quantity, &rows, bytes)) } }
            }
        }
    };
    html! {
        @if page.headline.interface.is_none_or(|chief| chief == interface) {
            h3 { (page.interface(interface)) }
            (bars)
        } @else {
            details {
                summary { (page.interface(interface)) }
                (bars)
            }
        }
    }
}

fn group(page: &Page, quantity: &Quantity, rows: &[&Row], bytes: u64) -> Markup {
    let rows: Vec<_> = rows
        .iter()
        .filter(|row| row.bytes == bytes)
        .map(|row| (row, (quantity.of)(row)))
        .collect();
    let longest = rows
        .iter()
        .filter_map(|(_, summary)| Some(summary.as_ref()?.max))
        .fold(0.0, f64::max);
    html! {
        table.bars {
            caption { (number::size(bytes)) }
            tbody {
                @for (row, summary) in rows {
                    tr {
                        th scope="row" { (row.way) }
                        td {
                            @if let Some(summary) = summary {
                                (bar(row, &summary, longest))
                                span { (number::with_spread(&summary)) }
                                @if let Some(ratio) = (quantity.ratio)(row).filter(|_| row.way != Way::ReadWrite.name()) {
                                    " " span.ratio { "× " (number::with_spread(&ratio)) }
                                }
                            } @else {
                                (page.say(words::NOT_TIMED))
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A bar with its whisker. The numbers beside it say the same.
fn bar(row: &Row, summary: &Summary, longest: f64) -> Markup {
    let percent = |value: f64| {
        format!(
            "{:.2}%",
            if longest > 0.0 {
                value / longest * 100.0
            } else {
                0.0
            }
        )
    };
    let class = if row.way == Way::ReadWrite.name() {
        "classic"
    } else {
        "other"
    };
    let [median, min, max] = [summary.median, summary.min, summary.max].map(percent);
    html! {
        svg.bar aria-hidden="true" width="100%" height="16" {
            rect class=(class) x="0" y="1" width=(median) height="14" {}
            line.whisker x1=(min) y1="8" x2=(max) y2="8" {}
            line.whisker x1=(min) y1="4" x2=(min) y2="12" {}
            line.whisker x1=(max) y1="4" x2=(max) y2="12" {}
        }
    }
}
