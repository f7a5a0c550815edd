//! The source of a stream: reads each byte once, one system call a step, and adds it to the ring.

use std::fmt;
use std::os::fd::AsFd;
use std::sync::Arc;
#[cfg(feature = "tokio")]
use std::task::Waker;

use rustix::event::PollFlags;
use rustix::fd::BorrowedFd;
use rustix::io::Errno;

use super::ring::Room;
use super::segment::{Store, read_all};
use super::{Shared, SourceCounts, SourceEnd};
use crate::endpoint::{Endpoint, Kind};
use crate::layer::CallError;
use crate::route::Route;
use crate::route::pipe::{Pipe, WANTED_SIZE};
use crate::route::read_write::is_ready;
use crate::route::urgent;
use crate::step::Step;
use crate::step::Wait;
use crate::stream::error::{PeerError, StreamCause, StreamError};
use crate::stream::in_flight::{self, FLAGS, LARGE, PooledBuffer, is_refusal};
use crate::stream::splice_policy::{Change, Mode, SplicePolicy};
use crate::sys::{Kernel, Sys};
use crate::wire::{Stop, Wire};

/// Reads the source for all subscribers.
///
/// Dropped before the source has ended, it ends the stream as if the source had broken off.
pub struct StreamSource<S> {
    sys: Kernel,
    source: S,
    read_state: ReadState,
}

impl<S: AsFd> StreamSource<S> {
    pub(super) fn new(source: S, wire: Wire, shared: Arc<Shared>) -> Result<Self, StreamError> {
        let endpoint = Endpoint::of(&source).map_err(StreamError::call)?;
        if matches!(endpoint.kind, Kind::Directory | Kind::MessageSocket) {
            return Err(StreamCause::NotAStream.into());
        }
        if !shared.ring().claim_source() {
            return Err(StreamCause::SourceTaken.into());
        }
        if endpoint.kind.is_stream_socket() {
            rustix::io::ioctl_fionbio(&source, true).map_err(StreamError::call)?;
        }
        if endpoint.kind == Kind::Pipe {
            // A larger pipe takes fewer calls on both sides. If the limit forbids it, the size
            // stays (pitfall 13).
            let _ = rustix::pipe::fcntl_setpipe_size(&source, WANTED_SIZE);
        }
        let may_sleep = !endpoint.nonblocking
            && matches!(
                endpoint.kind,
                Kind::Pipe | Kind::Terminal | Kind::CharDevice | Kind::Other
            );
        Ok(Self {
            sys: Kernel::default(),
            source,
            read_state: ReadState::new(shared, wire, may_sleep),
        })
    }

    /// Makes one system call, without waiting: [`Wait::Source`] when there are no bytes now,
    /// [`Wait::Sink`] when it has to wait for subscribers to take data or to come.
    ///
    /// [`Step::Done`] means that the source has ended or broken off; [`finish`](Self::finish) says
    /// which.
    pub fn step(&mut self) -> Step {
        self.read_state.step(&self.sys, self.source.as_fd())
    }

    /// From now on the end of the source is passed on only after [`settle_end`](Self::settle_end).
    /// Use it for sources that end in the same way when they break off, so that the caller has to
    /// find out which of the two happened.
    pub fn doubt_end(&mut self) {
        self.read_state.doubted = true;
    }

    /// Settles an end that was [doubted](Self::doubt_end): it was intended (`meant`), or the source
    /// broke off.
    pub fn settle_end(&mut self, meant: bool) {
        self.read_state.settle(meant);
    }

    /// The source.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// Registers to be woken when the ring may have room again.
    #[cfg(feature = "tokio")]
    pub(super) fn register(&self, waker: &Waker) {
        self.read_state.shared.ring().register_source(waker);
    }

    /// Ends the stream because waiting for the source failed.
    #[cfg(feature = "tokio")]
    pub(super) fn broke_off(&mut self, error: &std::io::Error) {
        let errno = Errno::from_io_error(error).unwrap_or(Errno::IO);
        let error = PeerError::new(errno);
        self.read_state.end(SourceEnd::Died { error });
    }

    /// Ends the stream, if the source has not, and returns the counts.
    pub fn finish(mut self) -> (SourceCounts, SourceEnd) {
        self.read_state.cut();
        let ended = self.read_state.ended.unwrap_or(SourceEnd::Cut);
        (self.read_state.taken, ended)
    }
}

impl<S> fmt::Debug for StreamSource<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamSource")
            .field("read_state", &self.read_state)
            .finish_non_exhaustive()
    }
}

/// The state of a source, without its descriptor.
#[derive(Debug)]
pub(super) struct ReadState {
    shared: Arc<Shared>,
    /// What lies on the source.
    wire: Wire,
    policy: SplicePolicy,
    /// A read may put the thread to sleep.
    may_sleep: bool,
    /// The caller will say whether the end was intended.
    doubted: bool,
    pub(super) taken: SourceCounts,
    pub(super) ended: Option<SourceEnd>,
}

impl ReadState {
    pub(super) fn new(shared: Arc<Shared>, wire: Wire, may_sleep: bool) -> Self {
        let mut policy = SplicePolicy::new(shared.settings.route);
        let mut taken = SourceCounts::default();
        if wire.is_user() {
            policy.refuse();
            taken.splice_refused = shared.settings.route == Some(Route::Splice);
        }
        Self {
            policy,
            wire,
            shared,
            may_sleep,
            doubted: false,
            taken,
            ended: None,
        }
    }

    pub(super) fn step<K: Sys>(&mut self, sys: &K, source: BorrowedFd<'_>) -> Step {
        if self.ended.is_some() {
            return Step::Done;
        }
        let mut ring = self.shared.ring();
        let (room, needs_memory) = (ring.room(), ring.needs_memory());
        drop(ring);
        let took = match (room, self.policy.mode()) {
            (Room::No, _) => return Step::Blocked(Wait::Sink),
            (Room::Yes, Mode::Splicing) if needs_memory => self.read_bulk(sys, source),
            (Room::Yes, Mode::Splicing) => self.splice_in(sys, source),
            (Room::Yes, Mode::Copying) | (Room::Discard, _) => self.read_in(sys, source),
        };
        match took {
            Ok(step) => step,
            // Another reader may have emptied the source since poll(2).
            Err(error) if error.would_block() => Step::Blocked(Wait::Source),
            Err(CallError::Errno(Errno::INTR)) => Step::Moved(0),
            Err(error) => {
                let error = PeerError::new(error);
                self.end(SourceEnd::Died { error });
                Step::Done
            }
        }
    }

    /// Reads bulk data into memory of its own, for subscribers that encrypt in this process.
    fn read_bulk<K: Sys>(&mut self, sys: &K, source: BorrowedFd<'_>) -> Result<Step, CallError> {
        if self.may_sleep && !is_ready(sys, source, PollFlags::IN)? {
            return Err(Errno::AGAIN.into());
        }
        self.taken.copy_calls += 1;
        let mut bytes = vec![0; LARGE];
        let count = self.wire.read(sys, source, &mut bytes)?;
        if self.policy.is_short(count as u64) {
            self.keep(&bytes[..count]);
        } else if count > 0 {
            bytes.truncate(count);
            let wanted = self.shared.ring().publish(Store::Memory(Arc::new(bytes)));
            self.copied(count as u64, wanted);
        }
        Ok(self.took(count as u64))
    }

    fn read_in<K: Sys>(&mut self, sys: &K, source: BorrowedFd<'_>) -> Result<Step, CallError> {
        if self.may_sleep && !is_ready(sys, source, PollFlags::IN)? {
            return Err(Errno::AGAIN.into());
        }
        let mut buffer = PooledBuffer::take(self.policy.room());
        self.taken.copy_calls += 1;
        let read = self.wire.read(sys, source, buffer.room());
        buffer.filled(*read.as_ref().unwrap_or(&0));
        self.keep(buffer.held());
        buffer.put_back();
        read.map(|count| self.took(count as u64))
    }

    fn splice_in<K: Sys>(&mut self, sys: &K, source: BorrowedFd<'_>) -> Result<Step, CallError> {
        let Some(mut pipe) = in_flight::pipe(sys)? else {
            self.taken.pipes_refused += 1;
            self.shared.stats.pipes_refused.add(1);
            self.policy.without_pipe();
            return Ok(Step::Moved(0));
        };
        self.taken.splice_calls += 1;
        let into = pipe.write_end.as_fd();
        let spliced = sys.splice(source, None, into, None, pipe.capacity, FLAGS);
        pipe.held = *spliced.as_ref().unwrap_or(&0) as u64;
        match self.wire.stopped(sys, source, spliced) {
            Ok(Stop::Other) => {}
            stopped => {
                pipe.put_back();
                return Ok(match stopped? {
                    Stop::End => self.took(0),
                    Stop::Control | Stop::Other => Step::Moved(0),
                });
            }
        }
        if self.wire.is_plain() && urgent::stopped(sys, source, spliced) {
            pipe.put_back();
            return self.read_in(sys, source);
        }
        match spliced {
            Ok(count @ 1..) if self.policy.is_short(count as u64) => self.read_out(sys, pipe)?,
            Ok(count @ 1..) => {
                let wanted = self.shared.ring().publish(Store::Piped(pipe));
                self.taken.spliced += count as u64;
                self.shared.stats.taken_spliced.add(count as u64);
                self.gave(count as u64, wanted);
            }
            _ => pipe.put_back(),
        }
        match spliced {
            Err(errno) if is_refusal(errno) => {
                self.taken.splice_refused = true;
                self.policy.refuse();
                Ok(Step::Moved(0))
            }
            spliced => Ok(self.took(spliced? as u64)),
        }
    }

    /// Reads a few bytes out of the pipe and keeps them in memory. In a pipe of their own they
    /// would count as far more, and take two calls for each subscriber.
    fn read_out<K: Sys>(&mut self, sys: &K, mut pipe: Pipe) -> Result<(), Errno> {
        let all = pipe.held;
        let (bytes, calls) = read_all(sys, &mut pipe, all)?;
        pipe.put_back();
        self.taken.copy_calls += calls;
        self.keep(&bytes);
        Ok(())
    }

    /// Adds bytes that were read to the ring.
    fn keep(&mut self, bytes: &[u8]) {
        let count = bytes.len() as u64;
        if count > 0 {
            let wanted = self.shared.ring().append(bytes);
            self.copied(count, wanted);
        }
    }

    fn copied(&mut self, count: u64, wanted: bool) {
        self.taken.copied += count;
        self.shared.stats.taken_copied.add(count);
        self.gave(count, wanted);
    }

    fn gave(&mut self, bytes: u64, wanted: bool) {
        if !wanted {
            self.taken.discarded += bytes;
            self.shared.stats.discarded.add(bytes);
        }
    }

    /// Records what a call read. A short count is not the end (pitfall 12); only 0 is.
    fn took(&mut self, bytes: u64) -> Step {
        if bytes == 0 {
            self.end(SourceEnd::Ended);
            return Step::Done;
        }
        match self.policy.took(bytes) {
            Some(Change::Promoted) => self.taken.promotions += 1,
            Some(Change::Demoted) => self.taken.demotions += 1,
            None => {}
        }
        Step::Moved(bytes)
    }

    /// Ends the stream. Only the first call counts.
    fn end(&mut self, how: SourceEnd) {
        if self.ended.is_none() {
            self.ended = Some(how);
            if how != SourceEnd::Ended || !self.doubted {
                self.shared.finish(how == SourceEnd::Ended);
            }
        }
    }

    fn settle(&mut self, meant: bool) {
        if self.doubted && self.ended == Some(SourceEnd::Ended) {
            self.doubted = false;
            if !meant {
                let error = PeerError::new(Errno::CONNRESET);
                self.ended = Some(SourceEnd::Died { error });
            }
            self.shared.finish(meant);
        }
    }

    /// Ends the stream from here. A doubted end that nobody has settled counts as broken off.
    fn cut(&mut self) {
        if self.doubted && self.ended == Some(SourceEnd::Ended) {
            self.ended = None;
        }
        self.end(SourceEnd::Cut);
    }
}

impl Drop for ReadState {
    fn drop(&mut self) {
        self.cut();
    }
}
