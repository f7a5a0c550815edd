//! Watches programs, interval by interval.

use std::collections::HashMap;
use std::io;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use underpass::{Cancel, Usage};

use super::bpf::Bpf;
use super::counted::Counted;
use super::procfs::{self, Stat};
use super::sampling::Sampling;
use super::scope::Scope;
use super::summed::Summed;
use super::{Activity, Overhead, ProcessActivity, Source, TopSettings};
use crate::Error;
use crate::error::Context;
use crate::probe::refusal;

/// How often a waiting watcher makes room for more samples.
const DRAIN: Duration = Duration::from_secs(2);

/// Counts what programs do, from its start until it is dropped. Nothing of it stays behind: the
/// kernel removes it with the last descriptor, also if the process is killed.
///
/// As root, BPF programs count each call. Otherwise, or where the kernel has no BPF, /proc tells
/// less, and each [`Activity`] has a note about that.
///
/// ```no_run
/// use std::time::{Duration, Instant};
/// use underpass_measure::top::{TopSettings, Watcher};
///
/// let mut settings = TopSettings::default();
/// settings.processes = vec![4711];
/// let mut watcher = Watcher::start(&settings)?;
/// let activity = watcher.next(Instant::now() + Duration::from_secs(2), None)?;
/// let server = activity.process(4711).expect("it has served something");
/// assert!(server.copies_per_byte().unwrap() <= 0.01);
/// # Ok::<(), underpass_measure::Error>(())
/// ```
#[derive(Debug)]
pub struct Watcher {
    scope: Scope,
    counter: Counter,
    sampling: Option<Sampling>,
    /// What cannot be had, for every activity.
    notes: Vec<String>,
    /// Whether a note says already what rights would add.
    is_refused: bool,
    /// The processes as they were the last time.
    stats: HashMap<u32, Stat>,
    last: Instant,
    /// CPU time of the watcher that no activity has told yet.
    used: Duration,
}

/// The number of this process as /proc has it, which is what [`TopSettings::processes`] and
/// [`ProcessActivity::pid`] are. [`std::process::id`] is another one if /proc is that of another
/// PID namespace, as after `unshare --pid --fork`.
///
/// ```
/// use underpass_measure::top::{TopSettings, own_pid};
///
/// let mut settings = TopSettings::default();
/// settings.processes = vec![own_pid()];
/// ```
pub fn own_pid() -> u32 {
    procfs::own().unwrap_or_else(std::process::id)
}

#[derive(Debug)]
enum Counter {
    Bpf(Box<Counted>),
    Proc(Summed),
}

impl Watcher {
    /// Starts to count.
    ///
    /// # Errors
    ///
    /// Not even /proc can be read. Whatever else cannot be had is a note of each [`Activity`].
    pub fn start(settings: &TopSettings) -> Result<Self, Error> {
        let before = Usage::of_thread();
        let stats = procfs::all().context(|| "/proc cannot be read".into())?;
        let mut notes = Vec::new();
        let mut is_refused = false;
        let namespace = procfs::namespace();
        if matches!(namespace, Ok(Some(_))) {
            notes.push("only processes of this PID namespace are shown".to_owned());
        }
        let counter = match namespace.and_then(Bpf::start) {
            Ok(bpf) => {
                notes.extend(bpf.notes.clone());
                Counter::Bpf(Box::new(Counted::new(bpf)))
            }
            Err(error) => {
                is_refused = lacks_rights(&error);
                notes.push(Summed::note(&error));
                Counter::Proc(Summed::start(&stats))
            }
        };
        let mut watcher = Self {
            scope: Scope::new(settings, &stats),
            counter,
            sampling: None,
            notes,
            is_refused,
            stats,
            last: Instant::now(),
            used: Duration::ZERO,
        };
        match settings.sample.then(start_sampling).transpose() {
            Ok(sampling) => watcher.sampling = sampling,
            Err(error) => watcher.note_no_samples(&error),
        }
        watcher.used = used_since(&before);
        Ok(watcher)
    }

    /// Waits until `deadline`, or until `cancel` is cancelled, and tells what happened since the
    /// last call, or since the start. A deadline that is over does not wait.
    ///
    /// # Errors
    ///
    /// The kernel no longer gives the counts.
    pub fn next(&mut self, deadline: Instant, cancel: Option<&Cancel>) -> Result<Activity, Error> {
        let before = Usage::of_thread();
        self.prepare_samples();
        self.wait(deadline, cancel);
        let mut activity = Activity {
            notes: self.notes.clone(),
            ..Activity::default()
        };
        match &mut self.counter {
            Counter::Bpf(counted) => {
                activity.source = Source::Bpf;
                let read = counted.next(&mut activity);
                read.context(|| "the kernel's counts cannot be read".into())?;
            }
            Counter::Proc(_) => {}
        }
        let stats = procfs::all().context(|| "/proc cannot be read".into())?;
        if let Counter::Proc(summed) = &mut self.counter {
            activity.processes = summed.next(&stats);
        }
        self.scope.keep(&mut activity.processes, &stats);
        self.describe(&mut activity.processes, &stats);
        let moved = |process: &ProcessActivity| process.bytes(|_| true);
        let order = |process: &ProcessActivity| (std::cmp::Reverse(moved(process)), process.pid);
        activity.processes.sort_by_key(order);
        self.stats = stats;
        let now = Instant::now();
        activity.seconds = (now - self.last).as_secs_f64();
        self.last = now;
        let used = std::mem::take(&mut self.used) + used_since(&before);
        activity.overhead = Overhead {
            watcher_cpu_seconds: used.as_secs_f64(),
            ..activity.overhead
        };
        Ok(activity)
    }

    /// Waits for a child, as [`Child::wait`] does. Where the calls cannot be counted, what the
    /// child moved, with its own children, is known only when it is waited for; this adds it to
    /// the next activity. Its CPU time is complete if it has ended before.
    ///
    /// # Errors
    ///
    /// As of [`Child::wait`].
    pub fn wait_for(&mut self, child: &mut Child) -> io::Result<ExitStatus> {
        match &mut self.counter {
            Counter::Bpf(_) => child.wait(),
            Counter::Proc(summed) => summed.wait_for(child),
        }
    }

    /// Does what counting need not wait for.
    fn prepare_samples(&mut self) {
        let prepared = self.sampling.as_mut().map_or(Ok(()), Sampling::prepare);
        if let Err(error) = prepared {
            self.sampling = None;
            self.note_no_samples(&error);
        }
    }

    fn note_no_samples(&mut self, error: &io::Error) {
        let why = match lacks_rights(error) {
            true if self.is_refused => return,
            true => refusal(error),
            false => error.to_string(),
        };
        let note = format!("CPU time in copies is not sampled: {why}");
        self.notes.push(note);
    }

    fn wait(&mut self, deadline: Instant, cancel: Option<&Cancel>) {
        let mut drained = Instant::now();
        while !cancel.is_some_and(Cancel::is_cancelled) {
            let now = Instant::now();
            let left = deadline.saturating_duration_since(now);
            if left.is_zero() {
                return;
            }
            if let Some(sampling) = self.sampling.as_mut().filter(|_| now - drained >= DRAIN) {
                sampling.drain();
                drained = now;
            }
            pause(left.min(DRAIN), cancel);
        }
    }

    /// Adds what /proc and the samples tell about the processes.
    fn describe(&mut self, processes: &mut [ProcessActivity], stats: &HashMap<u32, Stat>) {
        let mut tallies = self.sampling.as_mut().map(Sampling::take);
        for process in processes {
            let tally = tallies.as_mut().and_then(|all| all.remove(&process.pid));
            process.copying = tally.and_then(crate::probe::Tally::report);
            let before = self.stats.get(&process.pid);
            if process.has_ended {
                // Its whole life is known; what was told before is not told again.
                let told = before.map_or(0.0, |stat| seconds(stat.ticks));
                process.cpu_seconds = process.cpu_seconds.map(|all| (all - told).max(0.0));
                continue;
            }
            let Some(now) = stats.get(&process.pid) else {
                continue;
            };
            let before = before.filter(|before| before.start == now.start);
            let ticks = now.ticks - before.map_or(0, |stat| stat.ticks.min(now.ticks));
            process.cpu_seconds = Some(seconds(ticks));
            process.name.clone_from(&now.name);
            process.is_kernel_thread = now.is_kernel_thread;
            process.command = procfs::command(process.pid);
            process.cgroup = procfs::cgroup(process.pid);
        }
    }
}

/// Samples have the numbers of the PID namespace that this process is in.
fn start_sampling() -> io::Result<Sampling> {
    if procfs::own() != Some(std::process::id()) {
        let why = "/proc is that of another PID namespace";
        return Err(io::Error::other(why));
    }
    Sampling::start()
}

/// Sleeps for so long, or until `cancel` is cancelled; a signal may end it early.
fn pause(time: Duration, cancel: Option<&Cancel>) {
    let mut awaited: Vec<_> = cancel
        .map(|it| PollFd::new(it, PollFlags::IN))
        .into_iter()
        .collect();
    let time = Timespec::try_from(time).ok();
    // Whatever ended it, the caller looks at the clock.
    let _ = poll(&mut awaited, time.as_ref());
}

fn lacks_rights(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

fn seconds(ticks: u64) -> f64 {
    ticks as f64 / procfs::ticks_per_second()
}

fn used_since(before: &Usage) -> Duration {
    let used = Usage::of_thread().since(before);
    used.user + used.system
}
