//! Bars of one metric in one case, the best on top. They are drawn as SVG, between a name and a
//! number that stay text, so that they can be read at any width.

use std::fmt::Write;

use super::summary::spread;
use crate::record::{Better, Case, Metric, Row, Side};
use crate::stats::Summary;

/// Length of a full bar in the units of its SVG, which is stretched.
const WHOLE: f64 = 1000.0;

/// The bars; nothing if no row has the metric.
pub(super) fn of(case: &Case, metric: &Metric) -> String {
    let told = |row| Some((row, Row::summary(row, metric)?));
    let mut rows: Vec<(&Row, Summary)> = case.rows.iter().filter_map(told).collect();
    rows.sort_by(|(_, a), (_, b)| match metric.better {
        Better::Less => a.median.total_cmp(&b.median),
        _ => b.median.total_cmp(&a.median),
    });
    let longest = rows.iter().map(|(_, all)| all.max).fold(0.0, f64::max);
    if rows.is_empty() || longest <= 0.0 {
        return String::new();
    }
    let better = match metric.better {
        Better::Less => "less is better",
        _ => "more is better",
    };
    let mut html = format!(
        "<figure><figcaption>{} <small>{better}</small></figcaption><div class=\"bars\">\n",
        escape(&metric.name)
    );
    for (row, all) in &rows {
        let _ = writeln!(html, "{}", bar(row, metric, all, longest));
    }
    html + "</div></figure>\n"
}

fn bar(row: &Row, metric: &Metric, all: &Summary, longest: f64) -> String {
    let at = |value: f64| value / longest * WHOLE;
    let (end, low, high) = (at(all.median), at(all.min), at(all.max));
    let (side, name) = (class(row.side), escape(&row.name));
    let (median, spread) = (metric.write(all.median), spread(metric, all));
    format!(
        "<span class=\"{side}\">{name}</span><svg class=\"{side}\" viewBox=\"0 0 {WHOLE} 16\" preserveAspectRatio=\"none\" \
         role=\"img\" aria-label=\"{name}: {median}, {spread}\"><rect width=\"{end:.1}\" height=\"16\"/>\
         <path d=\"M{low:.1} 8H{high:.1}M{low:.1} 4V12M{high:.1} 4V12\"/></svg>\
         <span class=\"number\">{median} <small>{spread}</small></span>"
    )
}

pub(super) fn class(side: Side) -> &'static str {
    match side {
        Side::Ours => "ours",
        Side::Variant => "variant",
        Side::Rival => "rival",
        Side::Floor => "floor",
        Side::Published => "published",
    }
}

/// Escapes text for HTML, between tags and in attributes.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
