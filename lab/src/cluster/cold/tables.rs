//! What was measured, as tables.

use std::fmt::Write;
use std::time::Duration;

use super::{CLIENTS, Get, LARGE, Measured, SHARED};
use crate::stats::Summary;
use crate::table::Table;

pub(super) fn of(all: &[Measured]) -> String {
    first_bytes(all) + &one_client(all) + &many_clients(all)
}

fn first_bytes(all: &[Measured]) -> String {
    let mut table = Table::new(&[
        "1 GiB, cold",
        "first byte ms",
        "4 MiB of the store ms",
        "ratio",
        "its interval",
    ]);
    for one in all {
        let byte = one.firsts.iter().map(|first| first.byte.as_secs_f64());
        let block = one.firsts.iter().map(|first| first.block.as_secs_f64());
        let [ratio, interval] = ratio(byte.clone(), block.clone());
        table.row([
            one.way.name().to_owned(),
            format!("{:.1}", median(byte) * 1e3),
            format!("{:.1}", median(block) * 1e3),
            ratio,
            interval,
        ]);
    }
    format!("{table}\n")
}

fn one_client(all: &[Measured]) -> String {
    let mut table = Table::new(&[
        "1 GiB, cold",
        "GB/s",
        "÷ the store",
        "its interval",
        "CPU s, node",
        "CPU s, store",
        "GETs",
        "fetched ÷ size",
    ]);
    let seconds = |of: fn(&Get) -> Duration| move |get: &Get| of(get).as_secs_f64();
    let whole = seconds(|get| get.whole);
    let plain = all[0].gets.iter().map(whole);
    for one in all {
        let times = one.gets.iter().map(whole);
        let [ratio, interval] = ratio(plain.clone(), times.clone());
        table.row([
            one.way.name().to_owned(),
            format!("{:.3}", LARGE as f64 / 1e9 / median(times)),
            ratio,
            interval,
            format!(
                "{:.2}",
                median(one.gets.iter().map(seconds(|get| get.node_cpu)))
            ),
            format!(
                "{:.2}",
                median(one.gets.iter().map(seconds(|get| get.store_cpu)))
            ),
            one.large.count.to_string(),
            format!("{:.3}", one.large.bodies as f64 / LARGE as f64),
        ]);
    }
    format!("{table}\n")
}

fn median(samples: impl Iterator<Item = f64>) -> f64 {
    let samples: Vec<_> = samples.collect();
    Summary::of(&samples).map_or(0.0, |it| it.median)
}

/// The median of the ratios of pairs, and its interval.
fn ratio(above: impl Iterator<Item = f64>, below: impl Iterator<Item = f64>) -> [String; 2] {
    let ratios: Vec<_> = above
        .zip(below)
        .map(|(above, below)| above / below)
        .collect();
    Summary::of(&ratios).map_or_else(Default::default, |it| {
        let (low, high) = it.interval.unwrap_or((it.min, it.max));
        [format!("{:.2}", it.median), format!("{low:.2}-{high:.2}")]
    })
}

fn many_clients(all: &[Measured]) -> String {
    let mut text = String::new();
    for one in all {
        let Some(fetched) = &one.shared else { continue };
        let twice = match fetched.bodies.checked_sub(SHARED as u64) {
            Some(0) => "no byte twice".to_owned(),
            Some(more) => format!("{:.1} MB too many", more as f64 / 1e6),
            None => "which is not all of it".to_owned(),
        };
        let _ = writeln!(
            text,
            "\n{}: {CLIENTS} clients at once for {} MiB: {} GETs, {:.1} MB of bodies, {twice}",
            one.way.name(),
            SHARED >> 20,
            fetched.count,
            fetched.bodies as f64 / 1e6
        );
    }
    text
}
