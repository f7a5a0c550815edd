//! One sample: a new connection, over which the file is sent a number of times, and what that cost.

use std::time::{Duration, Instant};

use underpass::Cancel;

use crate::error::{Context, Result};
use crate::file::TestFile;
use crate::network::Network;
use crate::pin::Processors;
use crate::probe::{Counted, Probe, start, stop};
use crate::receiver::{Receiver, Use};
use crate::way::{Job, SendReport, Way};

/// What is sent, by which way, and over which network.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SampleSpec<'a> {
    pub(crate) way: Way,
    pub(crate) network: &'a Network,
    pub(crate) file: &'a TestFile,
    /// Size of the file.
    pub(crate) bytes: u64,
    /// How often the file is sent.
    pub(crate) repeats: u64,
    pub(crate) processors: Processors,
    pub(crate) cancel: Option<&'a Cancel>,
}

/// What a sample cost.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Time from the first call until the receiver had the last byte.
    pub(crate) wall: Duration,
    /// What the way itself reports, summed over the repeats.
    pub(crate) reported: SendReport,
    pub(crate) counted: Counted,
}

impl SampleSpec<'_> {
    pub(crate) fn total(&self) -> u64 {
        self.bytes * self.repeats
    }

    /// Sends and counts with `probes`; the receiver discards the bytes.
    pub(crate) fn count(&self, probes: &mut [Box<dyn Probe>]) -> Result<Outcome> {
        self.run(probes, Use::Discard)
    }

    /// Sends without counting; the receiver compares each byte.
    pub(crate) fn check(&self) -> Result<()> {
        let file = self.file.file().try_clone();
        let file = file.context(|| "the test file cannot be opened twice".into())?;
        let bytes = self.bytes;
        self.run(&mut [], Use::Compare { file, bytes })?;
        Ok(())
    }

    fn run(&self, probes: &mut [Box<dyn Probe>], what: Use) -> Result<Outcome> {
        let (near, far) = self.network.connect()?;
        let receiver = Receiver::start(far, self.total(), what, self.processors);
        let job = Job {
            file: self.file.file(),
            bytes: self.bytes,
            socket: &near,
            cancel: self.cancel,
        };
        let mut send = self.way.prepare(job).context(|| self.shown())?;
        let mut reported = SendReport::default();
        // If there is no vDSO, reading the clock is a system call, which must not be counted.
        let began = Instant::now();
        // A probe counts the calls of those that are started after it and stopped before it. So the
        // last one, which counts calls, counts none of them.
        start(probes).context(|| self.shown())?;
        let moved = (0..self.repeats).try_for_each(|_| send().map(|one| reported += one));
        let stopped = stop(probes);
        drop(send);
        if moved.is_err() {
            // Otherwise the receiver would wait for the rest.
            drop(near);
        }
        let arrived = receiver.wait();
        moved.and(stopped).context(|| self.shown())?;
        let ended = arrived.context(|| self.shown())?;
        let mut counted = Counted::default();
        for probe in probes {
            probe.collect(&mut counted).context(|| self.shown())?;
        }
        Ok(Outcome {
            wall: ended - began,
            reported,
            counted,
        })
    }

    fn shown(&self) -> String {
        let link = self.network.link.name();
        format!("{} of {} bytes over {link}", self.way, self.bytes)
    }
}
