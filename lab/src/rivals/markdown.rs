//! `summary.md`.

use std::fmt::Write;

use super::summary::{Grid, NOTES, Told, goals, grid, took};
use crate::record::{Record, judge};

/// The summary of everything in a folder.
pub(super) fn summary(told: &Told<'_>) -> String {
    let records = told.records;
    let mut text = String::from("# underpass and its rivals, side by side\n\n");
    for warning in warnings(told) {
        let _ = writeln!(text, "> **{warning}**\n");
    }
    let _ = writeln!(text, "```\n{}\n```\n", head_of(told.machine));
    text += "[machine.txt](machine.txt) and [versions.txt](versions.txt) say where this ran and what; NAME.commands.txt how\n\
        each was started, NAME.json every raw sample. Numbers are medians over rounds; \"ours ÷\" is the median over rounds of\n\
        underpass's number over the row's in the same round.\n\n## Goals\n\n";
    if told.notes {
        let _ = writeln!(text, "[{NOTES}]({NOTES}) says why some were not met.\n");
    }
    for record in records {
        let judged = judge(record);
        if !judged.is_empty() {
            let _ = writeln!(
                text,
                "{}:\n\n{}",
                record.scenario.name,
                table(&goals(&judged))
            );
        }
    }
    text.extend(records.iter().map(section));
    text
}

/// What a reader must know before any number.
pub(super) fn warnings(told: &Told<'_>) -> Vec<String> {
    let records = told.records;
    let mut warnings = Vec::new();
    if !told.missing.is_empty() {
        let missing = told.missing.join(", ");
        warnings.push(format!("INCOMPLETE: not measured: {missing}"));
    }
    let quick = records.iter().filter(|record| record.quick);
    let quick: Vec<_> = quick.map(|record| record.scenario.name.as_str()).collect();
    if !quick.is_empty() {
        warnings.push(format!(
            "A SMOKE RUN, not to be quoted: one short round of small sizes of {}",
            quick.join(", ")
        ));
    }
    for record in records.iter().filter(|record| record.scenario.left_out > 0) {
        let (name, count) = (&record.scenario.name, record.scenario.left_out);
        warnings.push(format!("{name}: {count} contenders were left out"));
    }
    let void: Vec<_> = records.iter().flat_map(Record::void).collect();
    if !void.is_empty() {
        warnings.push(format!("VOID rows: {}", void.join("; ")));
    }
    warnings
}

/// Date, kernel and processor; the rest is in `machine.txt`.
pub(super) fn head_of(machine: &str) -> String {
    let lines: Vec<_> = machine.lines().take(3).collect();
    lines.join("\n")
}

fn section(record: &Record) -> String {
    let scenario = &record.scenario;
    let mut text = format!(
        "## {}\n\n{} {}.\n\n",
        scenario.name,
        scenario.what,
        took(record)
    );
    for case in &record.cases {
        let _ = writeln!(text, "{}", table(&grid(case)));
        for remark in &case.remarks {
            let _ = writeln!(text, "- {remark}");
        }
        if !case.remarks.is_empty() {
            text.push('\n');
        }
    }
    let _ = writeln!(text, "{}\n", scenario.note);
    text
}

fn table(grid: &Grid) -> String {
    let line = |cells: &[String]| {
        let cells: Vec<_> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let rule = vec!["---:".to_owned(); grid.headings.len() - 1];
    let rule = [vec![":---".to_owned()], rule].concat();
    let rows = grid.rows.iter().map(|row| {
        let mut row = row.clone();
        row.resize(grid.headings.len(), String::new());
        line(&row)
    });
    [line(&grid.headings), line(&rule)]
        .into_iter()
        .chain(rows)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::FIXTURE;

    #[test]
    fn a_summary_holds_everybody_and_how_the_goals_stand() {
        let record: Record = serde_json::from_str(FIXTURE).unwrap();
        let text = summary(&Told {
            records: &[record],
            missing: vec!["send"],
            machine: "date x\nkernel y\ncpu z\nmore",
            notes: true,
        });
        for line in [
            "> **INCOMPLETE: not measured: send**",
            "> **VOID rows: http-large, 1 GiB, 1 connection: broken**",
            "date x\nkernel y\ncpu z\n```",
            "## Goals\n\n[README.md](README.md) says why some were not met.\n\nhttp-large:",
            "| 1 GiB, 1 connection: GB/s of ours ÷ fast (the best rival) | ≥ 1 | 2.000 | too few rounds | met |",
            "| 1 GiB, 1 connection: CPU s/GB of ours ÷ bare (the floor) | ≤ 1.05 | 2.000 | too few rounds | NOT MET |",
            "## http-large\n\nLarge files. 2 rounds of 1 s, interleaved, after one uncounted; 2 min in all.",
            "| 1 GiB, 1 connection | GB/s | min–max | CPU s/GB | min–max | busy % | ours ÷ | route |",
            "| ours | 5.00 | 2.00–8.00 | 0.300 | 0.200–0.400 | 98 | 1.00 | sendfile |",
            "| fast | 2.50 | 1.00–4.00 | 0.450 | 0.300–0.600 | – | 2.00 |  |",
            "| broken | VOID: it broke (1 of 1 runs) |",
            "| missing | absent: not installed: its package |",
            "- WARNING: noisy",
            "A note.",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert!(!text.contains("SMOKE RUN"));
    }
}
