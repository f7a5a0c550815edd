//! The asynchronous driver. It makes the same steps; tokio's reactor wakes it.

use std::ops::Range;
use std::sync::Arc;
use std::task::Poll;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use super::drive_poll::socket_error;
use super::driven::{Awaited, Driven};
use super::machine::FileRange;
use super::{Input, Parts, Running, RunningSequence, Sequence, Transfer};
use crate::page_cache;
use crate::receipt::Receipt;
use crate::step::{Step, Wait};
use crate::sys::reactor;
use crate::transfer::error::{Cause, Error};

impl<S: Input, D: AsFd> Transfer<'_, S, D> {
    /// Runs to the end on a tokio runtime.
    ///
    /// Parts of a source file that are not in the page cache are first read by a blocking thread of
    /// the runtime, so the disk does not stop other tasks. Writing to a file does block the thread:
    /// to move file to file, call [`run`](Self::run) in `spawn_blocking`.
    ///
    /// # Errors
    /// As for [`run`](Self::run).
    ///
    /// # Panics
    /// Outside a tokio runtime with its I/O driver enabled; with an
    /// [`idle_timeout`](Self::idle_timeout), if its timer is not enabled.
    ///
    /// # Cancel safety
    /// Dropping the future ends the transfer, and bytes taken from a stream and not yet delivered
    /// are gone. To go on later, [`start`](Self::start) it and drop only the future of
    /// [`Running::run_async`].
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
    /// Steps to the end on a tokio runtime, letting other tasks run after each step. Nothing is
    /// registered with the reactor before the first wait.
    ///
    /// # Errors
    /// As for [`Transfer::run`].
    ///
    /// # Panics
    /// As for [`Transfer::run_async`].
    ///
    /// # Cancel safety
    /// Cancel safe: the state is in `self`, and calling it again goes on where it stopped, with
    /// every byte.
    pub async fn run_async(&mut self) -> Result<Receipt, Error> {
        if !self.done {
            drive(&mut self.machine).await?;
            self.done = true;
        }
        Ok(self.receipt())
    }
}

impl<P: Parts, D: AsFd> Sequence<'_, P, D> {
    /// Runs to the end on a tokio runtime.
    ///
    /// Files that are not in the page cache are first read by a blocking thread of the runtime, so
    /// the disk does not stop other tasks. Making the parts is the task's own work: whoever has to
    /// wait for something to make a part makes it beforehand. Writing to a file blocks the thread.
    ///
    /// # Errors
    /// As for [`run`](Self::run).
    ///
    /// # Panics
    /// As for [`Transfer::run_async`].
    ///
    /// # Cancel safety
    /// Dropping the future ends the sequence. To go on later, [`start`](Self::start) it and drop
    /// only the future of [`RunningSequence::run_async`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use tokio::io::AsyncReadExt;
    /// use tokio::net::{TcpListener, TcpStream};
    /// use underpass::{Part, Sequence};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// let near = TcpStream::connect(listener.local_addr()?).await?;
    /// let (mut far, _) = listener.accept().await?;
    /// let file = std::fs::File::open("/proc/self/exe")?;
    /// let parts = [Part::memory(*b"head"), Part::file(file, 0..100_000)];
    /// let send = async move { Sequence::new(parts.into_iter(), near).run_async().await };
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

impl<P: Parts, D: AsFd> RunningSequence<'_, P, D> {
    /// Steps to the end on a tokio runtime, letting other tasks run after each step.
    ///
    /// # Errors
    /// As for [`Sequence::run`].
    ///
    /// # Panics
    /// As for [`Transfer::run_async`].
    ///
    /// # Cancel safety
    /// Cancel safe: the state is in `self`, and calling it again goes on where it stopped, with
    /// every byte.
    pub async fn run_async(&mut self) -> Result<Receipt, Error> {
        drive(&mut self.work).await?;
        Ok(self.receipt())
    }
}

/// Steps `machine` until it is done.
pub(super) async fn drive(machine: &mut impl Driven) -> Result<(), Error> {
    let mut ready = Readiness::default();
    let mut warmth = Warmth::default();
    let mut moved = Instant::now();
    let mut turn = machine.turn();
    loop {
        if turn != machine.turn() {
            turn = machine.turn();
            ready.source = None;
            warmth = Warmth::default();
            moved = Instant::now();
        }
        if let Some(cold) = machine.reads_page_cache() {
            warmth.at_hand(cold).await;
        }
        let step = machine.step()?;
        machine.pause();
        match step {
            Step::Done => return Ok(()),
            Step::Moved(bytes) => {
                if bytes > 0 {
                    moved = Instant::now();
                }
                tokio::task::yield_now().await;
            }
            Step::Blocked(wait) => {
                let awaited = until(machine.awaited(), wait, &mut ready, moved).await;
                if let Err(cause) = awaited {
                    return Err(machine.fail(cause));
                }
            }
        }
    }
}

/// How far the source file is known to be in the page cache.
#[derive(Default)]
struct Warmth {
    known: Range<u64>,
    /// The file, for the blocking thread that reads what is missing.
    file: Option<Arc<OwnedFd>>,
}

impl Warmth {
    /// Makes sure that what the next step reads is in the page cache. Waits for the disk on a
    /// blocking thread (pitfall 21).
    async fn at_hand(&mut self, next: FileRange<'_>) {
        let (at, end) = (next.range.start, next.range.end);
        if self.known.contains(&at) && self.known.contains(&(end - 1)) {
            return;
        }
        // A transfer of small steps is not checked at every step.
        if page_cache::is_resident(next.file, at, next.beyond - at) {
            self.known = at..next.beyond;
            return;
        }
        if !page_cache::is_resident(next.file, at, end - at) {
            let Some(file) = self.file(next.file) else {
                return;
            };
            let warmed = move || page_cache::warm(&*file, at, end - at);
            // Errors of the disk are ignored here: the next step gets them too.
            let _ = tokio::task::spawn_blocking(warmed).await;
        }
        self.known = at..end;
    }

    fn file(&mut self, file: BorrowedFd<'_>) -> Option<Arc<OwnedFd>> {
        if self.file.is_none() {
            self.file = file.try_clone_to_owned().ok().map(Arc::new);
        }
        self.file.clone()
    }
}

/// Waits for what a step has returned. `moved` is when a byte was last delivered.
async fn until(
    ends: Awaited<'_>,
    wait: Wait,
    ready: &mut Readiness,
    moved: Instant,
) -> Result<(), Cause> {
    let awaited = async {
        match ends.cancel {
            None => ready.until(ends, wait).await,
            Some(cancel) => ready.until_or(ends, wait, cancel).await,
        }
    };
    match ends.idle_timeout {
        None => awaited.await,
        // Measured from the last delivery, so that a busy source cannot mask a stalled sink.
        Some(limit) => {
            let left = limit.saturating_sub(moved.elapsed());
            tokio::time::timeout(left, awaited)
                .await
                .unwrap_or(Err(Cause::TimedOut(limit)))
        }
    }
}

/// The registrations of both ends with the reactor, made when an end is first waited for.
///
/// A descriptor may be registered already, as that of a tokio `TcpStream` is. epoll(7) accepts it
/// again under another number, so a duplicate is registered.
#[derive(Default)]
struct Readiness {
    source: Option<AsyncFd<OwnedFd>>,
    sink: Option<AsyncFd<OwnedFd>>,
    cancel: Option<AsyncFd<OwnedFd>>,
    /// The sink is a file or device, which epoll(7) refuses and which cannot go away.
    sink_stays: bool,
}

impl Readiness {
    async fn until(&mut self, ends: Awaited<'_>, wait: Wait) -> Result<(), Cause> {
        match (wait, ends.source) {
            (Wait::Source, Some(source)) => self.until_source(source, ends.sink).await,
            (Wait::Release, _) => self.until_sink(ends, Interest::ERROR).await,
            _ => self.until_sink(ends, Interest::WRITABLE).await,
        }
    }

    async fn until_sink(&mut self, ends: Awaited<'_>, interest: Interest) -> Result<(), Cause> {
        ready(register(&mut self.sink, ends.sink)?, interest).await?;
        // A zero-copy notification arrives as EPOLLERR. The reactor takes it, with EPOLLOUT, for a
        // closed socket and would end every later wait at once. A new registration clears that.
        if ends.source.is_none() {
            self.sink = None;
        }
        Ok(())
    }

    /// Watches the sink too, so that a reader that goes away is noticed before the source sends
    /// again.
    async fn until_source(
        &mut self,
        source: BorrowedFd<'_>,
        sink: BorrowedFd<'_>,
    ) -> Result<(), Cause> {
        let source = register(&mut self.source, source)?;
        if !self.sink_stays {
            self.sink_stays = register(&mut self.sink, sink).is_err();
        }
        match &self.sink {
            None => ready(source, Interest::READABLE).await,
            Some(watched) => first(ready(source, Interest::READABLE), gone(watched)).await,
        }
    }

    async fn until_or(
        &mut self,
        ends: Awaited<'_>,
        wait: Wait,
        cancel: BorrowedFd<'_>,
    ) -> Result<(), Cause> {
        let mut cancel_slot = self.cancel.take();
        let registered = register(&mut cancel_slot, cancel)?;
        let cancelled = async {
            let _ = registered.readable().await;
            Err(Cause::Cancelled)
        };
        let outcome = first(cancelled, self.until(ends, wait)).await;
        self.cancel = cancel_slot;
        outcome
    }
}

/// Waits for an event that is newer than the last step.
async fn ready(registered: &AsyncFd<OwnedFd>, interest: Interest) -> Result<(), Cause> {
    let guard = registered.ready(interest).await;
    // The step found the end not ready, so older events are stale. Clearing keeps newer ones.
    guard.map_err(|e| poll_error(&e))?.clear_ready();
    Ok(())
}

/// Waits until the sink is gone. That it is ready to be written does not count.
async fn gone(sink: &AsyncFd<OwnedFd>) -> Result<(), Cause> {
    loop {
        let guard = sink.ready(Interest::WRITABLE | Interest::ERROR).await;
        let mut guard = guard.map_err(|e| poll_error(&e))?;
        let now = guard.ready();
        guard.clear_ready();
        if !now.is_error() && !now.is_write_closed() {
            continue;
        }
        let mut fds = [PollFd::new(sink, PollFlags::empty())];
        if rustix::event::poll(&mut fds, Some(&Timespec::default())) == Ok(1) {
            return Err(Cause::SinkGone(socket_error(sink.get_ref().as_fd())));
        }
        // It was another event, and the "closed" state stays set.
        return std::future::pending().await;
    }
}

/// The output of the future that is ready first; of `preferred` if both are.
async fn first<T>(preferred: impl Future<Output = T>, other: impl Future<Output = T>) -> T {
    let mut preferred = std::pin::pin!(preferred);
    let mut other = std::pin::pin!(other);
    std::future::poll_fn(|context| match preferred.as_mut().poll(context) {
        Poll::Ready(outcome) => Poll::Ready(outcome),
        Poll::Pending => other.as_mut().poll(context),
    })
    .await
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
