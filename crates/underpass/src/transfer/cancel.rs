//! Ending a transfer from elsewhere.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

/// A switch that ends every transfer it was given to, also those that wait. Clones are the same switch.
///
/// ```
/// use underpass::{Cancel, Transfer};
///
/// let cancel = Cancel::new()?;
/// let (source, _writer) = std::io::pipe()?;
/// let (_reader, sink) = std::io::pipe()?;
/// let transfer = Transfer::new(source, sink).cancel(&cancel);
/// cancel.cancel();
/// assert!(transfer.run().unwrap_err().is_cancelled());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Cancel {
    shared: Arc<Shared>,
}

struct Shared {
    cancelled: AtomicBool,
    /// Readable once cancelled, so that a poll wakes up.
    event: OwnedFd,
}

impl Cancel {
    /// A switch that is off.
    ///
    /// # Errors
    /// The process is out of descriptors (eventfd(2)).
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            shared: Arc::new(Shared {
                cancelled: AtomicBool::new(false),
                event: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            }),
        })
    }

    /// Ends the transfers, now and later; there is no way back.
    pub fn cancel(&self) {
        self.shared.cancelled.store(true, Ordering::Release);
        // Only a full counter refuses, and a full counter is readable, which is all that is wanted.
        let _ = rustix::io::write(&self.shared.event, &1_u64.to_ne_bytes());
    }

    /// Whether [`cancel`](Self::cancel) was called.
    pub fn is_cancelled(&self) -> bool {
        self.shared.cancelled.load(Ordering::Acquire)
    }
}

/// Readable once cancelled: for poll(2) beside other descriptors.
impl AsFd for Cancel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.event.as_fd()
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cancel({})", self.is_cancelled())
    }
}
