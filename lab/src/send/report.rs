//! The result of `lab send`: a table for people, or every sample for programs.

use std::path::Path;

use serde_json::{Value, json};

use super::{Sample, Series};
use crate::error::{Error, Result};
use crate::header::{Header, noisy};
use crate::output;
use crate::stats::Summary;
use crate::table::Table;

pub(super) struct Report {
    pub(super) header: Header,
    pub(super) size: u64,
    pub(super) series: Vec<Series>,
}

/// One number of a sample.
type Measure = fn(&Sample) -> f64;

const RATE: Measure = |sample| sample.bytes as f64 / 1e9 / sample.first_byte_to_eof_s;
const CPU: Measure = |sample| sample.user_s + sample.system_s;
const CPU_PER_GB: Measure = |sample| CPU(sample) / (sample.bytes as f64 / 1e9);

impl Report {
    pub(super) fn print(&self, json: Option<&Path>) -> Result<()> {
        output::save(json, || self.to_json())?;
        output::print(&format!(
            "{}\n{}\n{}",
            self.header,
            self.table(),
            self.notes()
        ))
    }

    /// Errors when a row is void, so that no script takes such a run for a good one.
    pub(super) fn verdict(&self) -> Result<()> {
        let void = self
            .series
            .iter()
            .filter(|series| series.rounds.void().is_some());
        let names: Vec<_> = void.map(|series| series.sender.name).collect();
        if names.is_empty() {
            return Ok(());
        }
        Err(Error::new(format!("void: {}", names.join(", "))))
    }

    fn table(&self) -> Table {
        let mut table = Table::new(&[
            "sender",
            "GB/s",
            "min–max",
            "CPU s",
            "CPU s/GB",
            "× GB/s",
            "× CPU",
        ]);
        for series in &self.series {
            let name = series.sender.name.to_owned();
            table.row([name].into_iter().chain(self.cells(series)));
        }
        table
    }

    fn cells(&self, series: &Series) -> Vec<String> {
        if let Err(why) = &series.sender.program {
            return vec![format!("absent: {why}")];
        }
        if let Some(why) = series.rounds.void() {
            return vec![format!("VOID: {why}")];
        }
        let (Some(rate), Some(cpu)) = (series.rounds.summary(RATE), series.rounds.summary(CPU))
        else {
            return vec!["no sample".to_owned()];
        };
        let ratio = |measure| {
            self.ratio(series, measure)
                .map_or("–".to_owned(), |ratio| format!("{:.3}", ratio.median))
        };
        vec![
            format!("{:.2}", rate.median),
            format!("{:.2}–{:.2}", rate.min, rate.max),
            format!("{:.3}", cpu.median),
            format!(
                "{:.3}",
                series
                    .rounds
                    .summary(CPU_PER_GB)
                    .map_or(f64::NAN, |per_gb| per_gb.median)
            ),
            ratio(RATE),
            ratio(CPU),
        ]
    }

    fn ratio(&self, series: &Series, measure: Measure) -> Option<Summary> {
        series.rounds.ratio(&self.series.first()?.rounds, measure)
    }

    fn notes(&self) -> String {
        let mut notes = vec![
            "GB/s is the sink's: 10^9 bytes a second from the first byte to the end, a program's start left out.".into(),
            "CPU is user + system of the whole process, its start and end counted (wait4).".into(),
            "× is the median over rounds of the ratio to the bare loop in the same round.".into(),
        ];
        notes.extend(self.series.iter().filter_map(Series::thread_note));
        notes.extend(self.warnings());
        notes.join("\n") + "\n"
    }

    fn warnings(&self) -> Vec<String> {
        let bare = self
            .series
            .first()
            .and_then(|bare| bare.rounds.summary(RATE));
        bare.and_then(|rate| noisy("the bare loop", &rate))
            .into_iter()
            .collect()
    }

    fn to_json(&self) -> Value {
        json!({
            "header": self.header,
            "size": self.size,
            "senders": self.series.iter().map(|series| self.series_json(series)).collect::<Vec<_>>(),
            "warnings": self.warnings(),
        })
    }

    fn series_json(&self, series: &Series) -> Value {
        json!({
            "name": series.sender.name,
            "absent": series.sender.program.as_ref().err(),
            "void": series.rounds.void(),
            "gb_per_s": series.rounds.summary(RATE),
            "cpu_s": series.rounds.summary(CPU),
            "cpu_s_per_gb": series.rounds.summary(CPU_PER_GB),
            "rate_to_bare": self.ratio(series, RATE),
            "cpu_to_bare": self.ratio(series, CPU),
            "rounds": series.rounds.to_json(),
        })
    }
}

impl Series {
    /// A process that carries a virtual machine: its one transferring thread told apart.
    fn thread_note(&self) -> Option<String> {
        let seconds = |sample: &Sample| sample.thread_cpu_s;
        let told: Vec<_> = self.rounds.samples().filter_map(seconds).collect();
        let bytes = self.rounds.samples().next()?.bytes as f64;
        let median = Summary::of(&told)?.median;
        let (name, per_gb) = (self.sender.name, median / (bytes / 1e9));
        Some(format!(
            "{name}: its transferring thread alone used {median:.3} s of CPU, {per_gb:.3} s/GB."
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::senders::{Program, Sender};
    use super::*;
    use crate::rounds::Rounds;

    fn series(samples: Vec<Result<Sample>>) -> Series {
        let mut rounds = Rounds::new();
        for sample in samples {
            rounds.record(1, sample);
        }
        Series {
            sender: Sender {
                name: "x",
                program: Ok(Program::Child("sendfile")),
            },
            rounds,
        }
    }

    fn sample(seconds: f64, cpu: f64) -> Sample {
        Sample {
            bytes: 2_000_000_000,
            first_byte_to_eof_s: seconds,
            accept_to_eof_s: seconds,
            process_wall_s: seconds,
            user_s: 0.0,
            system_s: cpu,
            thread_cpu_s: None,
            route: None,
            syscalls: None,
        }
    }

    fn report(series: Vec<Series>) -> Report {
        Report {
            header: Header::here(),
            size: 2_000_000_000,
            series,
        }
    }

    #[test]
    fn rows_state_rate_cpu_and_ratios() {
        let bare = series(vec![Ok(sample(1.0, 0.2)), Ok(sample(0.5, 0.2))]);
        let other = series(vec![Ok(sample(2.0, 0.4)), Ok(sample(1.0, 0.4))]);
        let report = report(vec![bare, other]);
        assert_eq!(
            report.cells(&report.series[1]),
            ["1.50", "1.00–2.00", "0.400", "0.200", "0.500", "2.000"]
        );
        assert_eq!(report.warnings().len(), 1, "the bare loop varies by 2.0");
        assert!(report.verdict().is_ok());
    }

    #[test]
    fn one_bad_run_voids_the_row_and_the_verdict() {
        let bad = series(vec![
            Ok(sample(1.0, 0.2)),
            Err(Error::new("the sink received 1 of 2 bytes")),
        ]);
        let report = report(vec![
            series(vec![Ok(sample(1.0, 0.2)), Ok(sample(1.0, 0.2))]),
            bad,
        ]);
        assert_eq!(
            report.cells(&report.series[1]),
            ["VOID: the sink received 1 of 2 bytes (1 of 2 runs)"]
        );
        assert!(report.verdict().is_err());
    }

    #[test]
    fn nothing_is_held_against_a_void_bare_loop() {
        let bare = series(vec![Err(Error::new("broken"))]);
        let report = report(vec![bare, series(vec![Ok(sample(1.0, 0.2))])]);
        assert_eq!(report.cells(&report.series[1])[4..], ["–", "–"]);
    }
}
