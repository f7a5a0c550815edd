//! What one connection is doing: shared by its transport, its service, the bodies of its requests and its timeouts,
//! which all run in one task.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::stats::Stats;

/// Bytes a connection may send before the others of its thread have their turn.
const TURN: usize = 256 << 10;

pub(crate) struct Account {
    stats: Arc<Stats>,
    /// Now, as of this turn: milliseconds of [`clock`].
    now: AtomicU64,
    turn: AtomicUsize,
    received_at: AtomicU64,
    sent_at: AtomicU64,
    /// The peer does not take what it is sent.
    blocked: AtomicBool,
    /// Somebody waits for more of the request's body.
    body_wanted: AtomicBool,
    /// A request is being answered.
    answering: AtomicBool,
    /// Bytes came that belong to no request yet.
    head_begun: AtomicBool,
}

/// What a connection is waiting for, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    ForRequest,
    ForHead,
    ForBody,
    ForReader,
    ForService,
}

impl Account {
    pub(crate) fn new(stats: Arc<Stats>) -> Self {
        let now = AtomicU64::new(clock(Instant::now()));
        Self {
            stats,
            received_at: AtomicU64::new(now.load(Relaxed)),
            sent_at: AtomicU64::new(now.load(Relaxed)),
            now,
            turn: AtomicUsize::new(TURN),
            blocked: AtomicBool::new(false),
            body_wanted: AtomicBool::new(false),
            answering: AtomicBool::new(false),
            // A client that connects and says nothing gets as long as one that begins and stops.
            head_begun: AtomicBool::new(true),
        }
    }

    pub(crate) fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The connection's task was woken.
    pub(crate) fn begin_turn(&self) {
        self.now.store(clock(Instant::now()), Relaxed);
        self.turn.store(TURN, Relaxed);
    }

    pub(crate) fn turn_left(&self) -> usize {
        self.turn.load(Relaxed)
    }

    pub(crate) fn turn_is_over(&self) -> bool {
        self.turn_left() == 0
    }

    pub(crate) fn sent(&self, count: usize) {
        self.turn.store(self.turn_left().saturating_sub(count), Relaxed);
        self.sent_at.store(self.now.load(Relaxed), Relaxed);
    }

    pub(crate) fn received(&self, count: usize) {
        self.stats.bytes_received.add(count as u64);
        self.received_at.store(self.now.load(Relaxed), Relaxed);
        if !self.answering.load(Relaxed) {
            self.head_begun.store(true, Relaxed);
        }
    }

    pub(crate) fn set_blocked(&self, blocked: bool) {
        self.blocked.store(blocked, Relaxed);
    }

    /// Everything that hyper had to write is written.
    pub(crate) fn flushed(&self) {}

    pub(crate) fn request(&self) {
        self.head_begun.store(false, Relaxed);
        self.answering.store(true, Relaxed);
    }

    pub(crate) fn answered(&self) {
        self.answering.store(false, Relaxed);
    }
}

fn clock(now: Instant) -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let elapsed = now.saturating_duration_since(*START.get_or_init(|| now));
    elapsed.as_millis() as u64
}

#[allow(dead_code)]
fn unused(_: Duration) {}
