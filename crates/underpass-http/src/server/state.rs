//! What one connection is doing: shared by its transport, its service, the bodies of its requests and its timeouts,
//! which all run in one task.

use std::net::SocketAddr;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use http::StatusCode;

use crate::clock;
use crate::server::fairness::SendScheduler;
use crate::server::observe::{Exchange, Observe};
use crate::server::refusal::Refusal;
use crate::stats::ServerStats;

/// How long a client may go on sending after it was answered, in milliseconds; as in nginx.
const LINGERING_AT_MOST: u64 = 30_000;

impl std::fmt::Debug for ConnectionState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectionState")
            .field("peer", &self.peer)
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}

pub(crate) struct ConnectionState {
    pub(crate) peer: Option<SocketAddr>,
    stats: Arc<ServerStats>,
    observer: Option<Arc<dyn Observe>>,
    /// The observer is to be told of exchanges.
    follows: bool,
    /// Now, as of this turn: milliseconds of [`clock`].
    now: AtomicU64,
    turns: Arc<SendScheduler>,
    /// The number of the turn, the bytes that may be sent in it, and those that were.
    turn: AtomicU64,
    budget: AtomicUsize,
    spent: AtomicUsize,
    /// Bytes sent since the request came.
    sent_of_response: AtomicUsize,
    /// The last turn ended because its budget was spent.
    yielded: AtomicBool,
    /// When bytes last came or went.
    progress_at: AtomicU64,
    /// When the head that is under way began.
    head_at: AtomicU64,
    /// The peer does not take what it is sent.
    blocked: AtomicBool,
    /// Somebody waits for more of the request's body.
    body_wanted: AtomicBool,
    /// A request is being answered.
    answering: AtomicBool,
    /// Bytes came that belong to no request yet.
    head_begun: AtomicBool,
    /// What came last is the beginning of a head.
    in_head: AtomicBool,
    /// All is sent, and what the peer still sends is thrown away.
    lingering: AtomicBool,
    lingering_since: AtomicU64,
    /// hyper was given the last byte of the response, but may not have written it yet.
    handed_over: AtomicBool,
    /// Another client waits for this connection's place.
    asked_to_leave: AtomicBool,
    /// Whether the last request was answered by an upgrade.
    upgrade: AtomicU8,
    /// The framing check has let bytes pass that might be another request.
    unguarded: AtomicBool,
    /// Requests whose head was complete.
    requests: AtomicU64,
    /// Which of them more of a body is to come of; 0 for none.
    in_body_of: AtomicU64,
    exchange: Mutex<Option<Exchange>>,
    malformed: Mutex<Option<MalformedRequest>>,
}

/// What came in the place of a request.
#[derive(Debug)]
pub(crate) struct MalformedRequest {
    pub(crate) refusal: Refusal,
    /// Its first line, or the beginning of it.
    pub(crate) line: Vec<u8>,
}

/// What a connection is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// The next request to begin.
    Request,
    /// The rest of a request's head.
    Head,
    /// The rest of a request's body.
    Body,
    /// The peer to take what it is sent.
    Reader,
    /// The peer to close, so that it is not reset while it reads.
    Close,
    /// The application, or this thread.
    Application,
}

/// What is known of a request to upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum UpgradeAnswer {
    /// It is not answered yet.
    Undecided,
    /// The connection goes on with HTTP.
    Declined,
    /// The connection is not HTTP's any more.
    Accepted,
}

impl ConnectionState {
    pub(crate) fn new(
        peer: Option<SocketAddr>,
        stats: Arc<ServerStats>,
        observer: Option<Arc<dyn Observe>>,
        turns: Arc<SendScheduler>,
    ) -> Self {
        let now = clock::now();
        Self {
            peer,
            stats,
            follows: observer.as_deref().is_some_and(Observe::wants_exchanges),
            observer,
            now: AtomicU64::new(now),
            turns,
            turn: AtomicU64::new(0),
            budget: AtomicUsize::new(0),
            spent: AtomicUsize::new(0),
            sent_of_response: AtomicUsize::new(0),
            yielded: AtomicBool::new(false),
            progress_at: AtomicU64::new(now),
            head_at: AtomicU64::new(now),
            blocked: AtomicBool::new(false),
            body_wanted: AtomicBool::new(false),
            answering: AtomicBool::new(false),
            // A client that connects and says nothing gets as long as one that begins and stops.
            head_begun: AtomicBool::new(true),
            in_head: AtomicBool::new(false),
            lingering: AtomicBool::new(false),
            lingering_since: AtomicU64::new(now),
            handed_over: AtomicBool::new(false),
            asked_to_leave: AtomicBool::new(false),
            upgrade: AtomicU8::new(UpgradeAnswer::Undecided as u8),
            unguarded: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            in_body_of: AtomicU64::new(0),
            exchange: Mutex::new(None),
            malformed: Mutex::new(None),
        }
    }

    pub(crate) fn stats(&self) -> &ServerStats {
        &self.stats
    }

    pub(crate) fn observer(&self) -> Option<&dyn Observe> {
        self.observer.as_deref()
    }

    /// The observer, if it is to be told of exchanges.
    pub(crate) fn follower(&self) -> Option<&dyn Observe> {
        self.observer().filter(|_| self.follows)
    }

    /// The connection's task was woken.
    pub(crate) fn begin_turn(&self) {
        self.now.store(clock::now(), Relaxed);
        self.yielded.store(false, Relaxed);
        let sent = self.sent_of_response.load(Relaxed);
        let (turn, budget) = self.turns.begin(self.turn.load(Relaxed), sent);
        self.turn.store(turn, Relaxed);
        if self.upgrade() != UpgradeAnswer::Accepted {
            self.budget.store(budget, Relaxed);
        }
        self.spent.store(0, Relaxed);
    }

    /// How much of a file may go in one call. Whole budgets: the last call of a turn may go beyond it, so that calls stay
    /// large and end where pages do.
    pub(crate) fn budget(&self) -> usize {
        self.budget.load(Relaxed)
    }

    pub(crate) fn turn_is_over(&self) -> bool {
        self.spent.load(Relaxed) >= self.budget()
    }

    /// The turn's budget is spent with more to send: the task is woken when the others had theirs.
    pub(crate) fn end_turn(&self, waker: &Waker) {
        if !self.yielded.swap(true, Relaxed) {
            self.stats.turns_yielded.add(1);
            self.turns.wait(waker.clone());
        }
    }

    /// Bytes came, the last of them in a head or not.
    pub(crate) fn received(&self, count: usize, in_head: bool) {
        self.stats.bytes_received.add(count as u64);
        self.progress();
        self.in_head.store(in_head, Relaxed);
        if count > 0 && !self.answering.load(Relaxed) && !self.head_begun.swap(true, Relaxed) {
            self.head_at.store(self.now.load(Relaxed), Relaxed);
        }
    }

    /// Of which request, counted from 1, more of a body is to come.
    pub(crate) fn set_in_body_of(&self, request: Option<u64>) {
        self.in_body_of.store(request.unwrap_or(0), Relaxed);
    }

    /// Not all of the body of the request that is being answered has come.
    pub(crate) fn is_body_to_come(&self) -> bool {
        self.in_body_of.load(Relaxed) == self.requests.load(Relaxed)
    }

    /// For who answers the request that stands for it.
    pub(crate) fn set_malformed(&self, malformed: MalformedRequest) {
        *lock(&self.malformed) = Some(malformed);
    }

    pub(crate) fn take_malformed(&self) -> Option<MalformedRequest> {
        lock(&self.malformed).take()
    }

    /// hyper refused what came by itself, and has sent that.
    pub(crate) fn refused(&self, status: StatusCode) {
        self.stats.requests_refused.add(1);
        self.close_exchange(true);
        if let Some(observer) = self.follower() {
            let mut exchange = Exchange::malformed(self.peer, b"", observer.wants_requests());
            exchange.status = Some(status);
            exchange.complete = true;
            observer.exchange(&exchange);
        }
    }

    pub(crate) fn sent(&self, count: usize) {
        for sum in [&self.spent, &self.sent_of_response] {
            sum.store(sum.load(Relaxed).saturating_add(count), Relaxed);
        }
        self.progress();
    }

    fn progress(&self) {
        self.progress_at.store(self.now.load(Relaxed), Relaxed);
    }

    /// The connection is closed as far as we are concerned.
    pub(crate) fn linger(&self) {
        if !self.lingering.swap(true, Relaxed) {
            self.progress();
            self.lingering_since.store(self.now.load(Relaxed), Relaxed);
        }
    }

    /// The peer still sends, and has not noticed that it was answered. It may do so for a while.
    pub(crate) fn discarded(&self) {
        let since = self.lingering_since.load(Relaxed);
        if self.now.load(Relaxed).saturating_sub(since) < LINGERING_AT_MOST {
            self.progress();
        }
    }

    pub(crate) fn set_blocked(&self, blocked: bool) {
        self.blocked.store(blocked, Relaxed);
    }

    pub(crate) fn set_body_wanted(&self, wanted: bool) {
        self.body_wanted.store(wanted, Relaxed);
    }

    /// A request's head is complete. `exchange` is there only if somebody observes.
    pub(crate) fn request(&self, exchange: Option<Exchange>) {
        // Pipelined: the answer before this one is only behind it in the same queue.
        self.close_exchange(true);
        self.requests
            .store(self.requests.load(Relaxed) + 1, Relaxed);
        self.sent_of_response.store(0, Relaxed);
        self.head_begun.store(false, Relaxed);
        self.answering.store(true, Relaxed);
        self.handed_over.store(false, Relaxed);
        self.upgrade.store(UpgradeAnswer::Undecided as u8, Relaxed);
        if exchange.is_some() {
            *self.exchange() = exchange;
        }
    }

    /// For the response's status and bytes, as they become known.
    pub(crate) fn with_exchange(&self, note: impl FnOnce(&mut Exchange)) {
        if self.follows
            && let Some(exchange) = self.exchange().as_mut()
        {
            note(exchange);
        }
    }

    /// The response's status is known.
    pub(crate) fn answers_with(&self, status: StatusCode) {
        let upgrade = if status == StatusCode::SWITCHING_PROTOCOLS {
            // There are no turns after it: whoever has the connection then is not this crate.
            self.budget.store(usize::MAX, Relaxed);
            UpgradeAnswer::Accepted
        } else {
            UpgradeAnswer::Declined
        };
        self.upgrade.store(upgrade as u8, Relaxed);
        self.with_exchange(|exchange| exchange.status = Some(status));
    }

    pub(crate) fn upgrade(&self) -> UpgradeAnswer {
        [
            UpgradeAnswer::Undecided,
            UpgradeAnswer::Declined,
            UpgradeAnswer::Accepted,
        ][usize::from(self.upgrade.load(Relaxed))]
    }

    pub(crate) fn set_unguarded(&self) {
        self.unguarded.store(true, Relaxed);
    }

    pub(crate) fn is_unguarded(&self) -> bool {
        self.unguarded.load(Relaxed)
    }

    /// hyper has the whole response.
    pub(crate) fn answered(&self) {
        self.answering.store(false, Relaxed);
        self.body_wanted.store(false, Relaxed);
        self.handed_over.store(true, Relaxed);
        // The next head came in part behind the request that was answered: from now on it has its time.
        if self.in_head.load(Relaxed) {
            self.head_begun.store(true, Relaxed);
            self.head_at.store(self.now.load(Relaxed), Relaxed);
        }
    }

    /// Everything that hyper had to write is written.
    pub(crate) fn flushed(&self) {
        self.blocked.store(false, Relaxed);
        // Before a look at whether idle connections are wanted; who wants them looks the other way round.
        if self.handed_over.swap(false, SeqCst) {
            self.close_exchange(true);
        }
    }

    /// The connection is over; a response that is still open did not arrive whole.
    pub(crate) fn ended(&self) {
        self.close_exchange(false);
    }

    fn close_exchange(&self, complete: bool) {
        let Some(observer) = self.follower() else {
            return;
        };
        let exchange = self.exchange().take();
        if let Some(mut exchange) = exchange {
            exchange.complete = complete && !exchange.broken;
            exchange.elapsed = exchange.started.elapsed();
            observer.exchange(&exchange);
        }
    }

    fn exchange(&self) -> MutexGuard<'_, Option<Exchange>> {
        lock(&self.exchange)
    }

    /// No request is being answered, and nothing is left to write of the last.
    pub(crate) fn is_idle(&self) -> bool {
        !self.answering.load(Relaxed) && !self.handed_over.load(Relaxed)
    }

    /// A request was answered, and nothing has come of the next.
    pub(crate) fn is_between_requests(&self) -> bool {
        !self.handed_over.load(SeqCst) && self.waiting() == Waiting::Request
    }

    /// When bytes last came or went.
    pub(crate) fn progress_at(&self) -> u64 {
        self.progress_at.load(Relaxed)
    }

    pub(crate) fn ask_to_leave(&self) {
        self.asked_to_leave.store(true, Relaxed);
    }

    pub(crate) fn is_asked_to_leave(&self) -> bool {
        self.asked_to_leave.load(Relaxed)
    }

    /// Whether it was asked to leave and can: who has begun another request stays.
    pub(crate) fn leaves(&self) -> bool {
        self.is_asked_to_leave()
            && (self.is_between_requests() || {
                self.asked_to_leave.store(false, Relaxed);
                false
            })
    }

    pub(crate) fn waiting(&self) -> Waiting {
        if self.lingering.load(Relaxed) {
            Waiting::Close
        } else if self.blocked.load(Relaxed) {
            Waiting::Reader
        } else if self.body_wanted.load(Relaxed) {
            Waiting::Body
        } else if self.answering.load(Relaxed) {
            Waiting::Application
        } else if self.head_begun.load(Relaxed) {
            Waiting::Head
        } else {
            Waiting::Request
        }
    }

    /// How long it has been waiting for that, as of this turn.
    pub(crate) fn waited(&self, what: Waiting) -> Duration {
        let since = match what {
            Waiting::Head => self.head_at.load(Relaxed),
            _ => self.progress_at.load(Relaxed),
        };
        Duration::from_millis(self.now.load(Relaxed).saturating_sub(since))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
