//! A subscriber's side: what is there for it is given to its socket at its own pace.

use std::fmt;
use std::os::fd::AsFd;
use std::sync::Arc;

use super::Shared;
use super::giving::{Given, Giving};
use crate::net::close::{close_in_order, reset_on_close};
use crate::step::Step;
use crate::sys::Kernel;

/// One of those that the stream is given to, and its socket.
///
/// Its place in the stream is kept until it is dropped: with [`Slow::Wait`](super::Slow::Wait) a
/// subscriber that is never stepped holds up all the others. A TCP connection that is closed before
/// it was given all is reset, by whatever closes it: also by the kernel, for a process that was
/// killed.
pub struct Subscriber<D: AsFd> {
    pub(super) sys: Kernel,
    pub(super) sink: D,
    pub(super) giving: Giving,
}

/// How a subscriber came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// The source ended, and it was given all and told so.
    Closed,
    /// It went away.
    Gone {
        /// As what: the error number of the call that found it.
        raw_os_error: i32,
    },
    /// It fell too far behind ([`Slow::Drop`](super::Slow::Drop)).
    Lagged,
    /// It was given all that there was, but the source broke off.
    SourceDied,
    /// It took nothing for too long.
    TimedOut,
    /// It was ended from here.
    Cut,
}

impl<D: AsFd> Subscriber<D> {
    pub(super) fn new(sink: D, shared: Arc<Shared>) -> std::io::Result<Self> {
        rustix::io::ioctl_fionbio(&sink, true)?;
        reset_on_close(&sink)?;
        Ok(Self {
            sys: Kernel::default(),
            sink,
            giving: Giving::new(shared),
        })
    }

    /// Makes one system call, without waiting: [`Wait::Source`](crate::Wait::Source) when there is nothing for it now, [`Wait::Sink`](crate::Wait::Sink) when its
    /// socket takes no more now.
    ///
    /// [`Step::Done`] means that nothing more will be given; [`finish`](Self::finish) tells why.
    pub fn step(&mut self) -> Step {
        self.giving.step(&self.sys, self.sink.as_fd())
    }

    /// The socket.
    pub fn socket(&self) -> &D {
        &self.sink
    }

    /// Closes the socket, by a reset where it was not given all, and gives the account.
    pub fn finish(mut self) -> (Given, Ended) {
        self.giving.end(Ended::Cut);
        self.giving.count_unacknowledged(self.sink.as_fd());
        (self.giving.given, self.giving.ended.unwrap_or(Ended::Cut))
    }
}

impl<D: AsFd> Drop for Subscriber<D> {
    fn drop(&mut self) {
        self.giving.end(Ended::Cut);
        if self.giving.ends_cleanly() {
            // A socket that refuses is gone already.
            let _ = close_in_order(&self.sink);
        }
    }
}

impl<D: AsFd> fmt::Debug for Subscriber<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber")
            .field("giving", &self.giving)
            .finish_non_exhaustive()
    }
}
