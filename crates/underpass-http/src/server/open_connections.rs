//! The open connections of a server, how they learn that it stops, and how the idlest can make room
//! for a client that waits.
//!
//! A connection enters when it begins and leaves when it ends; nothing is done a request. Who is
//! idle is looked up when there is no room.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::server::state::ConnectionState;

/// Connections closed at once, so that a look at all of them makes room for several clients.
/// nginx's number.
const AT_ONCE: usize = 32;

/// Whether the server is stopping, and how its connections learn of it.
#[derive(Debug, Default)]
pub(crate) struct Shutdown {
    begun: AtomicBool,
    notify: Arc<Notify>,
}

impl Shutdown {
    pub(crate) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    pub(crate) fn notified(&self) -> OwnedNotified {
        Arc::clone(&self.notify).notified_owned()
    }

    pub(super) fn begin(&self) {
        self.begun.store(true, Ordering::Release);
        self.notify.notify_waiters();
    }
}

#[derive(Default)]
pub(crate) struct OpenConnections {
    members: Mutex<HashMap<u64, Member>>,
    entered: AtomicU64,
    /// Nobody was idle: the next one who is says so.
    wanted: AtomicBool,
    found: Notify,
}

struct Member {
    state: Arc<ConnectionState>,
    waker: Waker,
}

/// A connection's place among the open ones, left when it is dropped.
pub(crate) struct Registration {
    connections: Arc<OpenConnections>,
    number: u64,
}

impl OpenConnections {
    /// `waker` is that of the connection's task.
    pub(crate) fn enter(
        self: &Arc<Self>,
        state: Arc<ConnectionState>,
        waker: Waker,
    ) -> Registration {
        let number = self.entered.fetch_add(1, Ordering::Relaxed);
        self.members().insert(number, Member { state, waker });
        Registration {
            connections: Arc::clone(self),
            number,
        }
    }

    /// Whether there is an idle connection. If not, [`became_idle`](Self::became_idle) is ready
    /// when there is one.
    pub(super) fn has_idle(&self) -> bool {
        // Before the look, so that who becomes idle after it sees it.
        self.wanted.store(true, Ordering::SeqCst);
        let idle = self.members().values().any(Member::is_idle);
        self.wanted.store(!idle, Ordering::SeqCst);
        idle
    }

    pub(super) async fn became_idle(&self) {
        self.found.notified().await;
    }

    /// Has the idlest connections close, an eighth of the idle ones and no more than [`AT_ONCE`];
    /// says how many.
    pub(super) fn close_idlest(&self) -> u64 {
        let members = self.members();
        let mut idle: Vec<_> = members
            .values()
            .filter(|member| member.is_idle())
            .map(|member| (member.state.timing.progress_at(), member))
            .collect();
        if idle.is_empty() {
            return 0;
        }
        let count = (idle.len() / 8).clamp(1, AT_ONCE);
        idle.select_nth_unstable_by_key(count - 1, |(since, _)| *since);
        for (_, member) in &idle[..count] {
            member.state.ask_to_leave();
            member.waker.wake_by_ref();
        }
        count as u64
    }

    fn members(&self) -> MutexGuard<'_, HashMap<u64, Member>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Member {
    fn is_idle(&self) -> bool {
        self.state.is_idle() && !self.state.is_asked_to_leave()
    }
}

impl Registration {
    /// The connection is idle: tells whoever waits for one that is.
    pub(crate) fn tell_idle(&self) {
        if self.connections.wanted.load(Ordering::SeqCst) {
            self.connections.found.notify_one();
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.connections.members().remove(&self.number);
    }
}
