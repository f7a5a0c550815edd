//! The interactive load: one message at a time, there and back, by one thread that plays both ends.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::pair::Pair;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::sys;

/// What was measured in the window.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Pinged {
    pub(crate) seconds: f64,
    /// How often the messages went there and back.
    pub(crate) trips: u64,
    pub(crate) relay_cpu_s: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) max_us: f64,
}

/// Sends messages of these sizes again and again, each as soon as the previous one is back: for
/// `warmup`, and then for `window`, which alone is counted. A trip is one message of each size.
/// `relay_cpu` is called at both ends of the window.
pub(crate) fn ping(
    pair: &Pair,
    sizes: &[usize],
    (warmup, window): (Duration, Duration),
    relay_cpu: &dyn Fn() -> Result<Duration>,
) -> Result<Pinged> {
    let mut messages = Messages::new(sizes);
    messages.exchange(pair, warmup)?;
    let clock = Clock::start(relay_cpu)?;
    let mut latencies = messages.exchange(pair, window)?;
    let spent = clock.stop()?;
    latencies.sort_unstable();
    let last = latencies.len().checked_sub(1);
    let last = last.ok_or_else(|| Error::new("no message came back in the window"))?;
    let quantile = |share: f64| {
        let at = (last as f64 * share).round() as usize;
        latencies[at].as_secs_f64() * 1e6
    };
    Ok(Pinged {
        seconds: spent.seconds,
        trips: latencies.len() as u64,
        relay_cpu_s: spent.cpu_s,
        p50_us: quantile(0.5),
        p99_us: quantile(0.99),
        max_us: quantile(1.0),
    })
}

struct Messages {
    sizes: Vec<usize>,
    /// A buffer as long as the largest message; shorter messages are its beginning.
    message: Vec<u8>,
    got: Vec<u8>,
    count: u64,
}

impl Messages {
    fn new(sizes: &[usize]) -> Self {
        let most = sizes.iter().copied().max().unwrap_or_default();
        Self {
            sizes: sizes.to_vec(),
            message: (0..most).map(|at| (at * 7 + at / 251) as u8).collect(),
            got: vec![0; most],
            count: 0,
        }
    }

    fn exchange(&mut self, pair: &Pair, time: Duration) -> Result<Vec<Duration>> {
        let started = Instant::now();
        let mut latencies = Vec::new();
        let mut now = started;
        while now.duration_since(started) < time {
            self.trip(pair)?;
            let asked = std::mem::replace(&mut now, Instant::now());
            latencies.push(now.duration_since(asked));
            if sys::interrupted() {
                return Err(Error::new("interrupted"));
            }
        }
        Ok(latencies)
    }

    fn trip(&mut self, pair: &Pair) -> Result<()> {
        for &size in &self.sizes {
            // Each message differs from the previous one.
            self.count += 1;
            self.message[..8].copy_from_slice(&self.count.to_le_bytes());
            pair.there_and_back(&self.message[..size], &mut self.got[..size])?;
        }
        Ok(())
    }
}
