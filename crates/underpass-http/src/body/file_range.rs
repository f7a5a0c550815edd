//! A range of one file, handed out in windows, each once its pages are in the page cache.

use std::future::Future as _;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::BodyOptions;
use crate::file::{Content, Opened, descriptors};
use crate::objects::{Object, ObjectFuture, StoreError};
use crate::sys::Mapping;
use crate::sys::page_cache::{self, WINDOW};
use crate::sys::{OpenFile, truncated};

/// How much is read from the disk before it is handed out. Smaller steps keep data flowing from a
/// slow disk.
const COLD_WINDOW: u64 = 512 << 10;

/// Pages are dropped from the page cache only this far behind the reader, because those in the
/// socket's queue cannot be dropped yet.
const POLITE_LAG: u64 = 8 << 20;

/// Of an object, so much is asked for before it is needed, so that sending does not pause where the
/// local file ends for now.
const ASKED_AHEAD: u64 = 16 << 20;

pub(super) struct FileRange {
    content: Content,
    /// The bytes that were not handed out yet.
    left: Range<u64>,
    job: Option<JoinHandle<io::Result<Bytes>>>,
    /// The first byte of an object that is not present, and what waits for it.
    arriving: Option<(u64, ObjectFuture<()>)>,
    /// The object in another file, because it left the one that it was in. Nothing is held of that
    /// meanwhile.
    moving: Option<ObjectFuture<Arc<dyn Object>>>,
    /// Some bytes were handed out.
    has_begun: bool,
    /// It waits for a byte that is to be sent next.
    is_waiting: bool,
    /// Start of the pages that were read for this body and not dropped yet.
    brought: Option<u64>,
    /// The file was found unchanged just now.
    is_checked: bool,
    options: BodyOptions,
}

impl FileRange {
    /// `None` for an empty range. `is_checked` says that the file was found unchanged just now.
    pub(super) fn new(
        content: Content,
        range: Range<u64>,
        is_checked: bool,
        options: &BodyOptions,
    ) -> Option<Self> {
        if matches!(content, Content::Unmapped(_)) {
            options.stats.fallbacks_unmapped.add(1);
        }
        (!range.is_empty()).then(|| Self {
            content,
            left: range,
            job: None,
            arriving: None,
            moving: None,
            has_begun: false,
            is_waiting: false,
            brought: None,
            is_checked,
            options: options.clone(),
        })
    }

    /// The next slice; `None` after the last, and only if the file was unchanged to the end.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let bytes = if let Some(job) = self.job.as_mut() {
            let result = ready!(Pin::new(job).poll(cx));
            self.job = None;
            result.map_err(io::Error::other).and_then(|bytes| bytes)
        } else if let Err(error) = self.check() {
            Err(error)
        } else if self.left.is_empty() {
            return Poll::Ready(None);
        } else {
            ready!(self.poll_content(cx))
        };
        match &bytes {
            Ok(bytes) => self.left.start += bytes.len() as u64,
            Err(error) => self.options.stats.broke_off(error),
        }
        if let (Ok(bytes), Content::Unmapped(_)) = (&bytes, &self.content) {
            self.options.stats.bytes_read.add(bytes.len() as u64);
        }
        Poll::Ready(Some(bytes))
    }

    fn poll_content(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let present = ready!(self.poll_present(cx))?;
        match self.content.clone() {
            Content::Mapped(mapping) => self.poll_mapped(cx, &mapping, present),
            Content::Unmapped(file) => {
                let buffer = self.options.read_buffer.min(present);
                self.start(cx, buffer, move |at| read(&file, at))
            }
            Content::Memory(bytes) => {
                let range = self.left.start as usize..self.left.end as usize;
                Poll::Ready(Ok(bytes.slice(range)))
            }
        }
    }

    /// How many of the bytes that are left the file has without a gap: all of them, unless it is
    /// the local file of an object. Of an object it waits for the first one, in another file if
    /// need be. What is behind them is a hole, which must be neither sent nor read.
    fn poll_present(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        loop {
            ready!(self.poll_moved(cx))?;
            let Some(object) = self.content.object() else {
                return Poll::Ready(Ok(self.left.end - self.left.start));
            };
            match ready!(self.poll_arrived(cx, &object)) {
                Err(error) if error.kind() == io::ErrorKind::StaleNetworkFileHandle => {
                    self.move_on(object);
                }
                present => return Poll::Ready(present),
            }
        }
    }

    /// Asks for the object in another file, and lets go of this one: its room may be needed.
    fn move_on(&mut self, object: Arc<dyn Object>) {
        if !std::mem::replace(&mut self.is_waiting, true) {
            self.options.stats.store_waits.add(1);
        }
        self.content = Content::Memory(Bytes::new());
        self.brought = None;
        descriptors::let_go();
        self.moving = Some(object.reopen(self.left.start));
    }

    /// Waits for the other file, if it is moving to one.
    fn poll_moved(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(moving) = &mut self.moving else {
            return Poll::Ready(Ok(()));
        };
        let moved = ready!(moving.as_mut().poll(cx));
        self.moving = None;
        self.is_waiting = false;
        let start = self.left.start;
        let object = moved.map_err(|error| not_sent(&error, start))?;
        let opened = Opened::new(OpenFile::of_object(object)?, false)?;
        if opened.len < self.left.end {
            return Poll::Ready(Err(truncated(opened.len)));
        }
        self.content = opened.content;
        Poll::Ready(Ok(()))
    }

    fn poll_arrived(
        &mut self,
        cx: &mut Context<'_>,
        object: &Arc<dyn Object>,
    ) -> Poll<io::Result<u64>> {
        let Range { start, end } = self.left;
        let look_at = (end - start).min(ASKED_AHEAD);
        let mut present = object.present(start, look_at);
        if present == 0 {
            let wanted = self.poll_want(cx, object, start);
            if wanted.is_pending() && !std::mem::replace(&mut self.is_waiting, true) {
                self.options.stats.store_waits.add(1);
            }
            ready!(wanted).map_err(|error| not_sent(&error, start))?;
            self.is_waiting = false;
            present = object.present(start, look_at);
        }
        if present == 0 {
            // What was waited for is not there: then waiting again would never end.
            let error = StoreError::bad("it did not arrive").into();
            return Poll::Ready(Err(not_sent(&error, start)));
        }
        self.has_begun = true;
        if present < look_at {
            // If this fails, the next call says so.
            let _ = self.poll_want(cx, object, start + present);
        }
        Poll::Ready(Ok(present))
    }

    /// Waits for the byte at `at`, which is the first that is not present.
    fn poll_want(
        &mut self,
        cx: &mut Context<'_>,
        object: &Arc<dyn Object>,
        at: u64,
    ) -> Poll<io::Result<()>> {
        // Until there is a first byte, nothing else that is fetched may delay it.
        let len = if self.has_begun {
            self.left.end - at
        } else {
            1
        };
        let (_, wanted) = match &mut self.arriving {
            Some(arriving) if arriving.0 == at => arriving,
            arriving => arriving.insert((at, Arc::clone(object).want(at, len))),
        };
        let outcome = ready!(wanted.as_mut().poll(cx));
        self.arriving = None;
        Poll::Ready(outcome)
    }

    /// Checks the file before each window, and at the end if the caller polls for the end.
    /// [`serve`](crate::serve()) does not poll for it: its transport checks the file itself, closer
    /// to sending.
    fn check(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.is_checked) {
            return Ok(());
        }
        match &self.content {
            Content::Mapped(mapping) => mapping.check(self.left.start),
            // Checked when it is read, on a blocking thread.
            Content::Unmapped(_) | Content::Memory(_) => Ok(()),
        }
    }

    fn poll_mapped(
        &mut self,
        cx: &mut Context<'_>,
        mapping: &Arc<Mapping>,
        present: u64,
    ) -> Poll<io::Result<Bytes>> {
        let start = self.left.start;
        if let Some(len) = resident(mapping, start, present) {
            return Poll::Ready(Ok(mapping.bytes(start..start + len)));
        }
        self.options.stats.cold_waits.add(1);
        let mapping = Arc::clone(mapping);
        let old = self.outgrown();
        self.start(cx, COLD_WINDOW.min(present), move |range| {
            if let Some(old) = old {
                page_cache::forget(mapping.file().file(), old, mapping.residency());
            }
            page_cache::warm(mapping.file(), range.start, range.end - range.start)?;
            mapping.check(range.start)?;
            Ok(mapping.bytes(range))
        })
    }

    /// The pages that can be dropped now, if the body is polite.
    fn outgrown(&mut self) -> Option<Range<u64>> {
        if !self.options.polite {
            return None;
        }
        let from = *self.brought.get_or_insert(self.left.start);
        let to = self.left.start.saturating_sub(POLITE_LAG);
        (to > from).then(|| {
            self.brought = Some(to);
            from..to
        })
    }

    /// Runs `work` on the next `window` bytes, which are not in the page cache: on a blocking
    /// thread if there is a runtime, else at once.
    fn start(
        &mut self,
        cx: &mut Context<'_>,
        window: u64,
        work: impl FnOnce(Range<u64>) -> io::Result<Bytes> + Send + 'static,
    ) -> Poll<io::Result<Bytes>> {
        let range = self.left.start..self.left.end.min(self.left.start.saturating_add(window));
        let Ok(runtime) = Handle::try_current() else {
            return Poll::Ready(work(range));
        };
        let job = self.job.insert(runtime.spawn_blocking(move || work(range)));
        let result = ready!(Pin::new(job).poll(cx));
        self.job = None;
        Poll::Ready(result.map_err(io::Error::other).and_then(|bytes| bytes))
    }
}

/// Whether a file of at most one window is in the page cache.
pub(crate) fn is_in_page_cache(mapping: &Mapping) -> bool {
    let len = mapping.len();
    len <= WINDOW
        && mapping
            .residency()
            .is_in_page_cache(mapping.file().as_fd(), len, 0)
}

/// How many of the `left` bytes from `start` can be handed out now; `None` if they have to be read
/// from the disk first.
fn resident(mapping: &Mapping, start: u64, left: u64) -> Option<u64> {
    let (file, len) = (mapping.file().as_fd(), mapping.len());
    if mapping.residency().is_in_page_cache(file, len, start) {
        return Some(left.min(WINDOW - start % WINDOW));
    }
    let few = left.min(COLD_WINDOW);
    page_cache::is_resident(file, start, few).then_some(few)
}

/// The error for an object whose bytes from `at` on cannot be had.
fn not_sent(error: &io::Error, at: u64) -> io::Error {
    let message = format!("the store failed while it was sent: no byte {at}: {error}");
    match StoreError::of(error) {
        Some(error) => error.clone().with_reason(message).into(),
        None => io::Error::new(error.kind(), message),
    }
}

fn read(file: &OpenFile, range: Range<u64>) -> io::Result<Bytes> {
    let mut buffer = vec![0; (range.end - range.start) as usize];
    loop {
        match file.file().read_at(&mut buffer, range.start) {
            Ok(0) => return Err(truncated(range.start)),
            Ok(count) => {
                file.check(range.start)?;
                buffer.truncate(count);
                return Ok(buffer.into());
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
