//! Exact counts of copied and encrypted bytes: kprobe events with histogram triggers (kernel
//! documents trace/kprobetrace.rst and trace/histogram.rst) in the functions that copy, or that
//! call the library functions that do.
//!
//! Functions of the kernel's lib/ cannot be probed, but their callers can. Some callers copy only
//! part of what they handle, so the bytes of a hop are a sum in which some terms are subtracted;
//! `functions` lists the terms.

use std::fmt::Write;
use std::io;
use std::rc::Rc;

use super::{About, Counted, Probe, Sum, Work};
use crate::report::HopKind;
use crate::symbols::Symbols;
use crate::tracefs::Tracefs;

mod events;
pub(crate) mod functions;
mod histogram;

use events::{Event, Reading};
use functions::{FUNCTIONS, Function};

pub(super) use events::remove_stale;

/// The share of calls that may be missed before a sum is no longer valid: a tenth of the tolerance
/// of a claim.
const MISSED_AT_MOST: f64 = 0.001;

#[derive(Debug)]
pub(crate) struct Kprobes {
    sums: Vec<Terms>,
}

/// The terms of the sum for some work.
#[derive(Debug)]
struct Terms {
    work: Work,
    terms: Vec<Term>,
}

#[derive(Debug)]
struct Term {
    function: &'static Function,
    event: Event,
    /// What the event had counted at the start. It never counts from 0 again.
    before: Reading,
}

impl Kprobes {
    pub(super) const ABOUT: About = About {
        name: "kprobes",
        counts: "bytes copied by the CPU, hop by hop, and bytes encrypted by the kernel, exactly (kprobe events with histogram triggers)",
    };

    /// Places the probes that can be placed, those of encryption only if the kernel does any
    /// (`encrypts`). The note says which could not be, and what is therefore not counted.
    pub(crate) fn new(
        tracefs: &Rc<Tracefs>,
        symbols: &Symbols,
        encrypts: bool,
    ) -> io::Result<(Self, Option<String>)> {
        tracefs
            .read("kprobe_events")
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => {
                    io::Error::other("this kernel has no kprobe events (CONFIG_KPROBE_EVENTS)")
                }
                _ => error,
            })?;
        let mut notes = Vec::new();
        let mut sums = Vec::new();
        let hops = [
            HopKind::KernelToUser,
            HopKind::SocketToUser,
            HopKind::UserToSocket,
            HopKind::KernelToSocket,
        ];
        let copying = hops.into_iter().map(Work::Copy);
        for work in copying.chain(encrypts.then_some(Work::Encrypt)) {
            match terms_of(work, tracefs, symbols) {
                Ok(terms) => sums.push(Terms { work, terms }),
                Err(why) => notes.push(why),
            }
        }
        if sums.is_empty() {
            return Err(io::Error::other(notes.join("; ")));
        }
        let note = (!notes.is_empty()).then(|| notes.join("; "));
        Ok((Self { sums }, note))
    }
}

/// Places the probes of one sum. If one of them cannot be placed, nothing is counted.
fn terms_of(work: Work, tracefs: &Rc<Tracefs>, symbols: &Symbols) -> Result<Vec<Term>, String> {
    let kernel = functions::running_kernel();
    let mut terms = Vec::new();
    for function in FUNCTIONS
        .iter()
        .filter(|f| f.work == work && f.is_in(kernel))
    {
        match Event::new(tracefs, function, symbols) {
            Ok(event) => terms.push(Term {
                function,
                event,
                before: Reading::default(),
            }),
            Err(_) if !function.needed && !symbols.has(function.symbol) => {}
            Err(error) => {
                let name = function.symbol;
                return Err(format!(
                    "{name} could not be placed ({error}), so {work} is not counted"
                ));
            }
        }
    }
    Ok(terms)
}

impl Probe for Kprobes {
    fn start(&mut self) -> io::Result<()> {
        let terms = self.sums.iter_mut().flat_map(|sum| &mut sum.terms);
        terms.into_iter().try_for_each(|term| {
            term.before = term.event.reading()?;
            Ok(())
        })
    }

    fn stop(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn collect(&mut self, counted: &mut Counted) -> io::Result<()> {
        for terms in &self.sums {
            counted.sums.push(terms.sum()?);
        }
        Ok(())
    }
}

impl Terms {
    fn sum(&self) -> io::Result<Sum> {
        let mut sum = 0_i64;
        let (mut seen, mut missed) = (0, 0);
        for Term {
            function,
            event,
            before,
        } in &self.terms
        {
            let now = event.reading()?;
            let bytes = (now.bytes - before.bytes) as i64;
            sum += if function.adds { bytes } else { -bytes };
            seen += now.calls.seen - before.calls.seen;
            missed += now.calls.missed - before.calls.missed;
        }
        Ok(Sum {
            work: self.work,
            // It is not known whether missed bytes would have to be added or subtracted.
            bytes: u64::try_from(sum)
                .ok()
                .filter(|_| missed as f64 <= seen as f64 * MISSED_AT_MOST),
            at: self.describe(missed),
        })
    }

    /// Describes the sum, such as `filemap_read + shmem_file_read_iter`.
    fn describe(&self, missed: u64) -> String {
        let mut text = String::new();
        for term in &self.terms {
            let sign = if term.function.adds { " + " } else { " - " };
            text.push_str(sign);
            text.push_str(term.function.symbol);
        }
        let mut text = text.trim_start_matches(" + ").to_owned();
        if self.terms.iter().any(|term| !term.function.by_sender) {
            text.push_str(", on the whole machine");
        }
        if missed > 0 {
            // Writing to a String does not fail.
            let _ = write!(text, "; {missed} calls were missed");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_that_the_kernel_calls_otherwise_is_named_with_what_is_not_counted() {
        let tracefs = match Tracefs::open() {
            Ok(tracefs) => Rc::new(tracefs),
            Err(error) => return eprintln!("skipped: tracefs: {error}"),
        };
        let why = terms_of(
            Work::Copy(HopKind::UserToSocket),
            &tracefs,
            &Symbols::default(),
        )
        .unwrap_err();
        assert_eq!(
            why,
            "tcp_sendmsg_locked could not be placed (this kernel has no function of that name), so user buffer to socket \
             buffer is not counted"
        );
    }
}
