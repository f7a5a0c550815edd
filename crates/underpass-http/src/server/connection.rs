//! One connection: it drives hyper, and adds timeouts and the graceful shutdown.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{StatusCode, Version};
use hyper::server::conn::http1;
use pin_project_lite::pin_project;
use tokio::sync::futures::OwnedNotified;
use tokio::time::{Instant, Sleep, sleep};

use crate::clock;
use crate::prepared::PreparedResponses;
use crate::server::app::App;
use crate::server::framing::HeadLimits;
use crate::server::http1::{Http1, RESTS_AFTER};
use crate::server::open_connections::{OpenConnections, Registration, Shutdown};
use crate::server::service::{HyperService, RequestExtension};
use crate::server::socket::HttpSocket;
use crate::server::state::{ConnectionState, Waiting};
use crate::server::transport::{Transport, TransportDropped};
use crate::server::{Limits, Timeouts, http2};

/// How long to wait for the client to close after the last response, if it sends nothing.
const LINGERING: Duration = Duration::from_secs(2);

/// How often overdue streams are looked for, as a part of the shortest timeout.
const SWEEPS: u32 = 8;

/// What the connections of a server have in common.
pub(crate) struct Protocols {
    pub(crate) http1: Arc<http1::Builder>,
    pub(crate) limits: Limits,
    /// Whether plain sockets may speak HTTP/2.
    pub(crate) h2c: bool,
    pub(crate) prepared: Option<Arc<dyn PreparedResponses>>,
}

/// What a connection begins with.
pub(crate) struct Start<S, A> {
    pub(crate) socket: S,
    pub(crate) app: A,
    pub(crate) extension: Option<RequestExtension>,
    pub(crate) protocols: Arc<Protocols>,
}

pin_project! {
    /// Serves one connection to its end. Dropping it breaks off the exchange in progress.
    pub(crate) struct Connection<S, A>
    where
        S: HttpSocket,
        A: App,
    {
        protocol: Protocol<S, A>,
        // Ready when the transport of HTTP/1.1 is dropped. If the connection was upgraded, that is
        // later than the end of HTTP.
        transport_dropped: Option<TransportDropped>,
        #[pin]
        timer: Sleep,
        // When the timer fires, in the time of the coarse clock.
        timer_at: u64,
        #[pin]
        shutdown_begun: OwnedNotified,
        shutdown: Arc<Shutdown>,
        open: Arc<OpenConnections>,
        registration: Option<Registration>,
        closing: bool,
        open_count: OpenCount,
        timeouts: Timeouts,
    }
}

// It is moved once in a connection.
#[allow(clippy::large_enum_variant)]
enum Protocol<S, A>
where
    S: HttpSocket,
    A: App,
{
    /// The first bytes will tell.
    Undecided {
        start: Option<Start<S, A>>,
    },
    Http1(Http1<S, A>),
    Http2(Box<dyn http2::Connection>),
    /// HTTP is over.
    Over,
}

/// Counts the connection as open while it lives, and closes its last exchange.
struct OpenCount(Arc<ConnectionState>);

impl Drop for OpenCount {
    fn drop(&mut self) {
        self.0.stats().connections_open.subtract(1);
        self.0.ended();
    }
}

impl<S: HttpSocket, A: App> Connection<S, A> {
    pub(crate) fn new(
        start: Start<S, A>,
        state: Arc<ConnectionState>,
        timeouts: Timeouts,
        (shutdown, open): (Arc<Shutdown>, Arc<OpenConnections>),
    ) -> Self {
        state.stats().connections_accepted.add(1);
        state.stats().connections_open.add(1);
        let start = Some(start);
        Self {
            protocol: Protocol::Undecided { start },
            transport_dropped: None,
            timer: sleep(timeouts.head),
            timer_at: clock::now() + timeouts.head.as_millis() as u64,
            shutdown_begun: shutdown.notified(),
            shutdown,
            open,
            registration: None,
            closing: false,
            open_count: OpenCount(state),
            timeouts,
        }
    }
}

impl<S: HttpSocket, A: App> Future for Connection<S, A> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.as_mut().project();
        let state = &this.open_count.0;
        state.begin_turn();
        // A task's waker stays the same, so it is registered only once.
        let first = this.registration.is_none();
        if first {
            let _ = this.shutdown_begun.poll(cx);
            *this.registration = Some(this.open.enter(Arc::clone(state), cx.waker().clone()));
        }
        let shuts_down = !*this.closing && this.shutdown.has_begun();
        *this.closing |= shuts_down;
        if let Protocol::Undecided { start } = this.protocol {
            match poll_version(start, cx) {
                Poll::Pending if shuts_down => return Poll::Ready(()),
                Poll::Pending => {}
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Ready(Some(version)) => {
                    let Some(start) = start.take() else {
                        return Poll::Ready(());
                    };
                    (*this.protocol, *this.transport_dropped) = start.begin(state, version);
                }
            }
        }
        let polled = match this.protocol {
            Protocol::Undecided { .. } => Poll::Pending,
            Protocol::Http1(http1) => {
                if shuts_down {
                    http1.graceful_shutdown();
                }
                http1.poll(cx)
            }
            Protocol::Http2(http2) => {
                if shuts_down {
                    http2.graceful_shutdown();
                }
                http2.poll(cx)
            }
            Protocol::Over => return self.poll_upgraded(cx),
        };
        let Poll::Ready(result) = polled else {
            return self.poll_waiting(cx, first);
        };
        if let Err(error) = result {
            state.failed(&error);
            if let Some(status) = refused_with(&error) {
                state.refused(status);
            }
        }
        *this.protocol = Protocol::Over;
        self.poll_upgraded(cx)
    }
}

/// Which version the client speaks: what was agreed on, or what its first bytes tell. `None` if it
/// is gone.
fn poll_version<S: HttpSocket, A>(
    start: &mut Option<Start<S, A>>,
    cx: &mut Context<'_>,
) -> Poll<Option<Version>> {
    let Some(start) = start else {
        return Poll::Ready(None);
    };
    if let Some(version) = start.socket.agreed_version() {
        return Poll::Ready(Some(version));
    }
    let mut known = 0;
    while start.protocols.h2c {
        let mut bytes = [0; http2::PREFACE.len()];
        match ready!(start.socket.poll_peek(cx, &mut bytes, known)) {
            Err(_) => return Poll::Ready(None),
            // It has ended, or cannot tell.
            Ok(count) if count <= known => break,
            Ok(count) => match http2::is_preface(&bytes[..count]) {
                Some(true) => return Poll::Ready(Some(Version::HTTP_2)),
                Some(false) => break,
                None => known = count,
            },
        }
    }
    Poll::Ready(Some(Version::HTTP_11))
}

impl<S: HttpSocket, A: App> Start<S, A> {
    fn begin(
        self,
        state: &Arc<ConnectionState>,
        version: Version,
    ) -> (Protocol<S, A>, Option<TransportDropped>) {
        let (protocols, socket, app) = (&self.protocols, self.socket, self.app);
        let limits = &protocols.limits;
        if version == Version::HTTP_2 {
            let http2 = http2::connection(socket, app, self.extension, state, limits);
            return (Protocol::Http2(http2), None);
        }
        let service = HyperService {
            app,
            extension: self.extension,
            state: Arc::clone(state),
        };
        let head_limits = HeadLimits {
            bytes: limits.head_bytes,
            fields: limits.fields(),
        };
        let prepared = protocols.prepared.clone();
        let (transport, dropped) = Transport::new(socket, Arc::clone(state), prepared, head_limits);
        let http1 = Http1::new(transport, service, Arc::clone(&protocols.http1));
        (Protocol::Http1(http1), Some(dropped))
    }
}

impl<S: HttpSocket, A: App> Connection<S, A> {
    /// hyper is done. If the connection was upgraded, its transport lives on, and the connection
    /// counts as open until it is dropped. A server that stops does not wait for it, because it
    /// cannot end it.
    fn poll_upgraded(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if this.shutdown.has_begun() {
            return Poll::Ready(());
        }
        match this.transport_dropped {
            Some(dropped) => Pin::new(dropped).poll(cx).map(|_| ()),
            None => Poll::Ready(()),
        }
    }

    /// hyper waits for something. Ready when a timeout has passed, or when the connection is to
    /// make room for another client.
    fn poll_waiting(self: Pin<&mut Self>, cx: &mut Context<'_>, first: bool) -> Poll<()> {
        let mut this = self.project();
        let state = &this.open_count.0;
        if state.leaves() {
            this.protocol.say_goodbye(cx);
            return Poll::Ready(());
        }
        if let Some(registration) = this
            .registration
            .as_ref()
            .filter(|_| state.is_between_requests())
        {
            registration.notify_idle();
        }
        let mut left = this.timeouts.left(state);
        if let Some(streams) = state.http2() {
            if *this.closing && state.waiting() == Waiting::Request {
                // It was told so. A client that does not close is not waited for.
                let waited = state.waited(Waiting::Request);
                left = Some(LINGERING.saturating_sub(waited));
            }
            if !streams.is_empty() {
                let overdue = streams.cut_overdue(this.timeouts);
                state.stats().streams_timed_out.add(overdue);
                left = Some(left.unwrap_or(Duration::MAX).min(this.timeouts.sweep()));
            }
        }
        if left == Some(Duration::ZERO) {
            this.protocol.say_goodbye(cx);
            if state.waiting() == Waiting::Close {
                return Poll::Ready(());
            }
            state.stats().connections_timed_out.add(1);
            state.failed(&timed_out(state.waiting()));
            return Poll::Ready(());
        }
        if let Protocol::Http1(http1) = this.protocol
            && state.is_between_requests()
            && !http1.is_resting()
        {
            let rests_in = RESTS_AFTER.saturating_sub(state.waited(Waiting::Request));
            if rests_in.is_zero() {
                http1.rest();
            } else {
                left = left.map(|left| left.min(rests_in));
            }
        }
        // A timer that fires too early is not moved, because most connections end before it does.
        let (now, left) = (clock::now(), left.unwrap_or(this.timeouts.keep_alive));
        let due = now + left.as_millis() as u64;
        // The timer's clock is finer than ours, so it may have fired already.
        if due < *this.timer_at || *this.timer_at <= now || this.timer.is_elapsed() {
            *this.timer_at = due;
            this.timer.as_mut().reset(Instant::now() + left);
        } else if !first {
            return Poll::Pending;
        }
        if this.timer.poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

/// The status with which hyper has answered a request that it could not parse.
fn refused_with(error: &hyper::Error) -> Option<StatusCode> {
    if error.is_parse_too_large() {
        Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
    } else {
        error.is_parse().then_some(StatusCode::BAD_REQUEST)
    }
}

fn timed_out(waiting: Waiting) -> io::Error {
    let what = match waiting {
        Waiting::Request => "no request came",
        Waiting::Head => "the request's head did not come",
        Waiting::Body => "the request's body did not come",
        Waiting::Reader => "the peer does not read the response",
        Waiting::Close => "the peer does not close",
        Waiting::Application => "the application did not answer",
    };
    io::Error::new(io::ErrorKind::TimedOut, format!("timed out: {what}"))
}

impl<S: HttpSocket, A: App> Protocol<S, A> {
    /// Tells the peer that the connection ends, if that is true for what it has got so far, and can
    /// be said at once.
    fn say_goodbye(&mut self, cx: &mut Context<'_>) {
        match self {
            Self::Http1(http1) => http1.say_goodbye(cx),
            Self::Http2(http2) => http2.say_goodbye(cx),
            Self::Undecided { .. } | Self::Over => {}
        }
    }
}

impl Timeouts {
    /// The time between two looks for overdue streams.
    fn sweep(&self) -> Duration {
        let shortest = self.body.min(self.send);
        (shortest / SWEEPS).max(Duration::from_millis(10))
    }

    /// How much time is left for what the connection waits for; `None` if there is no limit.
    fn left(&self, state: &ConnectionState) -> Option<Duration> {
        let waiting = state.waiting();
        let limit = match waiting {
            Waiting::Request => self.keep_alive,
            Waiting::Head => self.head,
            Waiting::Body => self.body,
            Waiting::Reader => self.send,
            Waiting::Close => LINGERING,
            Waiting::Application => return None,
        };
        Some(limit.saturating_sub(state.waited(waiting)))
    }
}
