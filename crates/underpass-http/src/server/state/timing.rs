//! The times from which timeouts are measured.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use crate::clock;

/// How long a client may continue to send after its response, in milliseconds; as in nginx.
const MAX_LINGERING: u64 = 30_000;

/// The times of one connection, in milliseconds of [`clock`].
#[derive(Debug)]
pub(crate) struct Timing {
    /// The time at the beginning of this turn.
    now: AtomicU64,
    /// When bytes were last received or sent.
    progress_at: AtomicU64,
    /// When the head that is being received began.
    head_at: AtomicU64,
    /// Whether bytes arrived that do not belong to a complete request yet.
    head_begun: AtomicBool,
    /// Whether the peer does not take what is sent to it.
    blocked: AtomicBool,
    /// Whether everything is sent, and what the peer still sends is discarded.
    lingering: AtomicBool,
    lingering_since: AtomicU64,
}

impl Timing {
    pub(super) fn new() -> Self {
        let now = clock::now();
        Self {
            now: AtomicU64::new(now),
            progress_at: AtomicU64::new(now),
            head_at: AtomicU64::new(now),
            // A client that connects and sends nothing has as much time as one that begins a head
            // and stops.
            head_begun: AtomicBool::new(true),
            blocked: AtomicBool::new(false),
            lingering: AtomicBool::new(false),
            lingering_since: AtomicU64::new(now),
        }
    }

    pub(super) fn update_clock(&self) {
        self.now.store(clock::now(), Relaxed);
    }

    /// The time at the beginning of this turn.
    pub(crate) fn now(&self) -> u64 {
        self.now.load(Relaxed)
    }

    /// Bytes were received or sent.
    pub(super) fn progress(&self) {
        self.progress_at.store(self.now.load(Relaxed), Relaxed);
    }

    /// When bytes were last received or sent.
    pub(crate) fn progress_at(&self) -> u64 {
        self.progress_at.load(Relaxed)
    }

    /// Bytes of a head arrived. Only the first of them sets when the head began.
    pub(super) fn head_begins(&self) {
        if !self.head_begun.swap(true, Relaxed) {
            self.head_at.store(self.now.load(Relaxed), Relaxed);
        }
    }

    pub(super) fn restart_head(&self) {
        self.head_begun.store(true, Relaxed);
        self.head_at.store(self.now.load(Relaxed), Relaxed);
    }

    pub(super) fn head_is_complete(&self) {
        self.head_begun.store(false, Relaxed);
    }

    pub(super) fn has_head_begun(&self) -> bool {
        self.head_begun.load(Relaxed)
    }

    pub(super) fn head_at(&self) -> u64 {
        self.head_at.load(Relaxed)
    }

    /// Records whether the peer does not take what is sent to it.
    pub(crate) fn set_blocked(&self, blocked: bool) {
        self.blocked.store(blocked, Relaxed);
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.load(Relaxed)
    }

    /// Everything is sent, and our side of the connection is closed.
    pub(crate) fn linger(&self) {
        if !self.lingering.swap(true, Relaxed) {
            self.progress();
            self.lingering_since.store(self.now.load(Relaxed), Relaxed);
        }
    }

    pub(super) fn is_lingering(&self) -> bool {
        self.lingering.load(Relaxed)
    }

    /// The peer has not noticed its response yet, and still sends. It may do so for a while.
    pub(crate) fn discarded(&self) {
        let since = self.lingering_since.load(Relaxed);
        if self.now.load(Relaxed).saturating_sub(since) < MAX_LINGERING {
            self.progress();
        }
    }

    /// The time from `at` to this turn.
    pub(super) fn since(&self, at: u64) -> Duration {
        Duration::from_millis(self.now.load(Relaxed).saturating_sub(at))
    }
}
