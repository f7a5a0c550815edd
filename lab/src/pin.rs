//! Keeps sender and receiver on different processors.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::error::{Context, Error, Result};

/// On which processors the two ends run. If unpinned, the scheduler decides.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pinning {
    enabled: bool,
}

/// The processor of the sending side: this thread and the processes that it starts, which inherit
/// the mask.
const SENDER_CPU: usize = 0;
const SINK_CPU: usize = 1;

impl Pinning {
    /// Checks that both processors may be used, before any measurement relies on it.
    pub(crate) fn new(enabled: bool) -> Result<Self> {
        if enabled {
            let usable =
                sched_getaffinity(None).context(|| "cannot read the processor mask".into())?;
            if !(usable.is_set(SENDER_CPU) && usable.is_set(SINK_CPU)) {
                return Err(Error::new(
                    "processors 0 and 1 are not both usable here: run with --no-pin",
                ));
            }
        }
        Ok(Self { enabled })
    }

    pub(crate) fn pin_sender(self) -> Result<()> {
        self.pin(SENDER_CPU)
    }

    pub(crate) fn pin_sink(self) -> Result<()> {
        self.pin(SINK_CPU)
    }

    /// Describes the placement for the header of a run.
    pub(crate) fn describe(self, senders: &str, sink: &str) -> String {
        if self.enabled {
            format!("{senders} on cpu {SENDER_CPU}, {sink} on cpu {SINK_CPU}")
        } else {
            "not pinned".to_owned()
        }
    }

    fn pin(self, cpu: usize) -> Result<()> {
        if !self.enabled {
            return Ok(());
        }
        let mut only = CpuSet::new();
        only.set(cpu);
        sched_setaffinity(None, &only).context(|| format!("cannot pin to cpu {cpu}"))
    }
}
