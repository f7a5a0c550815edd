//! A comparison that others have published, with ours beside it: how many times as long reading and
//! writing takes.

use super::{TIME, case};
use crate::bench::Bench;
use crate::contender::Contender;
use crate::error::Result;
use crate::record::{Case, Metric, Rounds, Row, Side};
use crate::scenario::{Pair, Published};
use crate::size;

/// A case for each size, and one with the ratios beside the published ones.
pub(super) fn compare(
    bench: &Bench,
    contenders: &[Contender],
    published: &Published,
) -> Result<Vec<Case>> {
    let named = |name: &str| {
        let mut pairs = published.pairs.iter();
        pairs.any(|pair| [&pair.read_write, &pair.zero_copy].contains(&&name.to_owned()))
    };
    let paired = contenders.iter().filter(|who| named(who.name())).cloned();
    let paired: Vec<_> = paired.collect();
    let mut cases = Vec::new();
    for size in &published.sizes {
        cases.push(case(bench, &paired, size.0, " of the comparison")?);
    }
    let beside = beside(&cases, published);
    cases.push(beside);
    Ok(cases)
}

fn beside(cases: &[Case], published: &Published) -> Case {
    let names: Vec<_> = published
        .sizes
        .iter()
        .map(|size| size::exact(size.0))
        .collect();
    let given = names
        .iter()
        .map(String::as_str)
        .zip(published.ratios.iter());
    let mut theirs = Rounds::default();
    theirs.record(1, Ok(given.map(|(name, ratio)| (name, *ratio)).collect()));
    let mut rows = vec![row(&published.name, Side::Published, theirs)];
    for pair in &published.pairs {
        rows.push(row(&pair.name, Side::Rival, ratios(cases, &names, pair)));
    }
    if let Some(last) = rows.last_mut() {
        last.side = Side::Ours;
    }
    Case {
        name: "read-write time ÷ zero-copy time, by size".to_owned(),
        metrics: names.iter().map(|name| Metric::told(name, 2)).collect(),
        rows,
        remarks: vec![format!("Published: {}.", published.source)],
    }
}

/// The ratios within each round, for all sizes; empty if one of the two is void or absent.
fn ratios(cases: &[Case], names: &[String], pair: &Pair) -> Rounds {
    let of_case = |case: &Case| {
        let times = |name: &str| {
            let row = case.row(name).filter(|row| row.missing().is_none());
            row.map_or(Vec::new(), |row| row.rounds.values(TIME))
        };
        let (slow, fast) = (times(&pair.read_write), times(&pair.zero_copy));
        let ratios = slow.iter().zip(&fast).map(|(slow, fast)| slow / fast);
        ratios.collect::<Vec<_>>()
    };
    let by_size: Vec<_> = cases.iter().map(of_case).collect();
    let rounds = by_size.iter().map(Vec::len).min().unwrap_or(0);
    let mut told = Rounds::default();
    for round in 0..rounds {
        let values = names.iter().map(String::as_str);
        let values = values.zip(by_size.iter().map(|ratios| ratios[round]));
        told.record(round as u32 + 1, Ok(values.collect()));
    }
    told
}

fn row(name: &str, side: Side, rounds: Rounds) -> Row {
    Row {
        name: name.to_owned(),
        side,
        absent: None,
        rounds,
    }
}
