//! The settings of a transfer.

use std::sync::Arc;
use std::time::Duration;

use crate::cancel::Cancel;
use crate::layer::Layer;
use crate::plan::Promise;
use crate::route::Route;

/// The most bytes one step delivers, unless [`Transfer::budget`](crate::Transfer::budget) says
/// otherwise. 4 MiB take less than a millisecond over loopback, so a cancellation or another task
/// does not wait long.
pub const DEFAULT_BUDGET: u64 = 4 << 20;

/// The progress of a transfer, for a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes delivered.
    pub bytes: u64,
    /// All bytes to deliver, if the number is known.
    pub total: Option<u64>,
}

impl Progress {
    /// The progress of a work of which this transfer is a part, `before` bytes into it. Its total
    /// is not known.
    #[must_use]
    pub const fn after(self, before: u64) -> Self {
        Self {
            bytes: before + self.bytes,
            total: None,
        }
    }
}

type Edit<'a> = Box<dyn FnMut(&mut Vec<u8>) + Send + 'a>;
type OnProgress<'a> = Box<dyn FnMut(Progress) + Send + 'a>;

/// The settings of a transfer.
pub(super) struct TransferSettings<'a> {
    pub(super) range: Option<(u64, Option<u64>)>,
    pub(super) route: Option<Route>,
    pub(super) promise: Promise,
    pub(super) budget: u64,
    pub(super) edit: Option<Edit<'a>>,
    pub(super) progress: Option<OnProgress<'a>>,
    pub(super) cancel: Option<Cancel>,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) source_name: Option<String>,
    pub(super) sink_name: Option<String>,
    pub(super) source_layer: Option<Arc<dyn Layer>>,
    pub(super) sink_layer: Option<Arc<dyn Layer>>,
    /// Another transfer to the same sink follows at once.
    pub(super) more_follows: bool,
    /// It is a part of a sequence, which counts the thread's usage itself.
    pub(super) is_part: bool,
}

impl TransferSettings<'_> {
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.as_ref().is_some_and(Cancel::is_cancelled)
    }
}

impl Default for TransferSettings<'_> {
    fn default() -> Self {
        Self {
            range: None,
            route: None,
            promise: Promise::Shared,
            budget: DEFAULT_BUDGET,
            edit: None,
            progress: None,
            cancel: None,
            idle_timeout: None,
            source_name: None,
            sink_name: None,
            source_layer: None,
            sink_layer: None,
            more_follows: false,
            is_part: false,
        }
    }
}
