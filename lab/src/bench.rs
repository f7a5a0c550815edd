//! What every scenario is measured with, and the order in which its contenders run.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::commands::Commands;
use crate::error::{Context, Error, Result};
use crate::pin::Pinning;
use crate::record::{Rounds, Row, Sample, Side, in_turn};
use crate::scenario::Scenario;
use crate::{sys, testfile};

/// Before a window: caches are filled and the connections are all under way.
pub(crate) const WARMUP: Duration = Duration::from_millis(300);
/// The window of the round that is not counted.
const SHORT: Duration = Duration::from_millis(200);

/// For one scenario.
pub(crate) struct Bench<'a> {
    pub(crate) scenario: &'a Scenario,
    /// A directory of its own, taken away afterwards.
    pub(crate) root: &'a Path,
    pub(crate) pinning: Pinning,
    pub(crate) underpass: Option<&'a Path>,
    /// An earlier build of underpass to be compared with.
    pub(crate) before: Option<&'a Path>,
    /// Who is run how, for the run's folder.
    pub(crate) commands: &'a Commands,
}

/// What the earlier build is called in every table.
const BEFORE: &str = "underpass, before";

/// Who there is to compare, and why each cannot run, if it cannot.
pub(crate) type Present = Vec<(&'static str, Option<String>)>;

/// Somebody who is compared.
#[derive(Clone)]
pub(crate) struct Contender<P> {
    pub(crate) name: &'static str,
    pub(crate) side: Side,
    /// How it is run, or what is missing and which package has it.
    pub(crate) program: std::result::Result<P, String>,
}

impl<P> Contender<P> {
    pub(crate) fn new(
        name: &'static str,
        side: Side,
        program: std::result::Result<P, String>,
    ) -> Self {
        Self {
            name,
            side,
            program,
        }
    }
}

/// What is told of all of them before anything is measured.
pub(crate) fn present<P>(all: &[Contender<P>]) -> Present {
    let told = |who: &Contender<P>| (who.name, who.program.as_ref().err().cloned());
    all.iter().map(told).collect()
}

impl Bench<'_> {
    /// Those of the scenario, in its order; the earlier build of underpass, if there is one, comes
    /// first. `known` makes the contenders of one underpass binary.
    pub(crate) fn chosen<P>(
        &self,
        known: impl Fn(Option<&Path>) -> Vec<Contender<P>>,
    ) -> Result<Vec<Contender<P>>> {
        let before = self.before.into_iter().flat_map(|path| known(Some(path)));
        let before = before
            .filter(|who| who.side == Side::Ours)
            .map(|ours| Contender {
                name: BEFORE,
                side: Side::Variant,
                ..ours
            });
        let mut all = known(self.underpass);
        let names = self.scenario.contenders.iter();
        let take = |name: &String| {
            let at = all.iter().position(|known| known.name == name);
            let at = at.ok_or_else(|| {
                Error::new(format!("{}: nobody is called '{name}'", self.scenario.name))
            })?;
            Ok(all.swap_remove(at))
        };
        before.map(Ok).chain(names.map(take)).collect()
    }

    /// A B C … B C A …, over those that are there, so that a slow minute of the machine falls on everyone alike. `measure` is
    /// told the round; 0 is not counted.
    pub(crate) fn interleave<P>(
        &self,
        case: &str,
        contenders: &[Contender<P>],
        mut measure: impl FnMut(&Contender<P>, &P, u32) -> Result<Sample>,
    ) -> Result<Vec<Row>> {
        eprintln!("lab: {}: {case}", self.scenario.name);
        let mut rows: Vec<_> = contenders.iter().map(|who| (who, Row::of(who))).collect();
        for round in 0..=self.scenario.rounds {
            for (who, row) in in_turn(&mut rows, round) {
                let Ok(program) = &who.program else {
                    continue;
                };
                // One that failed stays void: its further rounds would cost time, and tell nothing.
                if row.rounds.void().is_some() {
                    continue;
                }
                let sample = measure(who, program, round);
                stop_if_interrupted()?;
                if let Err(why) = &sample {
                    let (scenario, name) = (&self.scenario.name, who.name);
                    eprintln!("lab: VOID: {scenario}, {case}: {name}: {why}");
                }
                row.rounds.record(round, sample);
            }
        }
        Ok(rows.into_iter().map(|(_, row)| row).collect())
    }

    pub(crate) fn window(&self, round: u32) -> Duration {
        let whole = Duration::from_secs_f64(self.scenario.seconds);
        if round == 0 { whole.min(SHORT) } else { whole }
    }

    /// Runs the load in a thread of its own, on its own processor.
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

impl Row {
    pub(crate) fn of<P>(who: &Contender<P>) -> Self {
        Self {
            name: who.name.to_owned(),
            side: who.side,
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
