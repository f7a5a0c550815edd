//! The open connections of a server. When it is full, the ones that have been idle longest are
//! closed to make room. When it stops, they are told.
//!
//! A connection is registered when it begins and removed when it ends, so requests cost nothing.
//! Idle connections are searched for only when the server is full.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::server::state::ConnectionState;

/// The most connections closed at a time, so that one search makes room for several clients. As in
/// nginx.
const MAX_CLOSED_AT_ONCE: usize = 32;

/// Tells the connections that the server is stopping.
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
    /// No connection was idle; the next one that becomes idle notifies `became_idle`.
    wanted: AtomicBool,
    became_idle: Notify,
}

struct Member {
    state: Arc<ConnectionState>,
    waker: Waker,
}

/// A connection's registration. Dropping it removes the connection.
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

    /// Whether a connection is idle. If not, [`became_idle`](Self::became_idle) is ready when one
    /// is.
    pub(super) fn has_idle(&self) -> bool {
        // Set before the search, so that a connection that becomes idle after it sees this.
        self.wanted.store(true, Ordering::SeqCst);
        let idle = self.members().values().any(Member::is_idle);
        self.wanted.store(!idle, Ordering::SeqCst);
        idle
    }

    pub(super) async fn became_idle(&self) {
        self.became_idle.notified().await;
    }

    /// Closes the connections that have been idle longest: an eighth of the idle ones, at most
    /// [`MAX_CLOSED_AT_ONCE`]. Returns how many.
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
        let count = (idle.len() / 8).clamp(1, MAX_CLOSED_AT_ONCE);
        idle.select_nth_unstable_by_key(count - 1, |(since, _)| *since);
        for (_, member) in &idle[..count] {
            member.state.ask_to_leave();
            member.waker.wake_by_ref();
        }
        count as u64
    }

    /// Bytes that were sent of responses that are not complete.
    pub(super) fn sent_of_incomplete(&self) -> u64 {
        let members = self.members();
        let states = members.values().map(|member| &member.state);
        states.map(|state| state.sent_of_incomplete()).sum()
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
    /// The connection is idle: notifies the server if it waits for an idle connection.
    pub(crate) fn notify_idle(&self) {
        if self.connections.wanted.load(Ordering::SeqCst) {
            self.connections.became_idle.notify_one();
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.connections.members().remove(&self.number);
    }
}
