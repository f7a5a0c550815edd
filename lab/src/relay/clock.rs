//! What a window took: time, the relay's CPU time, and that of the thread that drives it.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::error::Result;

pub(super) struct Clock<'a> {
    relay_cpu: &'a dyn Fn() -> Result<Duration>,
    started: Instant,
    relay: Duration,
    own: Duration,
}

pub(super) struct Spent {
    pub(super) seconds: f64,
    pub(super) relay_cpu_s: f64,
    pub(super) own_cpu_s: f64,
}

impl<'a> Clock<'a> {
    pub(super) fn start(relay_cpu: &'a dyn Fn() -> Result<Duration>) -> Result<Self> {
        Ok(Self {
            relay: relay_cpu()?,
            own: thread_cpu(),
            started: Instant::now(),
            relay_cpu,
        })
    }

    pub(super) fn stop(self) -> Result<Spent> {
        let seconds = self.started.elapsed().as_secs_f64();
        let own_cpu_s = thread_cpu().saturating_sub(self.own).as_secs_f64();
        let relay = (self.relay_cpu)()?.saturating_sub(self.relay);
        Ok(Spent {
            seconds,
            relay_cpu_s: relay.as_secs_f64(),
            own_cpu_s,
        })
    }
}

fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
