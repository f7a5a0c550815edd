//! Receipts of subscribers and of the source, and messages about subscribers that ended early.

use std::fmt::{self, Display};
use std::fs;

use serde::Serialize;
use underpass::fan_out::{SourceReceipt, SubscriberReceipt};
use underpass::{Printable, Receipt, units};

use crate::args::FanOutArgs;
use crate::exit::Failure;
use crate::report;
use crate::server::{self, LogSender, LogWriter, ReloadAction};

/// A receipt, as `--receipt` prints it.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum FanOutReceipt {
    /// Receipt of one subscriber of a stream.
    Subscriber(SubscriberReceipt),
    /// Receipt of the source of a stream, with totals of all subscribers.
    Source(SourceReceipt),
    /// Receipt of one subscriber of a file.
    File(FileReceipt),
}

/// Receipt of one file subscriber.
#[derive(Debug, Serialize)]
pub(super) struct FileReceipt {
    #[serde(flatten)]
    pub(super) receipt: Receipt,
    /// Bytes that this process has read from devices since it began, for all subscribers together
    /// (`read_bytes` of proc_pid_io(5)). `None` if the kernel does not tell.
    pub(super) device_bytes: Option<u64>,
}

impl FanOutReceipt {
    /// The receipt in one line.
    fn summary(&self) -> String {
        match self {
            Self::Subscriber(receipt) => receipt.summary(),
            Self::Source(receipt) => receipt.summary(),
            Self::File(FileReceipt { receipt, .. }) => {
                let name = Printable(&receipt.sink.name);
                let state = if receipt.complete { "" } else { "incomplete: " };
                format!("{name}: {state}{}", receipt.summary())
            }
        }
    }
}

impl fmt::Display for FanOutReceipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subscriber(receipt) => receipt.fmt(f),
            Self::Source(receipt) => receipt.fmt(f),
            Self::File(of_file) => {
                of_file.receipt.fmt(f)?;
                match of_file.device_bytes {
                    Some(bytes) => {
                        let bytes = units::count(bytes, "byte");
                        write!(f, "\n  disk       {bytes} read so far, for all")
                    }
                    None => Ok(()),
                }
            }
        }
    }
}

/// The number of bytes that this process has read from devices.
pub(super) fn device_bytes() -> Option<u64> {
    let io = fs::read_to_string("/proc/self/io").ok()?;
    let bytes = io
        .lines()
        .find_map(|line| line.strip_prefix("read_bytes: "))?;
    bytes.parse().ok()
}

/// Owns the log that receipts are written to, if any are.
pub(super) struct ReceiptLog(Option<LogWriter<Box<FanOutReceipt>>>);

/// Reports on subscribers, for the serving threads.
#[derive(Clone)]
pub(super) struct SubscriberReporter {
    lines: Option<LogSender<Box<FanOutReceipt>>>,
    verbose: bool,
}

impl ReceiptLog {
    pub(super) fn start(args: &FanOutArgs) -> Result<Self, Failure> {
        let asked = &args.reporting;
        let path = asked.receipt_file.as_deref();
        let (form, verbose) = (asked.form(), asked.monitor.verbose);
        server::receipts(form, path, verbose, FanOutReceipt::summary).map(Self)
    }

    pub(super) fn reporter(&self, args: &FanOutArgs) -> SubscriberReporter {
        SubscriberReporter {
            lines: self.0.as_ref().map(|writing| writing.lines().clone()),
            verbose: args.reporting.monitor.verbose,
        }
    }

    /// The actions that SIGHUP runs.
    pub(super) fn renewals(&self) -> Vec<ReloadAction> {
        self.0.iter().filter_map(LogWriter::renewal).collect()
    }

    /// Waits until all receipts are written.
    pub(super) fn finish(self) {
        if let Some(writing) = self.0 {
            writing.finish();
        }
    }
}

impl SubscriberReporter {
    /// Whether receipts are written, so that their data has to be collected.
    pub(super) fn wants_receipts(&self) -> bool {
        self.lines.is_some()
    }

    pub(super) fn receipt(&self, receipt: FanOutReceipt) {
        if let Some(lines) = &self.lines {
            lines.push(Box::new(receipt));
        }
    }

    /// Reports that a subscriber did not get everything.
    pub(super) fn ended_early(&self, peer: &str, why: impl Display) {
        if self.verbose {
            report::notice(format_args!("{peer}: {why}"));
        }
    }
}
