//! Where the sending thread's CPU time goes: perf clock sampling (perf_event_open(2)) estimates
//! which share is spent in functions that copy, with its uncertainty.

use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use perf_event::data::Record;
use perf_event::events::Software;
use perf_event::{Builder, SampleFlag, Sampler};

use super::{About, Counted, Probe};
use crate::report::{Sampled, SampledFunction};
use crate::symbols::Symbols;

/// A prime number, so that the samples do not fall in step with the kernel's own clock.
const HERTZ: u64 = 3989;
/// Room for some 20,000 samples between two readings.
const RING_BYTES: usize = 512 << 10;

/// The kernel's functions that copy data. Some are only the beginning of a name, because the ending
/// differs between kernels.
const COPIES: &[&str] = &[
    "_copy_to_iter",
    "_copy_from_iter",
    "_copy_to_user",
    "_copy_from_user",
    "__arch_copy_to_user",
    "__arch_copy_from_user",
    "rep_movs_alternative",
    "copy_user_",
    "copy_page_to_iter",
    "copy_page_from_iter",
    "copy_folio_",
    "copy_mc_",
    "skb_copy_",
    "csum_partial_copy",
    "csum_and_copy",
    "memcpy",
    "__memcpy",
    "__pi_memcpy",
    "copy_page",
];

pub(crate) struct Sampling {
    symbols: Rc<Symbols>,
    sampler: Sampler,
}

/// How often the thread was sampled, and in which of the functions that copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) samples: u64,
    copies: BTreeMap<String, u64>,
}

impl Sampling {
    pub(super) const ABOUT: About = About {
        name: "sampling",
        counts: "share of the sending thread's CPU time in functions that copy (perf clock sampling)",
    };

    /// Starts to sample the calling thread.
    pub(crate) fn new(symbols: &Rc<Symbols>) -> io::Result<Self> {
        if !symbols.has_addresses() {
            return Err(io::Error::other(
                "the kernel hides its addresses (kernel.kptr_restrict)",
            ));
        }
        let event = Software::CPU_CLOCK;
        let sampler = Builder::new(event)
            .observe_self()
            .any_cpu()
            .include_kernel()
            .sample(SampleFlag::IP)
            .sample_frequency(HERTZ)
            .build()?
            .sampled(RING_BYTES)?;
        Ok(Self {
            symbols: Rc::clone(symbols),
            sampler,
        })
    }
}

impl Probe for Sampling {
    fn start(&mut self) -> io::Result<()> {
        while self.sampler.next_record().is_some() {}
        self.sampler.enable()
    }

    fn stop(&mut self) -> io::Result<()> {
        self.sampler.disable()
    }

    fn collect(&mut self, counted: &mut Counted) -> io::Result<()> {
        let tally = counted.sampled.get_or_insert_default();
        while let Some(record) = self.sampler.next_record() {
            let Ok(Record::Sample(sample)) = record.parse_record() else {
                continue;
            };
            tally.add(sample.ip().and_then(|address| self.symbols.at(address)));
        }
        Ok(())
    }
}

impl Tally {
    pub(crate) fn add(&mut self, function: Option<&str>) {
        self.samples += 1;
        if let Some(name) = function.filter(|name| copies(name)) {
            *self.copies.entry(name.to_owned()).or_default() += 1;
        }
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.samples += other.samples;
        for (name, samples) in other.copies {
            *self.copies.entry(name).or_default() += samples;
        }
    }

    pub(crate) fn report(self) -> Option<Sampled> {
        let in_copies = self.copies.values().sum();
        let (low, high) = interval(in_copies, self.samples)?;
        let named = |(name, samples)| SampledFunction { name, samples };
        let mut functions: Vec<_> = self.copies.into_iter().map(named).collect();
        functions.sort_by_key(|function| std::cmp::Reverse(function.samples));
        Some(Sampled {
            samples: self.samples,
            in_copies,
            share: in_copies as f64 / self.samples as f64,
            low,
            high,
            functions,
        })
    }
}

fn copies(function: &str) -> bool {
    COPIES.iter().any(|known| function.starts_with(known))
}

/// The 95 % interval of a share of `part` in `whole`, by Wilson. It is also right for shares of 0
/// and for few samples, where the usual formula gives an interval of no width.
fn interval(part: u64, whole: u64) -> Option<(f64, f64)> {
    const Z: f64 = 1.96;
    if whole == 0 {
        return None;
    }
    let n = whole as f64;
    let share = part as f64 / n;
    let middle = share + Z * Z / (2.0 * n);
    let half = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    Some((
        ((middle - half) / scale).max(0.0),
        ((middle + half) / scale).min(1.0),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_wilsons() {
        // Newcombe, Statistics in Medicine 17 (1998), table I: 81 of 263, 15 of 148, 0 of 20.
        for (part, whole, low, high) in [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
        ] {
            let (found_low, found_high) = interval(part, whole).unwrap();
            assert!((found_low - low).abs() < 1e-4 && (found_high - high).abs() < 1e-4);
        }
        assert_eq!(interval(0, 0), None);
    }

    #[test]
    fn functions_that_copy_are_told_from_others() {
        let mut tally = Tally::default();
        for seen in [
            "_copy_to_iter",
            "tcp_ack",
            "rep_movs_alternative",
            "_copy_to_iter",
        ] {
            tally.add(Some(seen));
        }
        tally.add(None);
        let sampled = tally.report().unwrap();
        assert_eq!((sampled.samples, sampled.in_copies), (5, 3));
        assert_eq!(sampled.functions[0].name, "_copy_to_iter");
        assert_eq!(Tally::default().report(), None);
    }
}
