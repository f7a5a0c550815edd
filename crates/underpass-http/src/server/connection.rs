//! One connection: it drives hyper, and adds timeouts and the graceful shutdown.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use hyper::server::conn::http1;
use pin_project_lite::pin_project;
use tokio::sync::futures::OwnedNotified;
use tokio::time::{Instant, Sleep, sleep};
use tower_service::Service;

use crate::body::BoxError;
use crate::clock;
use crate::server::Timeouts;
use crate::server::open_connections::{OpenConnections, Registration, Shutdown};
use crate::server::request_body::RequestBody;
use crate::server::service::HyperService;
use crate::server::socket::HttpSocket;
use crate::server::state::{ConnectionState, Waiting};
use crate::server::transport::{Transport, TransportDropped};

/// How long to wait for the client to close after the last response, if it sends nothing.
const LINGERING: Duration = Duration::from_secs(2);

type Plain<S, A> = http1::Connection<Transport<S>, HyperService<A>>;
type Hyper<S, A> = http1::UpgradeableConnection<Transport<S>, HyperService<A>>;

pin_project! {
    /// Serves one connection to its end. Dropping it breaks off the exchange in progress.
    pub(crate) struct Connection<S, A, B>
    where
        S: HttpSocket,
        A: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
        A: Clone,
        B: Body<Data = Bytes>,
        B: 'static,
        B::Error: Into<BoxError>,
    {
        // `None` once HTTP is over.
        #[pin]
        hyper: Option<Hyper<S, A>>,
        // Ready when the transport is dropped. If the connection was upgraded, that is later than
        // the end of HTTP.
        transport_dropped: TransportDropped,
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

/// Counts the connection as open while it lives, and closes its last exchange.
struct OpenCount(Arc<ConnectionState>);

impl Drop for OpenCount {
    fn drop(&mut self) {
        self.0.stats().connections_open.subtract(1);
        self.0.ended();
    }
}

impl<S, A, B> Connection<S, A, B>
where
    S: HttpSocket,
    A: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible> + Clone,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<BoxError>,
{
    pub(crate) fn new(
        hyper: Plain<S, A>,
        state: Arc<ConnectionState>,
        timeouts: Timeouts,
        (shutdown, open): (Arc<Shutdown>, Arc<OpenConnections>),
        transport_dropped: TransportDropped,
    ) -> Self {
        state.stats().connections_accepted.add(1);
        state.stats().connections_open.add(1);
        Self {
            hyper: Some(hyper.with_upgrades()),
            transport_dropped,
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

impl<S, A, B> Future for Connection<S, A, B>
where
    S: HttpSocket,
    A: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible> + Clone,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<BoxError>,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.as_mut().project();
        let state = &this.open_count.0;
        state.begin_turn();
        // A task's waker stays the same, so it is registered only once.
        let first = this.registration.is_none();
        if first {
            let _ = this.shutdown_begun.poll(cx);
            *this.registration = Some(this.open.enter(Arc::clone(state), cx.waker().clone()));
        }
        if let Some(mut hyper) = this.hyper.as_mut().as_pin_mut() {
            if !*this.closing && this.shutdown.has_begun() {
                *this.closing = true;
                hyper.as_mut().graceful_shutdown();
            }
            if let Poll::Ready(result) = hyper.poll(cx) {
                if let Err(error) = result {
                    state.failed(&error);
                    if let Some(status) = refused_with(&error) {
                        state.refused(status);
                    }
                }
                this.hyper.set(None);
            }
        }
        if this.hyper.is_none() {
            return self.poll_upgraded(cx);
        }
        self.poll_waiting(cx, first)
    }
}

impl<S, A, B> Connection<S, A, B>
where
    S: HttpSocket,
    A: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible> + Clone,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<BoxError>,
{
    /// hyper is done. If the connection was upgraded, its transport lives on, and the connection
    /// counts as open until it is dropped. A server that stops does not wait for it, because it
    /// cannot end it.
    fn poll_upgraded(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if this.shutdown.has_begun() {
            return Poll::Ready(());
        }
        Pin::new(this.transport_dropped).poll(cx).map(|_| ())
    }

    /// hyper waits for something. Ready when a timeout has passed, or when the connection is to
    /// make room for another client.
    fn poll_waiting(self: Pin<&mut Self>, cx: &mut Context<'_>, first: bool) -> Poll<()> {
        let mut this = self.project();
        let state = &this.open_count.0;
        if state.leaves() {
            return Poll::Ready(());
        }
        if let Some(registration) = this
            .registration
            .as_ref()
            .filter(|_| state.is_between_requests())
        {
            registration.notify_idle();
        }
        let left = this.timeouts.left(state);
        if left == Some(Duration::ZERO) {
            if state.waiting() == Waiting::Close {
                return Poll::Ready(());
            }
            state.stats().connections_timed_out.add(1);
            state.failed(&timed_out(state.waiting()));
            return Poll::Ready(());
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

impl Timeouts {
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
