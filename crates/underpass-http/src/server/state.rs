//! State of one connection, shared by its transport, its service, the bodies of its requests and
//! its timeouts.
//!
//! It is split by who writes it. All writers but one run in the connection's task, so relaxed
//! atomics are enough; another task may only [ask it to leave](ConnectionState::ask_to_leave).

use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::time::Duration;

use http::{StatusCode, Uri};

use crate::clock;
use crate::server::added_fields::AddedFields;
use crate::server::fairness::{SendBudget, SendScheduler};
use crate::server::observe::{Exchange, Failure, Observe, PartialResponse};
use crate::server::socket::HttpSocket;
use crate::stats::ServerStats;

mod exchange_log;
mod received;
mod response_progress;
mod stream;
mod streams;
mod timing;

pub(crate) use received::{MalformedRequest, Received};
pub(crate) use stream::{StreamState, UpgradeAnswer};
pub(crate) use streams::{Stream, Streams, WaitsFor};
pub(crate) use timing::Timing;

pub(crate) struct ConnectionState {
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) added_fields: Arc<AddedFields>,
    stats: Arc<ServerStats>,
    observer: Option<Arc<dyn Observe>>,
    /// Written by the transport, and by the connection at the beginning of each turn.
    pub(crate) timing: Timing,
    /// Written by the connection at the beginning of each turn, and by the transport when it sends.
    pub(crate) budget: SendBudget,
    /// Written by the transport when it reads.
    pub(crate) received: Received,
    /// Written by the service and the bodies. HTTP/1.1 has one stream per connection, which takes
    /// one request after another. Of HTTP/2 it only counts the bytes that were sent.
    pub(crate) stream: StreamState,
    /// Written by the transport: bytes that the socket took and keeps in this process.
    kept: AtomicU64,
    /// The streams of HTTP/2, if that is what the connection speaks.
    http2: OnceLock<Arc<Streams>>,
    /// The error code of HTTP/2 with which the connection is to end; 0 for none.
    broken_off: AtomicU32,
    /// Written by the server when another client waits for a place.
    asked_to_leave: AtomicBool,
}

/// After this many milliseconds, a client that has sent nothing counts as idle. A request usually
/// comes with the end of the handshake; if that packet is lost, it comes again within a second (RFC
/// 6298).
const SILENT_AFTER: u64 = 2_000;

/// What a connection is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// The next request to begin.
    Request,
    /// The rest of a request's head.
    Head,
    /// The rest of a request's body.
    Body,
    /// The peer to take what was sent to it.
    Reader,
    /// The peer to close the connection, so that it is not reset while it still reads.
    Close,
    /// The application, or this thread.
    Application,
}

impl ConnectionState {
    pub(crate) fn new(
        socket: &impl HttpSocket,
        added_fields: Arc<AddedFields>,
        stats: Arc<ServerStats>,
        observer: Option<Arc<dyn Observe>>,
        scheduler: Arc<SendScheduler>,
    ) -> Self {
        let peer = socket.peer();
        Self {
            peer,
            added_fields,
            stats,
            timing: Timing::new(),
            budget: SendBudget::new(scheduler),
            received: Received::default(),
            stream: StreamState::new(socket, peer, observer.clone()),
            observer,
            kept: AtomicU64::new(0),
            http2: OnceLock::new(),
            broken_off: AtomicU32::new(0),
            asked_to_leave: AtomicBool::new(false),
        }
    }

    pub(crate) fn stats(&self) -> &ServerStats {
        &self.stats
    }

    /// The connection speaks HTTP/2.
    pub(crate) fn begin_http2(&self) -> Arc<Streams> {
        self.stats.http2_connections.add(1);
        Arc::clone(self.http2.get_or_init(|| Arc::new(Streams::new())))
    }

    /// The streams of HTTP/2, if that is what the connection speaks.
    pub(crate) fn http2(&self) -> Option<&Streams> {
        self.http2.get().map(|streams| &**streams)
    }

    /// Ends a connection that speaks HTTP/2, with this error code.
    pub(crate) fn break_off(&self, code: u32) {
        self.broken_off.store(code, Relaxed);
    }

    pub(crate) fn broken_off(&self) -> Option<u32> {
        Some(self.broken_off.load(Relaxed)).filter(|code| *code != 0)
    }

    /// Tells the observer that the connection ends in an error.
    pub(crate) fn failed(&self, error: &(dyn std::error::Error + 'static)) {
        if self.stream.is_idle() {
            self.tell(error, None);
            return;
        }
        let sent = self.stream.sent_of_body();
        let sent = sent.map(|sent| sent.saturating_sub(self.kept.load(Relaxed)));
        let progress = &self.stream.progress;
        progress.tell(sent, |response| self.tell(error, response));
    }

    /// Tells the observer that a stream of HTTP/2 ends in an error, and the connection goes on.
    pub(crate) fn stream_failed(&self, stream: &Stream, error: &(dyn std::error::Error + 'static)) {
        let sent = stream.sent().saturating_sub(self.kept.load(Relaxed));
        let progress = &stream.progress;
        progress.tell(Some(sent), |response| {
            if response.is_some() {
                self.tell(error, response);
            }
        });
    }

    /// Tells the observer of an error, and of the response that it broke off.
    pub(crate) fn tell(
        &self,
        error: &(dyn std::error::Error + 'static),
        response: Option<PartialResponse<'_>>,
    ) {
        if let Some(observer) = &self.observer {
            observer.failed(&Failure {
                peer: self.peer,
                error,
                response,
            });
        }
    }

    /// The target that an observer is told, if a response is broken off; `None` if there is no
    /// observer.
    pub(crate) fn observed<'a>(&self, target: &'a Uri) -> Option<&'a Uri> {
        self.observer.as_ref().map(|_| target)
    }

    /// The connection's task was woken.
    pub(crate) fn begin_turn(&self) {
        self.timing.update_clock();
        let is_http = self.stream.upgrade() != UpgradeAnswer::Accepted;
        self.budget.begin_turn(self.stream.sent(), is_http);
    }

    /// The turn's budget is spent and there is more to send: wakes the task when the other
    /// connections have had their turn.
    pub(crate) fn end_turn(&self, waker: &Waker) {
        if self.budget.end_turn(waker) {
            self.stats.turns_yielded.add(1);
        }
    }

    /// `count` bytes arrived. `in_head` says whether the last of them belongs to a head that is not
    /// complete.
    pub(crate) fn received(&self, count: usize, in_head: bool) {
        self.stats.bytes_received.add(count as u64);
        self.timing.progress();
        self.received.set_in_head(in_head);
        if count > 0 && !self.stream.is_answering() {
            self.timing.head_begins();
        }
    }

    /// `count` bytes of HTTP/2 arrived. `in_head` says whether they end in a head that is not
    /// complete, and `is_new` whether another head was begun with them.
    pub(crate) fn received_frames(&self, count: usize, in_head: bool, is_new: bool) {
        self.stats.bytes_received.add(count as u64);
        self.timing.progress();
        match (in_head, is_new) {
            (false, _) => self.timing.head_is_complete(),
            (true, true) => self.timing.restart_head(),
            (true, false) => self.timing.head_begins(),
        }
    }

    pub(crate) fn sent(&self, count: usize) {
        self.budget.spend(count);
        self.stream.add_sent(count);
        self.timing.progress();
    }

    /// The socket keeps `count` bytes of what it took, because they are encrypted and not sent.
    pub(crate) fn keeps(&self, count: u64) {
        self.kept.store(count, Relaxed);
    }

    /// Bytes that were sent of responses that are not complete.
    pub(crate) fn sent_of_incomplete(&self) -> u64 {
        let taken = match self.http2() {
            Some(streams) => streams.sent_of_incomplete(),
            None if self.stream.is_idle() => 0,
            None => self.stream.sent() as u64,
        };
        taken.saturating_sub(self.kept.load(Relaxed))
    }

    /// Whether more is to come of the body of the request that is being answered.
    pub(crate) fn is_body_to_come(&self) -> bool {
        self.received.in_body_of() == self.stream.number()
    }

    /// A request's head is complete. `exchange` is `Some` only if somebody observes, and so is
    /// `target`, unless the response is at hand.
    pub(crate) fn begin_request(&self, target: Option<&Uri>, exchange: Option<Exchange>) {
        self.stream.begin(target, exchange);
        self.timing.head_is_complete();
    }

    /// The response's status is known, and perhaps the length of its body.
    pub(crate) fn begin_response(&self, status: StatusCode, len: Option<u64>) {
        self.stream.progress.set_len(len);
        if self.stream.begin_response(status) == UpgradeAnswer::Accepted {
            // The connection belongs to the application after the upgrade, so it has no more turns.
            self.budget.lift();
        }
    }

    /// hyper was given the last byte of the response.
    pub(crate) fn end_response(&self) {
        self.stream.end_response();
        // A part of the next head came right behind the request that was answered. Its timeout
        // begins now.
        if self.received.is_in_head() {
            self.timing.restart_head();
        }
    }

    /// Everything that hyper had to write is written.
    pub(crate) fn flushed(&self) {
        self.timing.set_blocked(false);
        let of_objects = self.stream.take_of_objects();
        if of_objects > 0 {
            self.stats.bytes_of_objects.add(of_objects);
        }
        self.stream.flushed();
    }

    /// hyper itself refused what came, and has sent that response.
    pub(crate) fn refused(&self, status: StatusCode) {
        self.stats.requests_refused.add(1);
        self.stream.log.close(true);
        self.stream.log.refused(status);
    }

    /// The connection is over; a response that is still in progress did not arrive whole.
    pub(crate) fn ended(&self) {
        self.stream.log.close(false);
        if let Some(streams) = self.http2() {
            streams.ended();
        }
    }

    /// The last request was answered, and nothing of the next one has arrived.
    pub(crate) fn is_between_requests(&self) -> bool {
        self.stream.is_flushed() && self.waiting() == Waiting::Request
    }

    /// Whether nothing is lost if the connection is closed in favour of another client.
    pub(crate) fn is_idle(&self) -> bool {
        self.is_between_requests() || self.is_silent()
    }

    /// Whether the client has sent nothing since it connected, like browsers that connect ahead of
    /// need.
    fn is_silent(&self) -> bool {
        self.stream.number() == 0
            && self.http2().is_none_or(Streams::is_empty)
            && !self.received.is_in_head()
            && self.waiting() == Waiting::Head
            && clock::now().saturating_sub(self.timing.progress_at()) >= SILENT_AFTER
    }

    pub(crate) fn ask_to_leave(&self) {
        self.asked_to_leave.store(true, Relaxed);
    }

    pub(crate) fn is_asked_to_leave(&self) -> bool {
        self.asked_to_leave.load(Relaxed)
    }

    /// Whether the connection was asked to leave and can. One that has begun another request stays.
    pub(crate) fn leaves(&self) -> bool {
        self.is_asked_to_leave()
            && (self.is_idle() || {
                self.asked_to_leave.store(false, Relaxed);
                false
            })
    }

    pub(crate) fn waiting(&self) -> Waiting {
        if self.timing.is_lingering() {
            Waiting::Close
        } else if self.timing.is_blocked() {
            Waiting::Reader
        } else if let Some(streams) = self.http2() {
            self.waiting_in(streams)
        } else if self.stream.is_body_wanted() {
            Waiting::Body
        } else if self.stream.is_answering() {
            Waiting::Application
        } else if self.timing.has_head_begun() {
            Waiting::Head
        } else {
            Waiting::Request
        }
    }

    /// What a connection with streams waits for. Streams that wait for more have timeouts of their
    /// own.
    fn waiting_in(&self, streams: &Streams) -> Waiting {
        if self.timing.has_head_begun() {
            Waiting::Head
        } else if streams.is_empty() {
            Waiting::Request
        } else if streams.are_given() {
            Waiting::Reader
        } else {
            Waiting::Application
        }
    }

    /// How long the connection has been waiting for `what`, as of this turn.
    pub(crate) fn waited(&self, what: Waiting) -> Duration {
        self.timing.since(match (what, self.http2()) {
            (Waiting::Head, _) => self.timing.head_at(),
            // A client that only pings is idle.
            (Waiting::Request, Some(streams)) => streams.idle_since(),
            _ => self.timing.progress_at(),
        })
    }
}

impl std::fmt::Debug for ConnectionState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectionState")
            .field("peer", &self.peer)
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
