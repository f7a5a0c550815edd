//! The kernel's own counters of entries into it: tracepoints under perf_event_open(2), for the
//! sending thread only.

use std::io;

use perf_event::events::Tracepoint;
use perf_event::{Builder, Counter};

use super::{About, Counted, Probe};
use crate::tracefs::Tracefs;

const SYSTEM_CALLS: &str = "raw_syscalls/sys_enter";
/// Only x86 has this tracepoint; elsewhere, page faults in user mode are not counted.
const USER_FAULTS: &str = "exceptions/page_fault_user";

#[derive(Debug)]
pub(crate) struct Tracepoints {
    syscalls: Meter,
    user_faults: Option<Meter>,
}

impl Tracepoints {
    pub(super) const ABOUT: About = About {
        name: "tracepoints",
        counts: "system calls, and page faults taken in user mode, of the sending thread (raw_syscalls, exceptions)",
    };

    /// Counts for the calling thread.
    pub(crate) fn new(tracefs: &Tracefs) -> io::Result<(Self, Option<String>)> {
        let syscalls = Meter::new(tracefs, SYSTEM_CALLS)?;
        let user_faults = Meter::new(tracefs, USER_FAULTS);
        let note = user_faults.as_ref().err().map(|error| {
            format!("page faults in user mode are not counted: {USER_FAULTS}: {error}")
        });
        let probe = Self {
            syscalls,
            user_faults: user_faults.ok(),
        };
        Ok((probe, note))
    }

    fn meters(&mut self) -> impl Iterator<Item = &mut Meter> {
        // The counter of system calls is last in this order, so it sees a fixed number of calls for
        // stopping the other one.
        self.user_faults.iter_mut().chain([&mut self.syscalls])
    }
}

impl Probe for Tracepoints {
    fn start(&mut self) -> io::Result<()> {
        self.meters().try_for_each(Meter::start)
    }

    fn stop(&mut self) -> io::Result<()> {
        // The counter of calls is stopped first. The call that stops it is the one call too many.
        self.syscalls.counter.disable()?;
        self.user_faults
            .iter_mut()
            .try_for_each(|meter| meter.counter.disable())
    }

    fn collect(&mut self, counted: &mut Counted) -> io::Result<()> {
        let own = 1;
        counted.syscalls = Some(self.syscalls.counter.read()?.saturating_sub(own));
        if let Some(meter) = &mut self.user_faults {
            counted.user_faults = Some(meter.counter.read()?);
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Meter {
    counter: Counter,
}

impl Meter {
    fn new(tracefs: &Tracefs, event: &str) -> io::Result<Self> {
        let event = Tracepoint::with_id(tracefs.event_id(event)?);
        let counter = Builder::new(event)
            .observe_self()
            .any_cpu()
            .include_kernel()
            .build()?;
        Ok(Self { counter })
    }

    fn start(&mut self) -> io::Result<()> {
        self.counter.reset()?;
        self.counter.enable()
    }
}
