//! The asynchronous driver: the same steps, with tokio's reactor telling when to go on.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use super::{Input, Running, Step, Transfer};
use crate::error::{Cause, Error};
use crate::receipt::Receipt;
use crate::route::Wait;
use crate::sys::reactor;

impl<S: Input, D: AsFd> Transfer<'_, S, D> {
    /// Runs to the end on a tokio runtime.
    ///
    /// Files block the thread while the disk is read or written, as with every system call on them; move file to file
    /// with [`run`](Self::run) in `spawn_blocking`.
    ///
    /// # Errors
    /// As for [`run`](Self::run).
    ///
    /// # Panics
    /// Outside a tokio runtime with its I/O driver enabled; with an [`idle_timeout`](Self::idle_timeout), if its timer is
    /// not enabled.
    ///
    /// # Cancel safety
    /// Dropping the future ends the transfer, and bytes taken from a stream and not yet delivered are gone. To go on
    /// later, [`start`](Self::start) it and drop only the future of [`Running::run_async`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use tokio::net::{TcpListener, TcpStream};
    /// use tokio::io::AsyncReadExt;
    /// use underpass::Transfer;
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// let near = TcpStream::connect(listener.local_addr()?).await?;
    /// let (mut far, _) = listener.accept().await?;
    /// let file = std::fs::File::open("/proc/self/exe")?;
    /// let send = async move { Transfer::new(file, near).run_async().await };
    /// let mut got = Vec::new();
    /// let (receipt, read) = tokio::join!(send, far.read_to_end(&mut got));
    /// assert_eq!(receipt?.bytes, read? as u64);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn run_async(self) -> Result<Receipt, Error> {
        let mut running = self.start()?;
        running.run_async().await
    }
}

impl<S: Input, D: AsFd> Running<'_, S, D> {
    /// Steps to the end on a tokio runtime, letting other tasks run after each step. An end that is never waited for is
    /// never registered.
    ///
    /// # Errors
    /// As for [`Transfer::run`].
    ///
    /// # Panics
    /// As for [`Transfer::run_async`].
    ///
    /// # Cancel safety
    /// Cancel safe: the state is in `self`, and calling it again goes on where it stopped, with every byte.
    pub async fn run_async(&mut self) -> Result<Receipt, Error> {
        let mut ready = Readiness::default();
        let mut moved = Instant::now();
        loop {
            let step = self.step()?;
            self.machine.pause();
            match step {
                Step::Done => return Ok(self.receipt()),
                Step::Moved(bytes) => {
                    if bytes > 0 {
                        moved = Instant::now();
                    }
                    tokio::task::yield_now().await;
                }
                Step::Blocked(wait) => {
                    if let Err(cause) = self.until(&mut ready, wait, moved).await {
                        return Err(self.machine.fail(cause));
                    }
                }
            }
        }
    }

    async fn until(&self, ready: &mut Readiness, wait: Wait, moved: Instant) -> Result<(), Cause> {
        let settings = self.machine.settings();
        let awaited = async {
            match &settings.cancel {
                None => ready.until(self, wait).await,
                Some(cancel) => ready.until_or(self, wait, cancel.as_fd()).await,
            }
        };
        match settings.idle_timeout {
            None => awaited.await,
            // From the last byte delivered, so that a source which speaks does not hide a sink that takes nothing.
            Some(limit) => {
                let left = limit.saturating_sub(moved.elapsed());
                tokio::time::timeout(left, awaited)
                    .await
                    .unwrap_or(Err(Cause::TimedOut(limit)))
            }
        }
    }
}

/// The ends as the reactor knows them: each registered when it is first waited for.
///
/// A descriptor may be in the reactor already, as a `TcpStream` of tokio's is; epoll(7) takes it again under another
/// number, so a duplicate is registered.
#[derive(Default)]
struct Readiness {
    source: Option<AsyncFd<OwnedFd>>,
    sink: Option<AsyncFd<OwnedFd>>,
    cancel: Option<AsyncFd<OwnedFd>>,
}

impl Readiness {
    async fn until<S: Input, D: AsFd>(
        &mut self,
        running: &Running<'_, S, D>,
        wait: Wait,
    ) -> Result<(), Cause> {
        let (slot, fd, interest) = match (wait, running.source_fd()) {
            (Wait::Source, Some(fd)) => (&mut self.source, fd, Interest::READABLE),
            (Wait::Release, _) => (&mut self.sink, running.sink_fd(), Interest::ERROR),
            _ => (&mut self.sink, running.sink_fd(), Interest::WRITABLE),
        };
        let registered = register(slot, fd)?;
        let mut guard = registered
            .ready(interest)
            .await
            .map_err(|e| poll_error(&e))?;
        // The step found it not ready, so an event older than that is used up; a newer one survives the clearing.
        guard.clear_ready();
        Ok(())
    }

    async fn until_or<S: Input, D: AsFd>(
        &mut self,
        running: &Running<'_, S, D>,
        wait: Wait,
        cancel: BorrowedFd<'_>,
    ) -> Result<(), Cause> {
        let mut cancel_slot = self.cancel.take();
        let registered = register(&mut cancel_slot, cancel)?;
        let outcome = {
            let mut awaited = std::pin::pin!(self.until(running, wait));
            let mut cancelled = std::pin::pin!(registered.readable());
            std::future::poll_fn(|context| {
                if cancelled.as_mut().poll(context).is_ready() {
                    return std::task::Poll::Ready(Err(Cause::Cancelled));
                }
                awaited.as_mut().poll(context)
            })
            .await
        };
        self.cancel = cancel_slot;
        outcome
    }
}

/// Registers a duplicate of `fd`, unless that was done before.
fn register<'s>(
    slot: &'s mut Option<AsyncFd<OwnedFd>>,
    fd: BorrowedFd<'_>,
) -> Result<&'s AsyncFd<OwnedFd>, Cause> {
    if slot.is_none() {
        let copy = fd.try_clone_to_owned().map_err(|e| poll_error(&e))?;
        *slot = Some(reactor::register(copy).map_err(|e| poll_error(&e))?);
    }
    slot.as_ref().ok_or(Cause::Call {
        what: "reactor",
        errno: Errno::BADF,
    })
}

fn poll_error(error: &std::io::Error) -> Cause {
    Cause::Call {
        what: "reactor",
        errno: Errno::from_io_error(error).unwrap_or(Errno::IO),
    }
}
