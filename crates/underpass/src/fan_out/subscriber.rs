//! A subscriber: sends the stream to its socket, at its own pace.

use std::fmt;
use std::os::fd::AsFd;
use std::sync::Arc;

use super::send_state::SendState;
use super::{Shared, SubscriberCounts, SubscriberEnd};
use crate::net::close::{close_in_order, reset_on_close};
use crate::step::Step;
use crate::stream::error::StreamError;
use crate::sys::Kernel;
use crate::wire::Wire;

/// One receiver of the stream, and its socket.
///
/// It keeps its position in the stream until it is dropped. With [`Slow::Wait`](super::Slow::Wait),
/// a subscriber that is never stepped holds up all others. A TCP connection that is closed before
/// everything was sent is reset, also when the process is killed and the kernel closes it.
pub struct Subscriber<D: AsFd> {
    pub(super) sys: Kernel,
    pub(super) sink: D,
    pub(super) send_state: SendState,
}

impl<D: AsFd> Subscriber<D> {
    pub(super) fn new(sink: D, wire: Wire, shared: Arc<Shared>) -> Result<Self, StreamError> {
        rustix::io::ioctl_fionbio(&sink, true).map_err(StreamError::call)?;
        reset_on_close(&sink).map_err(StreamError::call)?;
        Ok(Self {
            sys: Kernel::default(),
            sink,
            send_state: SendState::new(shared, wire),
        })
    }

    /// Makes one system call, without waiting: [`Wait::Source`](crate::Wait::Source) when there is
    /// nothing for it now, [`Wait::Sink`](crate::Wait::Sink) when its socket takes no more now.
    ///
    /// [`Step::Done`] means that nothing more will be sent; [`finish`](Self::finish) says why.
    pub fn step(&mut self) -> Step {
        self.send_state.step(&self.sys, self.sink.as_fd())
    }

    /// The socket.
    pub fn socket(&self) -> &D {
        &self.sink
    }

    /// Closes the socket, by a reset if not everything was sent, and returns the counts.
    pub fn finish(mut self) -> (SubscriberCounts, SubscriberEnd) {
        self.send_state.end(SubscriberEnd::Cut);
        self.send_state.count_unacknowledged(self.sink.as_fd());
        (
            self.send_state.given,
            self.send_state.ended.unwrap_or(SubscriberEnd::Cut),
        )
    }
}

impl<D: AsFd> Drop for Subscriber<D> {
    fn drop(&mut self) {
        self.send_state.end(SubscriberEnd::Cut);
        if self.send_state.ends_cleanly() {
            // This fails only for a socket that is gone already.
            let _ = close_in_order(&self.sink);
        }
    }
}

impl<D: AsFd> fmt::Debug for Subscriber<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber")
            .field("send_state", &self.send_state)
            .finish_non_exhaustive()
    }
}
