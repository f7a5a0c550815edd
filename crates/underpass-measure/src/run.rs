//! One run: sets up the networks and the probes, takes all samples, and reports.

use std::time::{Duration, Instant, SystemTime};

use underpass::Cancel;
use underpass::receipt::CryptoPlace;

use crate::error::{Error, Result};
use crate::file::TestFile;
use crate::network::{self, Link, Network};
use crate::pin::Processors;
use crate::probe::{Tally, Toolbox};
use crate::report::{self, AbsentWay, Interface, Machine, Method, Report, Row, StreamRow};
use crate::rows;
use crate::sample::{Outcome, SampleSpec};
use crate::schedule::{self, Cell};
use crate::settings::MeasureSettings;
use crate::stream::{self, Case, Run};
use crate::tls::Tls;
use crate::warnings;
use crate::way::{CALL, Way};

/// The profile of one way is sampled for at least this long.
const PROFILE: Duration = Duration::from_millis(150);

/// This many bytes are compared one by one before a way is measured.
const CHECKED: u64 = 8 << 20;

/// Probes miss calls in bursts, during the work of one interrupt, and TCP sends segments again when
/// a machine has too much else to do. A few attempts find a sample without.
const ATTEMPTS: u32 = 5;

/// Follows the progress of a run, and can end it.
pub trait Watch {
    /// Called when `done` of `total` samples are taken; `next` describes the next one.
    fn progress(&mut self, done: u64, total: u64, next: &str);

    /// Whether to end before everything is measured. Called between samples.
    fn cancelled(&self) -> bool {
        false
    }

    /// A switch that also ends a sample while it is taken. If there is one,
    /// [`cancelled`](Self::cancelled) must return true once it is used.
    fn cancel(&self) -> Option<&Cancel> {
        None
    }
}

/// Measures what `settings` asks for. What cannot be measured here is reported as such.
///
/// Everything that a run makes is gone when it returns: the test file and the network namespaces
/// have no names, and the kernel's events are removed. The events of a run that was killed are
/// removed by the next run.
///
/// The calling thread sends, and is pinned to a processor meanwhile.
///
/// # Errors
///
/// No room for the test file, a link that breaks, wrong bytes at the far end, or
/// [`Watch::cancelled`].
pub fn measure(settings: &MeasureSettings, watch: &mut dyn Watch) -> Result<Report> {
    let began = SystemTime::now();
    let mut bench = Bench::set_up(settings, watch)?;
    let _pinned = bench.setup.processors.pin_sender();
    let (per_unit, by_size, streams) = bench.rows()?;
    let Bench { setup, toolbox, .. } = bench;
    let mut report = Report {
        form: report::FORM.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        began: humantime::format_rfc3339_seconds(began).to_string(),
        command: None,
        machine: Machine::here(setup.processors.count(), setup.file.file_system()),
        method: setup.method(),
        probes: toolbox.about,
        interfaces: setup.interfaces,
        absent_ways: setup.absent_ways,
        per_unit,
        by_size,
        streams,
        warnings: toolbox.notices,
    };
    warnings::add(&mut report);
    Ok(report)
}

/// Everything that is set up for the measurement.
struct Bench<'a> {
    setup: Setup<'a>,
    toolbox: Toolbox,
    watch: &'a mut dyn Watch,
    done: u64,
    total: u64,
}

struct Setup<'a> {
    settings: &'a MeasureSettings,
    /// The ways that can be measured here.
    ways: Vec<Way>,
    /// Those that cannot.
    absent_ways: Vec<AbsentWay>,
    /// What ways with TLS need, if there are any.
    tls: Option<Tls>,
    processors: Processors,
    file: TestFile,
    networks: Vec<Network>,
    /// The network that streams come from and go to, if streams are measured.
    loopback: Option<Network>,
    /// All interfaces, including those that could not be set up.
    interfaces: Vec<Interface>,
    cancel: Option<Cancel>,
}

impl<'a> Bench<'a> {
    fn set_up(settings: &'a MeasureSettings, watch: &'a mut dyn Watch) -> Result<Self> {
        watch.progress(0, 1, "making the test file");
        let setup = Setup::new(settings, watch.cancel().cloned())?;
        let tls = setup.tls.as_ref();
        let encrypts = tls.is_some_and(|tls| tls.kernel_refusal.is_none());
        let toolbox = Toolbox::open(settings.profile, encrypts);
        // Every way is checked, counted and profiled once; at every size it is counted and timed.
        let each = 2 + u64::from(!toolbox.sampling.is_empty());
        let sized = settings.sizes.len() as u64 * (1 + u64::from(settings.rounds));
        let rows = (setup.networks.len() * setup.ways.len()) as u64;
        let streams = Case::all(&settings.streams).len() as u64;
        let streamed = streams * (2 + u64::from(settings.rounds));
        Ok(Self {
            setup,
            toolbox,
            watch,
            done: 0,
            total: rows * (each + sized) + streamed,
        })
    }

    /// All rows of the report: per unit, by size, and of streams.
    fn rows(&mut self) -> Result<(Vec<Row>, Vec<Row>, Vec<StreamRow>)> {
        let mut all = || Ok((self.per_unit()?, self.by_size()?, self.streams()?));
        let rows = all();
        // If the run was cancelled, that is the reason why the sample failed.
        rows.map_err(|error| {
            if self.watch.cancelled() {
                Error::cancelled()
            } else {
                error
            }
        })
    }

    /// The cost of moving one buffer, counted over many.
    fn per_unit(&mut self) -> Result<Vec<Row>> {
        let bytes = self.setup.method().counted_bytes;
        let cells = self.setup.cells(&[bytes]);
        cells.into_iter().map(|cell| self.unit_row(cell)).collect()
    }

    fn unit_row(&mut self, cell: Cell) -> Result<Row> {
        self.step(cell, "checking")?;
        let checked = Cell {
            bytes: cell.bytes.min(CHECKED),
            ..cell
        };
        self.setup.sample_spec(checked, 1).check()?;
        self.step(cell, "counting")?;
        let spec = self.setup.sample_spec(cell, 1);
        let outcome = counted(&spec, &mut self.toolbox)?;
        let unit = CALL as u64;
        let mut row = rows::counted(&spec, &outcome, unit, cell.bytes / unit);
        if !self.toolbox.sampling.is_empty() {
            self.step(cell, "sampling")?;
            row.sampled = self.profile(cell)?.report();
        }
        Ok(row)
    }

    /// Samples one way until there are enough samples.
    fn profile(&mut self, cell: Cell) -> Result<Tally> {
        let spec = self.setup.sample_spec(cell, 1);
        let mut tally = Tally::default();
        let began = Instant::now();
        while began.elapsed() < PROFILE {
            let outcome = spec.count(&mut self.toolbox.sampling)?;
            tally.merge(outcome.counted.sampled.unwrap_or_default());
        }
        Ok(tally)
    }

    /// Time and CPU time of every way at every size, and its counts.
    fn by_size(&mut self) -> Result<Vec<Row>> {
        let ways = self.setup.ways.len();
        let cells = self.setup.cells(&self.setup.settings.sizes);
        let mut rows: Vec<Row> = cells
            .iter()
            .map(|&cell| self.size_row(cell))
            .collect::<Result<_>>()?;
        for round in 0..self.setup.settings.rounds {
            for index in schedule::round(cells.len(), ways, round) {
                let sample = self.timed(cells[index], round)?;
                rows[index].samples.push(sample);
            }
        }
        for group in rows.chunks_mut(ways.max(1)) {
            let is_base = |row: &&Row| row.way == Way::ReadWrite.name();
            let base = group.iter().find(is_base).map(|row| row.samples.clone());
            for row in group {
                rows::summarise(row, base.as_deref());
            }
        }
        Ok(rows)
    }

    fn size_row(&mut self, cell: Cell) -> Result<Row> {
        self.step(cell, "counting")?;
        let spec = self.setup.sample_spec(cell, self.setup.repeats(cell));
        let outcome = counted(&spec, &mut self.toolbox)?;
        Ok(rows::counted(&spec, &outcome, cell.bytes, spec.repeats))
    }

    fn timed(&mut self, cell: Cell, round: u32) -> Result<report::Sample> {
        let rounds = self.setup.settings.rounds;
        self.step(cell, &format!("round {} of {rounds}", round + 1))?;
        let spec = self.setup.sample_spec(cell, self.setup.repeats(cell));
        let outcome = spec.count(&mut self.toolbox.timing)?;
        Ok(rows::sample(&outcome))
    }

    /// Checks, counts and times the streams.
    fn streams(&mut self) -> Result<Vec<StreamRow>> {
        let cases = Case::all(&self.setup.settings.streams);
        let rows = cases.iter().map(|&case| self.stream_row(case));
        let mut rows: Vec<_> = rows.collect::<Result<_>>()?;
        let ways = stream::By::ALL.len();
        let rounds = self.setup.settings.rounds;
        for round in 0..rounds {
            for index in schedule::round(cases.len(), ways, round) {
                let what = format!("round {} of {rounds}", round + 1);
                self.announce(format_args!("{what}: {}", cases[index]))?;
                let run = self.setup.stream_run(cases[index], rows[index].bytes)?;
                let outcome = run.count(&mut self.toolbox.timing)?;
                rows[index].samples.push(rows::sample(&outcome));
            }
        }
        for group in rows.chunks_mut(ways) {
            let base = group[0].samples.clone();
            for row in group {
                stream::rows::summarise(row, &base);
            }
        }
        Ok(rows)
    }

    fn stream_row(&mut self, case: Case) -> Result<StreamRow> {
        self.announce(format_args!("checking: {case}"))?;
        let settings = self.setup.settings;
        let of = |bytes| schedule::of_stream(bytes, case.consumers);
        let checked = self
            .setup
            .stream_run(case, of(settings.counted_bytes.min(CHECKED)))?;
        checked.check()?;
        self.announce(format_args!("counting: {case}"))?;
        let run = self.setup.stream_run(case, of(settings.counted_bytes))?;
        let outcome = undisturbed(|| run.count(&mut self.toolbox.counting))?;
        let mut row = stream::rows::counted(&run, &outcome);
        if settings.rounds > 0 {
            row.bytes = of(settings.sample_bytes);
        }
        Ok(row)
    }

    /// Reports the next sample, and ends the run if that was asked for.
    fn step(&mut self, cell: Cell, what: &str) -> Result<()> {
        let spec = self.setup.sample_spec(cell, 1);
        let (way, link) = (spec.way, spec.network.link.name());
        self.announce(format_args!("{what}: {way} over {link}"))
    }

    fn announce(&mut self, next: std::fmt::Arguments<'_>) -> Result<()> {
        self.watch
            .progress(self.done, self.total, &next.to_string());
        self.done += 1;
        if self.watch.cancelled() {
            return Err(Error::cancelled());
        }
        Ok(())
    }
}

impl<'a> Setup<'a> {
    fn new(settings: &'a MeasureSettings, cancel: Option<Cancel>) -> Result<Self> {
        let counted = schedule::whole_units(settings.counted_bytes);
        let sizes = settings.sizes.iter().copied();
        let largest = sizes.chain([counted, settings.sample_bytes, CHECKED]).max();
        let file = TestFile::new(&settings.directory, largest.unwrap_or(counted))?;
        let (networks, interfaces) = networks(settings);
        let has_tls = settings.ways.iter().any(|way| way.encrypts().is_some());
        let tls = has_tls.then(Tls::new).transpose()?;
        let (ways, absent_ways) = ways(settings, tls.as_ref());
        let loopback = match settings.streams.as_slice() {
            [] => None,
            _ => Some(Network::new(Link::Loopback, false)?),
        };
        Ok(Self {
            settings,
            ways,
            absent_ways,
            tls,
            processors: Processors::here(),
            file,
            networks,
            loopback,
            interfaces,
            cancel,
        })
    }

    fn method(&self) -> Method {
        Method {
            rounds: self.settings.rounds,
            unit_bytes: CALL as u64,
            counted_bytes: schedule::whole_units(self.settings.counted_bytes),
            sample_bytes: self.settings.sample_bytes,
            tls: self.tls.as_ref().map(|tls| tls.agreed.clone()),
        }
    }

    fn cells(&self, sizes: &[u64]) -> Vec<Cell> {
        schedule::cells(self.networks.len(), sizes, self.ways.len())
    }

    fn repeats(&self, cell: Cell) -> u64 {
        schedule::repeats(cell.bytes, self.settings.sample_bytes)
    }

    fn stream_run(&self, case: Case, bytes: u64) -> Result<Run<'_>> {
        let network = self.loopback.as_ref();
        Ok(Run {
            case,
            network: network.ok_or_else(|| Error::new("streams without loopback"))?,
            file: &self.file,
            bytes,
            processors: self.processors,
        })
    }

    fn sample_spec(&self, cell: Cell, repeats: u64) -> SampleSpec<'_> {
        SampleSpec {
            way: self.ways[cell.way],
            network: &self.networks[cell.network],
            tls: self.tls.as_ref(),
            file: &self.file,
            bytes: cell.bytes,
            repeats,
            processors: self.processors,
            cancel: self.cancel.as_ref(),
        }
    }
}

fn counted(spec: &SampleSpec<'_>, toolbox: &mut Toolbox) -> Result<Outcome> {
    undisturbed(|| spec.count(&mut toolbox.counting))
}

/// Counts again if the sample was disturbed, but only a few times.
fn undisturbed(mut count: impl FnMut() -> Result<Outcome>) -> Result<Outcome> {
    let mut outcome = count()?;
    for _ in 1..ATTEMPTS {
        if outcome.is_undisturbed() {
            break;
        }
        outcome = count()?;
    }
    Ok(outcome)
}

/// The ways that can be measured here, and those that cannot, for the report.
fn ways(settings: &MeasureSettings, tls: Option<&Tls>) -> (Vec<Way>, Vec<AbsentWay>) {
    let refusal = tls.and_then(|tls| tls.kernel_refusal.as_ref());
    let (mut ways, mut absent) = (Vec::new(), Vec::new());
    for &way in &settings.ways {
        match refusal.filter(|_| way.encrypts() == Some(CryptoPlace::Kernel)) {
            Some(refusal) => absent.push(AbsentWay {
                way: way.name().to_owned(),
                missing: refusal.clone(),
            }),
            None => ways.push(way),
        }
    }
    (ways, absent)
}

/// The networks that can be set up, and the interfaces for the report.
fn networks(settings: &MeasureSettings) -> (Vec<Network>, Vec<Interface>) {
    let mut networks = Vec::new();
    let mut interfaces = Vec::new();
    for &link in &settings.links {
        let made = Network::new(link, settings.swap_gather);
        interfaces.push(Interface {
            name: link.name().to_owned(),
            gathers: made.as_ref().ok().and_then(|network| network.gathers),
            missing: made
                .as_ref()
                .err()
                .map(|error| network::remedy(link, error)),
        });
        networks.extend(made);
    }
    (networks, interfaces)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cancels the run as soon as a certain sample has begun.
    struct Late {
        cancel: Cancel,
        asked_after: std::cell::Cell<u32>,
    }

    impl Watch for Late {
        fn progress(&mut self, _: u64, _: u64, next: &str) {
            if next.starts_with("counting: ") {
                self.cancel.cancel();
            }
        }

        fn cancelled(&self) -> bool {
            if self.cancel.is_cancelled() {
                self.asked_after.set(self.asked_after.get() + 1);
            }
            self.asked_after.get() > 1
        }

        fn cancel(&self) -> Option<&Cancel> {
            Some(&self.cancel)
        }
    }

    #[test]
    fn a_cancel_ends_the_sample_that_is_being_taken() {
        for way in [Way::SendZerocopy, Way::Underpass] {
            let settings = MeasureSettings {
                ways: vec![way],
                streams: Vec::new(),
                links: vec![Link::Loopback],
                ..MeasureSettings::counts_only()
            };
            let mut watch = Late {
                cancel: Cancel::new().unwrap(),
                asked_after: std::cell::Cell::new(0),
            };
            let error = measure(&settings, &mut watch).unwrap_err();
            assert!(error.is_cancelled(), "{way}: {error}");
            // It is asked once before the sample, and once to find out why the sample failed.
            assert_eq!(watch.asked_after.get(), 2, "{way}");
        }
    }
}
