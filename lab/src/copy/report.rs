//! The result of `lab copy`: a table for each file system, or every sample for programs.

use std::path::Path;

use serde_json::{Value, json};

use super::{OnePlace, Sample, Series};
use crate::error::{Error, Result};
use crate::header::{Header, noisy};
use crate::output;
use crate::stats::Summary;
use crate::table::Table;

pub(super) struct Report {
    pub(super) header: Header,
    pub(super) size: u64,
    pub(super) places: Vec<OnePlace>,
}

/// One number of a sample.
type Measure = fn(&Sample) -> f64;

const WALL: Measure = |sample| sample.wall_s;
const CPU: Measure = |sample| sample.user_s + sample.system_s;

const NOTE: &str = "s is the median of whole processes, from start to end; what write-back costs later is not in it.
CPU is user + system of the process (wait4). × is the median over rounds of the ratio to cp in the same round.
";

impl Report {
    pub(super) fn print(&self, json: Option<&Path>) -> Result<()> {
        output::save(json, || self.to_json())?;
        let places: Vec<_> = self.places.iter().map(OnePlace::text).collect();
        output::print(&format!("{}\n{}\n{NOTE}", self.header, places.join("\n")))
    }

    /// Errors when a row is void, so that no script takes such a run for a good one.
    pub(super) fn verdict(&self) -> Result<()> {
        let names: Vec<_> = self.places.iter().flat_map(OnePlace::void_names).collect();
        if names.is_empty() {
            return Ok(());
        }
        Err(Error::new(format!("void: {}", names.join(", "))))
    }

    fn to_json(&self) -> Value {
        let places: Vec<_> = self.places.iter().map(OnePlace::to_json).collect();
        json!({ "header": self.header, "size": self.size, "places": places })
    }
}

impl OnePlace {
    fn rows(&self) -> &[Series] {
        self.series.as_deref().unwrap_or_default()
    }

    fn text(&self) -> String {
        if let Err(why) = &self.series {
            return format!("{}: absent: {why}\n", self.name);
        }
        let heading = format!("on {}", self.name);
        let mut table = Table::new(&[&heading, "s", "min–max", "CPU s", "× s", "× CPU", "route"]);
        for series in self.rows() {
            let name = series.copier.name.to_owned();
            table.row([name].into_iter().chain(self.cells(series)));
        }
        let warning = self
            .warning()
            .map(|warning| warning + "\n")
            .unwrap_or_default();
        format!("{table}{warning}")
    }

    fn cells(&self, series: &Series) -> Vec<String> {
        if let Err(why) = &series.copier.program {
            return vec![format!("absent: {why}")];
        }
        if let Some(why) = series.rounds.void() {
            return vec![format!("VOID: {why}")];
        }
        let (Some(wall), Some(cpu)) = (series.rounds.summary(WALL), series.rounds.summary(CPU))
        else {
            return vec!["no sample".to_owned()];
        };
        let ratio = |measure| {
            self.ratio(series, measure)
                .map_or("–".to_owned(), |ratio| format!("{:.3}", ratio.median))
        };
        vec![
            format!("{:.4}", wall.median),
            format!("{:.4}–{:.4}", wall.min, wall.max),
            format!("{:.4}", cpu.median),
            ratio(WALL),
            ratio(CPU),
            series.routes(),
        ]
    }

    fn ratio(&self, series: &Series, measure: Measure) -> Option<Summary> {
        series.rounds.ratio(&self.rows().first()?.rounds, measure)
    }

    fn warning(&self) -> Option<String> {
        noisy("cp", &self.rows().first()?.rounds.summary(WALL)?)
    }

    fn void_names(&self) -> Vec<String> {
        let void = self
            .rows()
            .iter()
            .filter(|series| series.rounds.void().is_some());
        void.map(|series| format!("{} on {}", series.copier.name, self.name))
            .collect()
    }

    fn to_json(&self) -> Value {
        let copiers: Vec<_> = self
            .rows()
            .iter()
            .map(|series| self.series_json(series))
            .collect();
        json!({
            "name": self.name,
            "absent": self.series.as_ref().err(),
            "copiers": copiers,
            "warning": self.warning(),
        })
    }

    fn series_json(&self, series: &Series) -> Value {
        json!({
            "name": series.copier.name,
            "absent": series.copier.program.as_ref().err(),
            "void": series.rounds.void(),
            "wall_s": series.rounds.summary(WALL),
            "cpu_s": series.rounds.summary(CPU),
            "wall_to_cp": self.ratio(series, WALL),
            "cpu_to_cp": self.ratio(series, CPU),
            "rounds": series.rounds.to_json(),
        })
    }
}

impl Series {
    /// The routes that ran, in the order in which they first did.
    fn routes(&self) -> String {
        let mut routes: Vec<&str> = Vec::new();
        for route in self
            .rounds
            .samples()
            .filter_map(|sample| sample.route.as_deref())
        {
            if !routes.contains(&route) {
                routes.push(route);
            }
        }
        if routes.is_empty() {
            "–".to_owned()
        } else {
            routes.join(", ")
        }
    }
}
