//! Which share of its CPU time each process spends in functions that copy: perf clock sampling of
//! all processors (perf_event_open(2)).

use std::collections::HashMap;
use std::io;

use perf_event::data::Record;
use perf_event::events::Software;
use perf_event::{Builder, SampleFlag, Sampler};

use crate::probe::Tally;
use crate::symbols::Symbols;

/// How many samples a second all processors take together, and each of them at least and at most.
/// More would cost the watcher more than it may.
const HERTZ: u64 = 2000;
const HERTZ_AT_LEAST: u64 = 49;
const HERTZ_AT_MOST: u64 = 997;
/// Room for some 10,000 samples of a processor between two readings.
const RING_BYTES: usize = 512 << 10;

pub(super) struct Sampling {
    /// Read when there is time: there are more than 100,000.
    symbols: Option<Symbols>,
    samplers: Vec<Sampler>,
    tallies: HashMap<u32, Tally>,
}

impl std::fmt::Debug for Sampling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sampling of {} processors", self.samplers.len())
    }
}

impl Sampling {
    /// Starts to sample.
    pub(super) fn start() -> io::Result<Self> {
        let processors = online()?;
        let hertz = HERTZ / processors.len().max(1) as u64;
        let hertz = hertz.clamp(HERTZ_AT_LEAST, HERTZ_AT_MOST);
        let mut samplers = Vec::new();
        for processor in processors {
            let mut sampler = Builder::new(Software::CPU_CLOCK)
                .any_pid()
                .one_cpu(processor)
                .include_kernel()
                .sample(SampleFlag::IP | SampleFlag::TID)
                .sample_frequency(hertz)
                .build()?
                .sampled(RING_BYTES)?;
            sampler.enable()?;
            samplers.push(sampler);
        }
        Ok(Self {
            symbols: None,
            samplers,
            tallies: HashMap::new(),
        })
    }

    /// Reads the names of the kernel's functions, without which samples say nothing.
    pub(super) fn prepare(&mut self) -> io::Result<()> {
        if self.symbols.is_none() {
            let symbols = Symbols::read()?;
            if !symbols.has_addresses() {
                return Err(hidden_addresses());
            }
            self.symbols = Some(symbols);
        }
        Ok(())
    }

    /// Takes the samples out of the kernel, so that there is room for more.
    pub(super) fn drain(&mut self) {
        let Some(symbols) = &self.symbols else { return };
        for sampler in &mut self.samplers {
            while let Some(record) = sampler.next_record() {
                let Ok(Record::Sample(sample)) = record.parse_record() else {
                    continue;
                };
                // The idle task has the number 0.
                let Some(pid) = sample.pid().filter(|pid| *pid != 0) else {
                    continue;
                };
                let function = sample.ip().and_then(|address| symbols.at(address));
                self.tallies.entry(pid).or_default().add(function);
            }
        }
    }

    /// The samples of each process since the last call.
    pub(super) fn take(&mut self) -> HashMap<u32, Tally> {
        self.drain();
        std::mem::take(&mut self.tallies)
    }
}

/// With 2, the kernel hides them from root, too (sysctl/kernel.rst).
fn hidden_addresses() -> io::Error {
    let restriction = std::fs::read_to_string("/proc/sys/kernel/kptr_restrict");
    if restriction.is_ok_and(|text| text.trim() == "2") {
        io::Error::other("the kernel hides its addresses (kernel.kptr_restrict is 2)")
    } else {
        let why = "the kernel hides its addresses";
        io::Error::new(io::ErrorKind::PermissionDenied, why)
    }
}

/// The numbers of the processors that are online, such as `0-3,6`.
fn online() -> io::Result<Vec<usize>> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/online")?;
    parse(text.trim()).ok_or_else(|| io::Error::other("the processors' list is not readable"))
}

fn parse(text: &str) -> Option<Vec<usize>> {
    let mut found = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        found.extend(first.parse().ok()?..=last.parse::<usize>().ok()?);
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors_are_parsed() {
        assert_eq!(parse("0-2,5"), Some(vec![0, 1, 2, 5]));
        assert_eq!(parse("0"), Some(vec![0]));
        assert_eq!(parse("x"), None);
    }
}
