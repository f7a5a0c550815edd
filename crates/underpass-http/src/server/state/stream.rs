//! State of a stream: one request and its response at a time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize};

use http::{StatusCode, Uri};

use super::exchange_log::ExchangeLog;
use super::response_progress::ResponseProgress;
use crate::server::observe::{Exchange, Observe};
use crate::server::socket::HttpSocket;

#[derive(Debug)]
pub(crate) struct StreamState {
    /// Number of requests whose head was complete.
    requests: AtomicU64,
    /// Whether a request is being answered.
    answering: AtomicBool,
    /// Whether the application waits for more of the request's body.
    body_wanted: AtomicBool,
    /// Whether hyper was given the last byte of the response, but may not have written it yet.
    handed_over: AtomicBool,
    /// Bytes sent since the request's head was complete.
    sent: AtomicUsize,
    /// The length of the response's head once the beginning of it is sent, [`HEAD_TO_COME`] before
    /// that, [`HEAD_UNKNOWN`] or [`HEAD_UNOBSERVED`].
    head: AtomicUsize,
    /// Bytes of objects that hyper was given, and that may not have been written yet.
    of_objects: AtomicU64,
    upgrade: AtomicU8,
    pub(crate) log: ExchangeLog,
    pub(super) progress: ResponseProgress,
}

/// Nobody wants to know it.
const HEAD_UNOBSERVED: usize = 0;
const HEAD_UNKNOWN: usize = usize::MAX - 1;
const HEAD_TO_COME: usize = usize::MAX;

/// How a request to upgrade was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum UpgradeAnswer {
    /// It is not answered yet.
    Undecided,
    /// The connection goes on with HTTP.
    Declined,
    /// The connection speaks another protocol from here on.
    Accepted,
}

impl StreamState {
    pub(super) fn new(
        socket: &impl HttpSocket,
        peer: Option<SocketAddr>,
        observer: Option<Arc<dyn Observe>>,
    ) -> Self {
        Self {
            requests: AtomicU64::new(0),
            answering: AtomicBool::new(false),
            body_wanted: AtomicBool::new(false),
            handed_over: AtomicBool::new(false),
            sent: AtomicUsize::new(0),
            head: AtomicUsize::new(HEAD_UNOBSERVED),
            of_objects: AtomicU64::new(0),
            upgrade: AtomicU8::new(UpgradeAnswer::Undecided as u8),
            log: ExchangeLog::new(socket, peer, observer),
            progress: ResponseProgress::default(),
        }
    }

    pub(super) fn begin(&self, target: Option<&Uri>, exchange: Option<Exchange>) {
        self.begin_progress(target);
        // If requests are pipelined, the response to the request before this one is queued in front
        // of this one's.
        self.log.close(true);
        self.requests
            .store(self.requests.load(Relaxed) + 1, Relaxed);
        self.sent.store(0, Relaxed);
        self.answering.store(true, Relaxed);
        self.handed_over.store(false, Relaxed);
        self.upgrade.store(UpgradeAnswer::Undecided as u8, Relaxed);
        if exchange.is_some() {
            self.log.open(exchange);
        }
    }

    fn begin_progress(&self, target: Option<&Uri>) {
        if target.is_none() && self.head.load(Relaxed) == HEAD_UNOBSERVED {
            return;
        }
        let head = match target {
            None => HEAD_UNOBSERVED,
            Some(_) if self.is_flushed() => HEAD_TO_COME,
            // Bytes of the response before this one would be taken for this one's.
            Some(_) => HEAD_UNKNOWN,
        };
        self.head.store(head, Relaxed);
        self.progress.begin(target);
    }

    /// `bytes` are sent next. Finds the end of the response's head in them.
    pub(crate) fn note_head(&self, bytes: &[u8]) {
        if self.head.load(Relaxed) != HEAD_TO_COME {
            return;
        }
        let end = memchr::memmem::find(bytes, b"\r\n\r\n");
        // "100 Continue" comes before the response.
        let is_response = bytes.starts_with(b"HTTP/1.") && bytes.get(9) != Some(&b'1');
        let head = end.filter(|_| is_response && self.sent() == 0);
        self.head
            .store(head.map_or(HEAD_UNKNOWN, |end| end + 4), Relaxed);
    }

    /// Bytes of the response's body that were sent, if the body is not in chunks; `None` if that is
    /// not known.
    pub(super) fn sent_of_body(&self) -> Option<u64> {
        match self.head.load(Relaxed) {
            HEAD_UNOBSERVED | HEAD_UNKNOWN => None,
            HEAD_TO_COME => Some(0),
            head => Some(self.sent().saturating_sub(head) as u64),
        }
    }

    /// The number of the request that is being answered, counted from 1.
    pub(super) fn number(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    pub(super) fn begin_response(&self, status: StatusCode) -> UpgradeAnswer {
        let upgrade = if status == StatusCode::SWITCHING_PROTOCOLS {
            UpgradeAnswer::Accepted
        } else {
            UpgradeAnswer::Declined
        };
        self.upgrade.store(upgrade as u8, Relaxed);
        self.log.note(|exchange| exchange.status = Some(status));
        upgrade
    }

    pub(crate) fn upgrade(&self) -> UpgradeAnswer {
        use UpgradeAnswer::{Accepted, Declined, Undecided};
        [Undecided, Declined, Accepted][usize::from(self.upgrade.load(Relaxed))]
    }

    pub(crate) fn set_body_wanted(&self, wanted: bool) {
        self.body_wanted.store(wanted, Relaxed);
    }

    pub(super) fn is_body_wanted(&self) -> bool {
        self.body_wanted.load(Relaxed)
    }

    pub(super) fn is_answering(&self) -> bool {
        self.answering.load(Relaxed)
    }

    pub(super) fn add_sent(&self, count: usize) {
        let sent = self.sent.load(Relaxed).saturating_add(count);
        self.sent.store(sent, Relaxed);
    }

    /// The next byte is the first of a response.
    pub(crate) fn restart(&self) {
        self.sent.store(0, Relaxed);
    }

    /// Bytes sent since the request's head was complete.
    pub(crate) fn sent(&self) -> usize {
        self.sent.load(Relaxed)
    }

    /// hyper was given bytes of an object.
    pub(crate) fn given_of_object(&self, count: u64) {
        let of_objects = self.of_objects.load(Relaxed);
        self.of_objects.store(of_objects + count, Relaxed);
    }

    /// The bytes of objects that were given, which are now written.
    pub(super) fn take_of_objects(&self) -> u64 {
        let of_objects = self.of_objects.load(Relaxed);
        if of_objects > 0 {
            self.of_objects.store(0, Relaxed);
        }
        of_objects
    }

    pub(super) fn end_response(&self) {
        self.answering.store(false, Relaxed);
        self.body_wanted.store(false, Relaxed);
        self.handed_over.store(true, Relaxed);
    }

    pub(super) fn flushed(&self) {
        // This store comes before the check whether idle connections are wanted. The thread that
        // wants them does the two in the opposite order, so one of the two always sees the other.
        if self.handed_over.swap(false, SeqCst) {
            self.log.close(true);
        }
    }

    pub(super) fn is_flushed(&self) -> bool {
        !self.handed_over.load(SeqCst)
    }

    /// Whether no request is being answered, and nothing of the last response is left to write.
    pub(crate) fn is_idle(&self) -> bool {
        !self.answering.load(Relaxed) && !self.handed_over.load(Relaxed)
    }
}
