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
use crate::file::Content;
use crate::sys::Mapping;
use crate::sys::page_cache::{self, WINDOW};
use crate::sys::{OpenFile, truncated};

/// How much is read from the disk before it is handed out. Smaller steps keep data flowing from a
/// slow disk.
const COLD_WINDOW: u64 = 512 << 10;

/// Pages are dropped from the page cache only this far behind the reader, because those in the
/// socket's queue cannot be dropped yet.
const POLITE_LAG: u64 = 8 << 20;

pub(super) struct FileRange {
    content: Content,
    /// The bytes that were not handed out yet.
    left: Range<u64>,
    job: Option<JoinHandle<io::Result<Bytes>>>,
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
            match self.content.clone() {
                Content::Mapped(mapping) => ready!(self.poll_mapped(cx, &mapping)),
                Content::Unmapped(file) => {
                    let buffer = self.options.read_buffer;
                    ready!(self.start(cx, buffer, move |at| read(&file, at)))
                }
                Content::Memory(bytes) => {
                    Ok(bytes.slice(self.left.start as usize..self.left.end as usize))
                }
            }
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
    ) -> Poll<io::Result<Bytes>> {
        let Range { start, end } = self.left;
        if let Some(len) = resident(mapping, start, end - start) {
            return Poll::Ready(Ok(mapping.bytes(start..start + len)));
        }
        self.options.stats.cold_waits.add(1);
        let mapping = Arc::clone(mapping);
        let old = self.outgrown();
        self.start(cx, COLD_WINDOW, move |range| {
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
