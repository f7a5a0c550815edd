//! A switch that ends transfers from another thread or a signal handler.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::pipe::PipeFlags;

/// A switch that ends every transfer that was given it, even one that is waiting. Clones share the
/// switch.
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
    cancelled: Arc<AtomicBool>,
    /// A pipe that is readable once cancelled, so that poll(2) wakes up. Not an eventfd, because
    /// crates for signals write one byte.
    wake: (OwnedFd, OwnedFd),
}

impl Cancel {
    /// A switch that is off.
    ///
    /// # Errors
    /// The process is out of descriptors (pipe(2)).
    pub fn new() -> std::io::Result<Self> {
        let flags = PipeFlags::CLOEXEC | PipeFlags::NONBLOCK;
        Ok(Self {
            shared: Arc::new(Shared {
                cancelled: Arc::default(),
                wake: rustix::pipe::pipe_with(flags)?,
            }),
        })
    }

    /// Ends the transfers, present and future. This cannot be undone.
    pub fn cancel(&self) {
        self.shared.cancelled.store(true, Ordering::Release);
        // This fails only if the pipe is full, and then it is readable already.
        let _ = rustix::io::write(&self.shared.wake.1, &[0]);
    }

    /// The parts for a signal handler, which may call only few functions (signal-safety(7)). To
    /// cancel, set the flag, then write one byte to the descriptor, which does not block.
    ///
    /// # Errors
    /// The process is out of descriptors (dup(2)).
    pub fn parts(&self) -> std::io::Result<(Arc<AtomicBool>, OwnedFd)> {
        let waker = self.shared.wake.1.try_clone()?;
        Ok((Arc::clone(&self.shared.cancelled), waker))
    }

    /// Whether [`cancel`](Self::cancel) was called.
    pub fn is_cancelled(&self) -> bool {
        self.shared.cancelled.load(Ordering::Acquire)
    }
}

/// Readable once cancelled: for poll(2) beside other descriptors.
impl AsFd for Cancel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.wake.0.as_fd()
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cancel({})", self.is_cancelled())
    }
}
