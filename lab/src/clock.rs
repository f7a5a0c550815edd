//! What a window took: time, the CPU time of the measured program, and that of the thread that
//! drives it.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::error::Result;

pub(crate) struct Clock<'a> {
    measured_cpu: &'a dyn Fn() -> Result<Duration>,
    started: Instant,
    measured: Duration,
    own: Duration,
    waited: Duration,
}

pub(crate) struct Spent {
    pub(crate) seconds: f64,
    /// CPU time of the measured program.
    pub(crate) cpu_s: f64,
    /// CPU time of the driving thread.
    pub(crate) own_cpu_s: f64,
    /// How long that thread was ready to run while its processor ran others.
    pub(crate) own_wait_s: f64,
}

impl<'a> Clock<'a> {
    pub(crate) fn start(measured_cpu: &'a dyn Fn() -> Result<Duration>) -> Result<Self> {
        Ok(Self {
            measured: measured_cpu()?,
            own: thread_cpu(),
            waited: thread_wait(),
            started: Instant::now(),
            measured_cpu,
        })
    }

    pub(crate) fn stop(self) -> Result<Spent> {
        let seconds = self.started.elapsed().as_secs_f64();
        let since = |now: Duration, then| now.saturating_sub(then).as_secs_f64();
        Ok(Spent {
            seconds,
            own_cpu_s: since(thread_cpu(), self.own),
            own_wait_s: since(thread_wait(), self.waited),
            cpu_s: since((self.measured_cpu)()?, self.measured),
        })
    }
}

/// CPU time of this thread so far.
pub(crate) fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The time that the kernel counted since the thread began; zero if it does not count.
fn thread_wait() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = stat.split_whitespace().nth(1);
    Duration::from_nanos(nanos.and_then(|nanos| nanos.parse().ok()).unwrap_or(0))
}
