//! Watches programs, interval by interval.

use std::thread;
use std::time::{Duration, Instant};

use underpass::Cancel;

use super::{Activity, TopSettings};
use crate::Error;

/// How often a waiting watcher looks whether it is cancelled.
const LOOK: Duration = Duration::from_millis(50);

/// Counts what programs do, from its start until it is dropped. Nothing of it stays behind: the
/// kernel removes it with the last descriptor, also if the process is killed.
#[derive(Debug)]
pub struct Watcher {
    last: Instant,
}

impl Watcher {
    /// Starts to count.
    ///
    /// # Errors
    ///
    /// Not even /proc can be read. Whatever else cannot be had is a note of each [`Activity`].
    pub fn start(settings: &TopSettings) -> Result<Self, Error> {
        let _ = settings;
        Ok(Self {
            last: Instant::now(),
        })
    }

    /// Waits until `deadline`, or until `cancel` is cancelled, and tells what happened since the
    /// last call, or since the start. A deadline that is over does not wait.
    ///
    /// # Errors
    ///
    /// The kernel no longer gives the counts.
    pub fn next(&mut self, deadline: Instant, cancel: Option<&Cancel>) -> Result<Activity, Error> {
        while Instant::now() < deadline && !cancel.is_some_and(Cancel::is_cancelled) {
            thread::sleep(LOOK.min(deadline.saturating_duration_since(Instant::now())));
        }
        let now = Instant::now();
        let activity = Activity {
            seconds: (now - self.last).as_secs_f64(),
            notes: vec!["this version does not count anything yet".to_owned()],
            ..Activity::default()
        };
        self.last = now;
        Ok(activity)
    }
}
