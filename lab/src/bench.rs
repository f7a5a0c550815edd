//! What every scenario is measured with, and the order in which its contenders run.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::commands::Commands;
use crate::contender::{self, Contender, Places};
use crate::error::{Context, Error, Result};
use crate::pin::Pinning;
use crate::record::{
    BEFORE, Case, Comparison, Metric, Rounds, Row, Sample, Side, comparisons, in_turn,
};
use crate::run::Invocation;
use crate::scenario::Scenario;
use crate::{sys, testfile};

/// Time before a window: caches fill up, and all connections become active.
pub(crate) const WARMUP: Duration = Duration::from_millis(300);
/// The window of the round that is not counted.
const SHORT: Duration = Duration::from_millis(200);

/// The setting in which one scenario is measured.
pub(crate) struct Bench<'a> {
    pub(crate) scenario: &'a Scenario,
    /// A directory for the scenario, which is removed afterwards.
    pub(crate) root: &'a Path,
    pub(crate) pinning: Pinning,
    pub(crate) underpass: Option<&'a Path>,
    /// An earlier build of underpass to compare with.
    pub(crate) before: Option<&'a Path>,
    /// The commands of all contenders, for the run's folder.
    pub(crate) commands: &'a Commands,
}

impl Bench<'_> {
    /// The scenario's contenders, in its order. The earlier build of underpass, if there is one,
    /// comes first.
    pub(crate) fn contenders(&self) -> Result<Vec<Contender>> {
        let race = self.scenario.kind.race();
        let takes_part = |name: &str| self.scenario.contenders.iter().any(|known| known == name);
        let mut chosen = Vec::new();
        if let Some(before) = self.before {
            // The lab itself embeds only one version of underpass-http.
            let earlier = contender::all(race, Some(before))?
                .into_iter()
                .filter(|who| {
                    let row = &who.row;
                    row.side == Side::Ours && row.program == "underpass" && takes_part(&row.name)
                });
            chosen.extend(earlier.map(as_before));
        }
        let all = contender::all(race, self.underpass)?;
        for name in &self.scenario.contenders {
            let known = all.iter().find(|known| known.name() == name);
            let unknown = || format!("{}: nobody is called '{name}'", self.scenario.name);
            chosen.push(known.cloned().ok_or_else(|| Error::new(unknown()))?);
        }
        Ok(chosen)
    }

    /// The command that starts a contender. It is recorded for the run's folder.
    pub(crate) fn invocation(&self, who: &Contender, places: Places) -> Result<Invocation> {
        let (invocation, configuration) = who.invocation(places)?;
        self.commands
            .note(who.name(), &invocation, configuration.as_deref());
        Ok(invocation)
    }

    /// Measures one case. The contenders that are present run in the order A B C … B C A …, so that
    /// a slow minute of the machine affects all of them alike. `measure` gets the number of the
    /// round; round 0 is not counted.
    ///
    /// After the scenario's rounds, the contenders that decide the case run further rounds until
    /// the comparisons are settled, or the most rounds are reached. Comparisons that are then not
    /// settled are listed under the table.
    pub(crate) fn case(
        &self,
        name: &str,
        metrics: Vec<Metric>,
        contenders: &[Contender],
        mut measure: impl FnMut(&Contender, u32) -> Result<Sample>,
    ) -> Result<Case> {
        eprintln!("lab: {}: {name}", self.scenario.name);
        let mut case = Case {
            name: name.to_owned(),
            metrics,
            rows: contenders.iter().map(Row::of).collect(),
            remarks: Vec::new(),
        };
        let scenario = self.scenario;
        for round in 0..=scenario.rounds {
            self.round(&mut case, contenders, round, &mut measure, |_| true)?;
        }
        // This list does not change from here on: if a contender sat out a round, that round could
        // not be compared with ours.
        let deciding = self.deciding(&case);
        let mut round = scenario.rounds;
        while round < scenario.most_rounds() && !self.unsettled(&case).is_empty() {
            round += 1;
            self.round(&mut case, contenders, round, &mut measure, |who| {
                deciding.iter().any(|name| name == who.name())
            })?;
        }
        case.remarks = self.unsettled(&case);
        Ok(case)
    }

    fn round(
        &self,
        case: &mut Case,
        contenders: &[Contender],
        round: u32,
        measure: &mut impl FnMut(&Contender, u32) -> Result<Sample>,
        takes_part: impl Fn(&Contender) -> bool,
    ) -> Result<()> {
        let mut rows: Vec<_> = contenders.iter().zip(&mut case.rows).collect();
        for (who, row) in in_turn(&mut rows, round) {
            // A contender that failed is void: more rounds would cost time and show nothing.
            if who.program.is_err() || row.rounds.void().is_some() || !takes_part(who) {
                continue;
            }
            let sample = measure(who, round);
            stop_if_interrupted()?;
            if let Err(why) = &sample {
                let (scenario, name) = (&self.scenario.name, who.name());
                eprintln!("lab: VOID: {scenario}, {}: {name}: {why}", case.name);
            }
            row.rounds.record(round, sample);
        }
        Ok(())
    }

    /// The rows that are compared.
    fn deciding(&self, case: &Case) -> Vec<String> {
        let compared = comparisons(&self.scenario.goals, case);
        let rows = compared.iter().flat_map(|pair| [pair.of, pair.base]);
        rows.map(|row| row.name.clone()).collect()
    }

    /// The comparisons whose interval is still too wide, as remarks.
    fn unsettled(&self, case: &Case) -> Vec<String> {
        let told = |pair: Comparison<'_>| {
            let ratio = pair.ratio()?;
            let (low, high) = ratio.interval?;
            (!ratio.is_settled()).then(|| {
                let Comparison { metric, of, base } = pair;
                let (of, base, median) = (&of.name, &base.name, ratio.median);
                format!(
                    "WARNING: not settled: {metric} of {of} ÷ that of {base} is {median:.2}, but \
                     anything from {low:.2} to {high:.2} may be true (90 % interval)."
                )
            })
        };
        let compared = comparisons(&self.scenario.goals, case);
        let mut told: Vec<_> = compared.into_iter().filter_map(told).collect();
        told.dedup();
        told
    }

    pub(crate) fn window(&self, round: u32) -> Duration {
        let whole = Duration::from_secs_f64(self.scenario.seconds);
        if round == 0 { whole.min(SHORT) } else { whole }
    }

    /// Runs the load on a thread of its own, on the load's processor.
    pub(crate) fn on_load_side<T: Send>(
        &self,
        run: impl FnOnce() -> Result<T> + Send,
    ) -> Result<T> {
        let pinned = || {
            self.pinning.pin_sink()?;
            run()
        };
        std::thread::scope(|scope| scope.spawn(pinned).join())
            .map_err(|_| Error::new("the load's thread died"))?
    }

    pub(crate) fn file(&self, name: &str, size: u64) -> Result<PathBuf> {
        testfile::check_space(self.root, size)?;
        testfile::make(self.root, name, size)
    }
}

fn as_before(mut who: Contender) -> Contender {
    BEFORE.clone_into(&mut who.row.name);
    who.row.side = Side::Variant;
    who
}

impl Row {
    pub(crate) fn of(who: &Contender) -> Self {
        Self {
            name: who.row.name.clone(),
            side: who.row.side,
            absent: who.program.as_ref().err().cloned(),
            rounds: Rounds::default(),
        }
    }
}

pub(crate) fn stop_if_interrupted() -> Result<()> {
    if sys::interrupted() {
        return Err(Error::new("interrupted"));
    }
    Ok(())
}

pub(crate) fn remove(file: &Path) -> Result<()> {
    std::fs::remove_file(file).context(|| format!("cannot remove {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario;

    /// Measures a case in which ours takes `ours(round)` and all others 1. Returns how often each
    /// ran, and the remarks.
    fn case(ours: impl Fn(u32) -> f64) -> (Vec<usize>, Vec<String>) {
        let mut scenario = scenario::named(&["copy".to_owned()]).unwrap().remove(0);
        scenario.rounds = 5;
        let bench = Bench {
            scenario: &scenario,
            root: Path::new("/"),
            pinning: Pinning::new(false).unwrap(),
            underpass: None,
            before: None,
            commands: &Commands::default(),
        };
        let who = |name: &str, side| Contender {
            row: contender::Row {
                name: name.to_owned(),
                side,
                ..Default::default()
            },
            program: Ok(PathBuf::new()),
        };
        let contenders = [
            who("ours", Side::Ours),
            who("cp --reflink=auto", Side::Rival),
            who("cp --reflink=auto, then sync", Side::Rival),
            who("dd", Side::Rival),
        ];
        let metrics = vec![Metric::less("s", 2)];
        let case = bench.case("c", metrics, &contenders, |who, round| {
            let seconds = if who.row.side == Side::Ours {
                ours(round)
            } else {
                1.0
            };
            Ok(Sample::of([("s", seconds)]))
        });
        let case = case.unwrap();
        let counts = case.rows.iter().map(|row| row.rounds.samples().count());
        (counts.collect(), case.remarks)
    }

    #[test]
    fn rounds_that_agree_are_enough() {
        let (counts, remarks) = case(|_| 2.0);
        assert_eq!(counts, [5, 5, 5, 5]);
        assert_eq!(remarks, [""; 0]);
    }

    #[test]
    fn those_that_decide_go_on_until_it_is_settled() {
        // With six or seven samples, the interval spans all of them; with eight, it leaves out the
        // two extremes.
        let (counts, remarks) = case(|round| if round == 2 { 9.0 } else { 2.0 });
        assert_eq!((counts[0], counts[3]), (8, 5));
        assert_eq!(remarks, [""; 0]);
    }

    #[test]
    fn what_cannot_be_settled_is_told() {
        let (counts, remarks) = case(|round| f64::from(1 + round % 2));
        assert_eq!((counts[0], counts[3]), (15, 5));
        assert!(
            remarks[0].starts_with("WARNING: not settled: s of ours ÷ that of cp"),
            "{remarks:?}"
        );
    }
}
