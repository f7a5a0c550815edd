//! Who is told of what became of subscribers: standard output by receipts, standard error by lines.

use std::fmt::Display;

use super::Account;
use crate::args::FanOut;
use crate::exit::Failure;
use crate::report;
use crate::server::{self, Lines, Renewal, Writing};

/// The writing end's owner.
pub(super) struct Told(Option<Writing<Box<Account>>>);

/// For the threads that serve.
#[derive(Clone)]
pub(super) struct Telling {
    lines: Option<Lines<Box<Account>>>,
    verbose: bool,
}

impl Told {
    pub(super) fn start(args: &FanOut) -> Result<Self, Failure> {
        let asked = &args.observing;
        server::receipts(asked.form(), asked.receipt_file.as_deref()).map(Self)
    }

    pub(super) fn telling(&self, args: &FanOut) -> Telling {
        Telling {
            lines: self.0.as_ref().map(|writing| writing.lines().clone()),
            verbose: args.observing.telling.verbose,
        }
    }

    /// What SIGHUP renews.
    pub(super) fn renewals(&self) -> Vec<Renewal> {
        self.0.iter().filter_map(Writing::renewal).collect()
    }

    /// Waits until all is written.
    pub(super) fn finish(self) {
        if let Some(writing) = self.0 {
            writing.finish();
        }
    }
}

impl Telling {
    /// Receipts are asked for: what they need has to be found out.
    pub(super) fn wants_receipts(&self) -> bool {
        self.lines.is_some()
    }

    pub(super) fn account(&self, account: Account) {
        if let Some(lines) = &self.lines {
            lines.push(Box::new(account));
        }
    }

    /// That a subscriber was not given all.
    pub(super) fn early(&self, peer: &str, why: impl Display) {
        if self.verbose {
            report::notice(format_args!("{peer}: {why}"));
        }
    }
}
