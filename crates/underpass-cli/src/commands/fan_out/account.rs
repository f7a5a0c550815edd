//! What is told of a subscriber or of the source when it has ended: a receipt for every one.

use std::fmt;
use std::fs;

use serde::Serialize;
use underpass::Receipt;
use underpass::fan_out::{SourceReceipt, SubscriberReceipt};

/// A line of `--receipt`.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Account {
    /// Of one who gets a stream.
    Subscriber(SubscriberReceipt),
    /// Of the stream's source, and of all together.
    Source(SourceReceipt),
    /// Of one who gets a file.
    File(OfFile),
}

/// A file is given by a transfer of its own to each; what they share is the page cache.
#[derive(Debug, Serialize)]
pub(super) struct OfFile {
    #[serde(flatten)]
    pub(super) receipt: Receipt,
    /// Bytes that this process had devices read since it began, for all subscribers together (`read_bytes` of
    /// proc_pid_io(5)); nothing where the kernel does not tell.
    pub(super) device_bytes: Option<u64>,
}

impl fmt::Display for Account {
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
