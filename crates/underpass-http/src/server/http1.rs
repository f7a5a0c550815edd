//! HTTP/1.1: hyper speaks it, and rests while a connection is idle.
//!
//! hyper keeps two buffers of 8 KiB, and room for the futures of the service, for as long as it
//! lives. An idle connection needs none of them. So hyper begins with the first bytes of a request,
//! and when no other request has come for a while, it is taken apart again: only the transport and
//! the service are kept.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::server::conn::http1;

use crate::server::app::App;
use crate::server::service::HyperService;
use crate::server::socket::HttpSocket;
use crate::server::transport::Transport;

/// After so long without a request, hyper rests. The requests of a page come closer together, so
/// none of them has to wait for hyper to begin (some 300 ns).
pub(super) const RESTS_AFTER: Duration = Duration::from_secs(1);

/// One connection that speaks HTTP/1.1.
pub(super) struct Http1<S: HttpSocket, A: App> {
    builder: Arc<http1::Builder>,
    phase: Phase<S, A>,
}

// Most connections rest.
#[allow(clippy::large_enum_variant)]
enum Phase<S: HttpSocket, A: App> {
    /// No request is in progress, and none has begun.
    Resting(Resting<S, A>),
    Active(Box<Hyper<S, A>>),
    /// Its parts have been moved.
    Moved,
}

struct Resting<S, A> {
    transport: Transport<S>,
    service: HyperService<A>,
}

type Hyper<S, A> = http1::UpgradeableConnection<Transport<S>, HyperService<A>>;

impl<S: HttpSocket, A: App> Http1<S, A> {
    pub(super) fn new(
        transport: Transport<S>,
        service: HyperService<A>,
        builder: Arc<http1::Builder>,
    ) -> Self {
        Self {
            builder,
            phase: Phase::Resting(Resting { transport, service }),
        }
    }

    /// Drives hyper, once there is something to do for it.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        if let Phase::Resting(resting) = &mut self.phase {
            ready!(resting.transport.poll_first_bytes(cx));
            self.wake();
        }
        match &mut self.phase {
            Phase::Active(hyper) => Pin::new(&mut **hyper).poll(cx),
            Phase::Resting(_) | Phase::Moved => Poll::Ready(Ok(())),
        }
    }

    /// Ends the connection when the requests in progress are answered.
    pub(super) fn graceful_shutdown(&mut self) {
        self.wake();
        if let Phase::Active(hyper) = &mut self.phase {
            Pin::new(&mut **hyper).graceful_shutdown();
        }
    }

    pub(super) fn is_resting(&self) -> bool {
        matches!(self.phase, Phase::Resting(_))
    }

    /// Frees what hyper holds. To be called between requests only.
    pub(super) fn rest(&mut self) {
        if let Some(parts) = self.take_apart() {
            self.phase = Phase::Resting(parts);
        }
    }

    /// Says that the connection ends, as far as that can be said at once. Nothing can be done with
    /// the connection afterwards.
    pub(super) fn say_goodbye(&mut self, cx: &mut Context<'_>) {
        if let Some(mut parts) = self.take_apart() {
            parts.transport.say_goodbye(cx);
        }
    }

    fn wake(&mut self) {
        match std::mem::replace(&mut self.phase, Phase::Moved) {
            Phase::Resting(Resting { transport, service }) => {
                let hyper = self.builder.serve_connection(transport, service);
                self.phase = Phase::Active(Box::new(hyper.with_upgrades()));
            }
            other => self.phase = other,
        }
    }

    /// `None` if the connection was upgraded.
    fn take_apart(&mut self) -> Option<Resting<S, A>> {
        match std::mem::replace(&mut self.phase, Phase::Moved) {
            Phase::Resting(resting) => Some(resting),
            Phase::Active(hyper) => {
                let parts = hyper.into_parts()?;
                let mut transport = parts.io;
                transport.put_back(&parts.read_buf);
                Some(Resting {
                    transport,
                    service: parts.service,
                })
            }
            Phase::Moved => None,
        }
    }
}
