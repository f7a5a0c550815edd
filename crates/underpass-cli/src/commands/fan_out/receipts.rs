//! What is told of a subscriber or of the source when it has ended: a receipt for every one.

use std::fmt::{self, Display};
use std::fs;

use serde::Serialize;
use underpass::Receipt;
use underpass::fan_out::{SourceReceipt, SubscriberReceipt};

use crate::args::FanOutArgs;
use crate::exit::Failure;
use crate::report;
use crate::server::{self, LogSender, LogWriter, ReloadAction};

/// A line of `--receipt`.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum FanOutReceipt {
    /// Of one who gets a stream.
    Subscriber(SubscriberReceipt),
    /// Of the stream's source, and of all together.
    Source(SourceReceipt),
    /// Of one who gets a file.
    File(FileReceipt),
}

/// A file is given by a transfer of its own to each; what they share is the page cache.
#[derive(Debug, Serialize)]
pub(super) struct FileReceipt {
    #[serde(flatten)]
    pub(super) receipt: Receipt,
    /// Bytes that this process had devices read since it began, for all subscribers together
    /// (`read_bytes` of proc_pid_io(5)); nothing where the kernel does not tell.
    pub(super) device_bytes: Option<u64>,
}

impl fmt::Display for FanOutReceipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subscriber(receipt) => receipt.fmt(f),
            Self::Source(receipt) => receipt.fmt(f),
            Self::File(of_file) => {
                of_file.receipt.fmt(f)?;
                match of_file.device_bytes {
                    Some(bytes) => write!(f, "\n  disk       {bytes} bytes read so far, for all"),
                    None => Ok(()),
                }
            }
        }
    }
}

/// Bytes that this process has had devices read.
pub(super) fn device_bytes() -> Option<u64> {
    let io = fs::read_to_string("/proc/self/io").ok()?;
    let bytes = io
        .lines()
        .find_map(|line| line.strip_prefix("read_bytes: "))?;
    bytes.parse().ok()
}

/// The writing end's owner.
pub(super) struct ReceiptLog(Option<LogWriter<Box<FanOutReceipt>>>);

/// For the threads that serve.
#[derive(Clone)]
pub(super) struct SubscriberReporter {
    lines: Option<LogSender<Box<FanOutReceipt>>>,
    verbose: bool,
}

impl ReceiptLog {
    pub(super) fn start(args: &FanOutArgs) -> Result<Self, Failure> {
        let asked = &args.reporting;
        server::receipts(asked.form(), asked.receipt_file.as_deref()).map(Self)
    }

    pub(super) fn reporter(&self, args: &FanOutArgs) -> SubscriberReporter {
        SubscriberReporter {
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

impl SubscriberReporter {
    /// Receipts are asked for: what they need has to be found out.
    pub(super) fn wants_receipts(&self) -> bool {
        self.lines.is_some()
    }

    pub(super) fn receipt(&self, account: FanOutReceipt) {
        if let Some(lines) = &self.lines {
            lines.push(Box::new(account));
        }
    }

    /// That a subscriber was not given all.
    pub(super) fn ended_early(&self, peer: &str, why: impl Display) {
        if self.verbose {
            report::notice(format_args!("{peer}: {why}"));
        }
    }
}
