//! Who is told of what became of subscribers: standard output by receipts, standard error by lines.

use std::fmt::Display;

use super::Account;
use crate::args::FanOutArgs;
use crate::exit::Failure;
use crate::report;
use crate::server::{self, LogSender, LogWriter, ReloadAction};

/// The writing end's owner.
pub(super) struct Told(Option<LogWriter<Box<Account>>>);

/// For the threads that serve.
#[derive(Clone)]
pub(super) struct Telling {
    lines: Option<LogSender<Box<Account>>>,
    verbose: bool,
}

impl Told {
    pub(super) fn start(args: &FanOutArgs) -> Result<Self, Failure> {
        let asked = &args.reporting;
        server::receipts(asked.form(), asked.receipt_file.as_deref()).map(Self)
    }

    pub(super) fn telling(&self, args: &FanOutArgs) -> Telling {
        Telling {
            lines: self.0.as_ref().map(|writing| writing.lines().clone()),
            verbose: args.reporting.monitor.verbose,
        }
    }

    /// What SIGHUP renews.
    pub(super) fn renewals(&self) -> Vec<ReloadAction> {
        self.0.iter().filter_map(LogWriter::renewal).collect()
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
