//! A rate for all connections together: each connection that sends has the same share of it.
//!
//! TCP paces each of them (`SO_MAX_PACING_RATE`, socket(7)), so nothing is copied. A connection has
//! a share from the first byte that it sends until it has been silent, with nothing left in the
//! kernel, for a while.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::sys;

mod paced;
mod shares;

pub(crate) use paced::PacedListener;

use shares::Shares;

/// How often connections are looked for that send no more.
const LOOK: Duration = Duration::from_millis(500);

/// The rate, and the connections that have a share.
#[derive(Debug)]
pub(crate) struct TotalRate {
    sending: Mutex<Sending>,
}

#[derive(Debug)]
struct Sending {
    shares: Shares,
    /// Their descriptors are open: each is removed, under the lock, before it is closed.
    connections: Vec<Arc<Connection>>,
}

/// What is known of one connection.
#[derive(Debug)]
struct Connection {
    fd: RawFd,
    /// It has a share.
    has_share: AtomicBool,
    /// It has sent something since the last look.
    has_sent: AtomicBool,
}

impl TotalRate {
    /// `total` bytes per second for all, and at most `each` for one.
    pub(crate) fn new(total: u64, each: Option<u64>) -> Arc<Self> {
        Arc::new(Self {
            sending: Mutex::new(Sending {
                shares: Shares::new(total, each.unwrap_or(u64::MAX)),
                connections: Vec::new(),
            }),
        })
    }

    /// Takes shares away from connections that send no more, for as long as it is polled.
    pub(crate) async fn look_after(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK).await;
            self.look();
        }
    }

    /// How many connections have a share, and how many bytes per second that is.
    pub(crate) fn now(&self) -> (usize, u64) {
        let sending = self.lock();
        (sending.connections.len(), sending.shares.share())
    }

    fn look(&self) {
        let mut sending = self.lock();
        let is_done = |it: &Arc<Connection>| !it.has_sent.swap(false, SeqCst) && is_drained(it.fd);
        let done: Vec<_> = sending
            .connections
            .extract_if(.., |it| is_done(it))
            .collect();
        for connection in done {
            connection.has_share.store(false, SeqCst);
            sending.leave();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sending> {
        self.sending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sending {
    /// Makes room for one more: the others are slowed down first, so that all together never have
    /// more than the rate.
    fn join(&mut self, connection: &Arc<Connection>) {
        if let Some(share) = self.shares.joined() {
            self.set_all(share);
        }
        set(connection, self.shares.share());
        self.connections.push(Arc::clone(connection));
    }

    fn leave(&mut self) {
        if let Some(share) = self.shares.left() {
            self.set_all(share);
        }
    }

    fn set_all(&self, share: u64) {
        for connection in &self.connections {
            set(connection, share);
        }
    }
}

/// The kernel refuses this only to what is no socket.
fn set(connection: &Connection, share: u64) {
    // SAFETY is kept by `Sending`: the descriptor is open.
    let _ = sys::with_open(connection.fd, |socket| {
        sys::set_max_pacing_rate(socket, share)
    });
}

/// Whether the peer has acknowledged everything.
fn is_drained(fd: RawFd) -> bool {
    sys::with_open(fd, |socket| -> io::Result<bool> {
        Ok(sys::unacknowledged(socket)? == 0)
    })
    .unwrap_or(true)
}

/// A connection's place among those that send. It has to be dropped before its socket is.
#[derive(Debug)]
struct Share {
    rate: Arc<TotalRate>,
    connection: Arc<Connection>,
}

impl Share {
    fn of(socket: &impl AsFd, rate: Arc<TotalRate>) -> Self {
        let connection = Connection {
            fd: socket.as_fd().as_raw_fd(),
            has_share: AtomicBool::new(false),
            has_sent: AtomicBool::new(false),
        };
        Self {
            rate,
            connection: Arc::new(connection),
        }
    }

    /// To be called before something is sent.
    fn sends(&self) {
        let connection = &self.connection;
        connection.has_sent.store(true, SeqCst);
        if connection.has_share.load(SeqCst) {
            return;
        }
        let mut sending = self.rate.lock();
        if !connection.has_share.swap(true, SeqCst) {
            sending.join(connection);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut sending = self.rate.lock();
        let before = sending.connections.len();
        let own = |it: &Arc<Connection>| !Arc::ptr_eq(it, &self.connection);
        sending.connections.retain(own);
        if sending.connections.len() < before {
            sending.leave();
        }
    }
}
