//! The streams of a connection: their states, timeouts and logs.
//!
//! The connection's task follows the frames, and the streams' tasks answer requests. They may run
//! on different threads.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Duration;

use super::exchange_log::ExchangeLog;
use super::lock;
use super::response_progress::ResponseProgress;
use crate::clock;
use crate::server::Timeouts;
use crate::sys::mapping::{FileSlice, file_position};

#[derive(Debug)]
pub(crate) struct Streams {
    open: Mutex<Open>,
    /// The stream whose service was called last; its task is about to be spawned.
    called: Mutex<Option<Arc<Stream>>>,
    /// Since when no stream is open, in milliseconds of [`clock`].
    idle_since: AtomicU64,
}

#[derive(Debug, Default)]
struct Open {
    /// The streams that are not complete in both directions; `None` if the service was not called.
    streams: HashMap<u32, Option<Arc<Stream>>>,
    /// Streams above this number are ignored, because the peer was told that they are.
    last: Option<u32>,
}

#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) number: u32,
    waits_for: AtomicU8,
    /// When bytes of it were last sent or received, in milliseconds of [`clock`].
    progress_at: AtomicU64,
    /// Bytes of the response that were sent, in whole frames of data.
    sent: AtomicU64,
    /// The whole response was given to hyper.
    is_given: AtomicBool,
    /// It is a tunnel of the application's, such as a WebSocket.
    is_upgraded: AtomicBool,
    /// It is to end as soon as its task sees this.
    is_cut: AtomicBool,
    waker: Mutex<Option<Waker>>,
    /// The body of the response is of an object.
    is_of_object: AtomicBool,
    /// The file that is being sent.
    source: Mutex<Option<FileSlice>>,
    pub(crate) log: ExchangeLog,
    pub(crate) progress: ResponseProgress,
}

/// What a stream waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum WaitsFor {
    Application,
    /// More of the request's body.
    Body,
    /// The peer to take more of the response.
    Reader,
}

impl Streams {
    pub(crate) fn new() -> Self {
        Self {
            open: Mutex::default(),
            called: Mutex::default(),
            idle_since: AtomicU64::new(clock::now()),
        }
    }

    /// A request begins to arrive.
    pub(crate) fn announce(&self, number: u32) {
        let mut open = lock(&self.open);
        if open.last.is_none_or(|last| number <= last) {
            open.streams.insert(number, None);
        }
    }

    /// The service is called for a request. `None` if its stream was not announced, or called
    /// before.
    pub(crate) fn call(&self, number: u32, log: ExchangeLog) -> Arc<Stream> {
        let stream = Arc::new(Stream {
            number,
            waits_for: AtomicU8::new(WaitsFor::Application as u8),
            progress_at: AtomicU64::new(clock::now()),
            sent: AtomicU64::new(0),
            is_given: AtomicBool::new(false),
            is_upgraded: AtomicBool::new(false),
            is_cut: AtomicBool::new(false),
            waker: Mutex::new(None),
            is_of_object: AtomicBool::new(false),
            source: Mutex::new(None),
            log,
            progress: ResponseProgress::default(),
        });
        // If it is not there, the client has reset it before.
        if let Some(entry) = lock(&self.open).streams.get_mut(&number) {
            *entry = Some(Arc::clone(&stream));
        }
        *lock(&self.called) = Some(Arc::clone(&stream));
        stream
    }

    pub(crate) fn take_called(&self) -> Option<Arc<Stream>> {
        lock(&self.called).take()
    }

    /// Bytes of a request's body arrived.
    pub(crate) fn received(&self, number: u32, now: u64) {
        self.with(number, |stream| stream.progress_at.store(now, Relaxed));
    }

    /// Bytes of a response are on their way. Returns whether they are of an object.
    pub(crate) fn sent(&self, number: u32, bytes: usize, now: u64) -> bool {
        let mut is_of_object = false;
        self.with(number, |stream| {
            stream.progress_at.store(now, Relaxed);
            stream.sent.fetch_add(bytes as u64, Relaxed);
            is_of_object = stream.is_of_object.load(Relaxed);
        });
        is_of_object
    }

    fn with(&self, number: u32, act: impl FnOnce(&Stream)) {
        if let Some(Some(stream)) = lock(&self.open).streams.get(&number) {
            act(stream);
        }
    }

    /// Bytes that were sent of the responses that are not complete.
    pub(crate) fn sent_of_incomplete(&self) -> u64 {
        let open = lock(&self.open);
        let streams = open.streams.values().flatten();
        streams.map(|stream| stream.sent.load(Relaxed)).sum()
    }

    /// The last byte of a response was sent. Returns whether it is of an object.
    pub(crate) fn complete(&self, number: u32) -> bool {
        let stream = self.close(number, true);
        stream.is_some_and(|stream| stream.is_of_object.load(Relaxed))
    }

    /// One of the peers has reset a stream.
    pub(crate) fn reset(&self, number: u32) {
        self.close(number, false);
    }

    fn close(&self, number: u32, complete: bool) -> Option<Arc<Stream>> {
        let mut open = lock(&self.open);
        let stream = open.streams.remove(&number)?;
        if open.streams.is_empty() {
            self.idle_since.store(clock::now(), Relaxed);
        }
        drop(open);
        stream.inspect(|stream| stream.log.close(complete))
    }

    /// The task of a stream is over. If the whole response was given to hyper, the stream is open
    /// until that is sent. If it was upgraded, the application ends it.
    pub(crate) fn task_ended(&self, stream: &Stream) {
        if !stream.is_given.load(Relaxed) && !stream.is_upgraded.load(Relaxed) {
            self.reset(stream.number);
        }
    }

    /// The connection is over: what is open did not arrive whole.
    pub(crate) fn ended(&self) {
        let streams = std::mem::take(&mut lock(&self.open).streams);
        for stream in streams.into_values().flatten() {
            stream.log.close(false);
        }
    }

    /// The peer was told that streams above `last` are ignored.
    pub(crate) fn ignore_above(&self, last: u32) {
        let mut open = lock(&self.open);
        open.last = Some(last);
        open.streams.retain(|number, _| *number <= last);
    }

    /// The stream, if it is open and its service was called.
    pub(crate) fn get(&self, number: u32) -> Option<Arc<Stream>> {
        lock(&self.open).streams.get(&number)?.clone()
    }

    /// The file that is being sent on a stream.
    pub(crate) fn source(&self, number: u32) -> Option<FileSlice> {
        let open = lock(&self.open);
        let stream = open.streams.get(&number)?.as_ref()?;
        lock(&stream.source).clone()
    }

    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.open).streams.is_empty()
    }

    pub(crate) fn idle_since(&self) -> u64 {
        self.idle_since.load(Relaxed)
    }

    /// Whether nothing is left to do but to send what was given to hyper, and the peer does not
    /// take it.
    pub(crate) fn are_given(&self) -> bool {
        let open = lock(&self.open);
        let mut streams = open.streams.values();
        streams.all(|stream| stream.as_ref().is_some_and(|it| it.is_given.load(Relaxed)))
    }

    /// Cuts the streams that have waited too long for their peer. Returns how many.
    pub(crate) fn cut_overdue(&self, timeouts: &Timeouts) -> u64 {
        let now = clock::now();
        let mut cut = 0;
        for stream in lock(&self.open).streams.values().flatten() {
            if !stream.is_cut.load(Relaxed) && stream.is_overdue(timeouts, now) {
                stream.cut();
                cut += 1;
            }
        }
        cut
    }
}

impl Stream {
    pub(crate) fn set_waits_for(&self, what: WaitsFor) {
        let before = self.waits_for.swap(what as u8, Relaxed);
        if before != what as u8 {
            self.progress_at.store(clock::now(), Relaxed);
        }
    }

    /// Notes the file that `data` is part of. Not the local file of an object: that never changes,
    /// and a response may have to let go of it.
    pub(crate) fn set_source(&self, data: &[u8]) {
        let Some(position) = file_position(data) else {
            return;
        };
        if position.mapping.file().object().is_some() {
            return;
        }
        let mut source = lock(&self.source);
        if source
            .as_ref()
            .is_none_or(|source| !source.is_of(position.mapping))
        {
            *source = position.slice(data.len());
        }
    }

    /// Bytes of the response that were sent.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// The body of its response is of an object.
    pub(crate) fn set_of_object(&self) {
        self.is_of_object.store(true, Relaxed);
    }

    pub(crate) fn given(&self) {
        self.is_given.store(true, Relaxed);
    }

    pub(crate) fn upgraded(&self) {
        self.is_upgraded.store(true, Relaxed);
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut.load(Relaxed)
    }

    /// Keeps the waker of the stream's task.
    pub(crate) fn keep_waker(&self, waker: &Waker) {
        let mut kept = lock(&self.waker);
        if kept.as_ref().is_none_or(|kept| !kept.will_wake(waker)) {
            *kept = Some(waker.clone());
        }
    }

    /// Ends it, because it is overdue or its file has changed.
    pub(crate) fn cut(&self) {
        self.is_cut.store(true, Relaxed);
        let waker = lock(&self.waker).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// What has been given to hyper has no timeout of its own: its task is over. What was upgraded
    /// has none at all.
    fn is_overdue(&self, timeouts: &Timeouts, now: u64) -> bool {
        let what = self.waits_for.load(Relaxed);
        let is_left_alone = self.is_given.load(Relaxed) || self.is_upgraded.load(Relaxed);
        let limit = if is_left_alone || what == WaitsFor::Application as u8 {
            return false;
        } else if what == WaitsFor::Body as u8 {
            timeouts.body
        } else {
            timeouts.send
        };
        let waited = now.saturating_sub(self.progress_at.load(Relaxed));
        Duration::from_millis(waited) >= limit
    }
}
