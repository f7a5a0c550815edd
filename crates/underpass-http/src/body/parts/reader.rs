//! Reads parts in their order, and fetches those that are produced or opened later.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::super::BodyOptions;
use super::super::file_range::FileRange;
use super::Producer;
use crate::file::{Content, IN_MEMORY_UP_TO};

/// How much of small parts is fetched at once. A trip to another thread takes as long as reading a
/// small file, so many of them share one.
const BATCH: usize = 64 << 10;

/// Bytes, or the range of an open file.
pub(in crate::body) enum Piece {
    Bytes(Bytes),
    File(Content, Range<u64>),
}

impl Piece {
    pub(super) fn of(content: Content, range: Range<u64>) -> Self {
        match content {
            Content::Memory(bytes) => {
                Self::Bytes(bytes.slice(range.start as usize..range.end as usize))
            }
            content => Self::File(content, range),
        }
    }

    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(_, range) => range.end - range.start,
        }
    }

    /// The bytes `within` of this piece.
    pub(super) fn slice(self, within: Range<u64>) -> Self {
        match self {
            Self::Bytes(bytes) => {
                Self::Bytes(bytes.slice(within.start as usize..within.end as usize))
            }
            Self::File(content, range) => Self::File(
                content,
                range.start + within.start..range.start + within.end,
            ),
        }
    }
}

/// Hands the bytes of parts out, in their order.
pub(in crate::body) struct PartsReader {
    current: Option<FileRange>,
    batch: Batch,
    source: Source,
    options: BodyOptions,
}

/// Where the next batch comes from.
enum Source {
    Nothing,
    Idle(Fetch),
    Fetching(JoinHandle<(Fetch, Batch)>),
}

impl PartsReader {
    pub(super) fn ready(pieces: VecDeque<Piece>, options: BodyOptions) -> Self {
        Self::new(pieces, Source::Nothing, options)
    }

    pub(super) fn producing(fetch: Fetch, options: BodyOptions) -> Self {
        Self::new(VecDeque::new(), Source::Idle(fetch), options)
    }

    fn new(pieces: VecDeque<Piece>, source: Source, options: BodyOptions) -> Self {
        Self {
            current: None,
            batch: Batch {
                pieces,
                ..Batch::default()
            },
            source,
            options,
        }
    }

    /// The next bytes; `None` after the last. After an error it must not be called again.
    pub(in crate::body) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            if let Some(file) = &mut self.current {
                if let Some(next) = ready!(file.poll_next(cx)) {
                    return Poll::Ready(Some(next));
                }
                self.current = None;
            }
            match self.batch.pieces.pop_front() {
                Some(Piece::Bytes(bytes)) if bytes.is_empty() => {}
                Some(Piece::Bytes(bytes)) => return Poll::Ready(Some(Ok(bytes))),
                Some(Piece::File(content, range)) => {
                    self.current = FileRange::new(content, range, false, &self.options);
                }
                None => {
                    if let Some(error) = self.batch.error.take() {
                        self.options.stats.broke_off(&error);
                        return Poll::Ready(Some(Err(error)));
                    }
                    match ready!(self.poll_fetch(cx)) {
                        Some(batch) => self.batch = batch,
                        None => return Poll::Ready(None),
                    }
                }
            }
        }
    }

    /// Fetches the next batch, on a blocking thread if there is a runtime, else at once.
    fn poll_fetch(&mut self, cx: &mut Context<'_>) -> Poll<Option<Batch>> {
        loop {
            match std::mem::replace(&mut self.source, Source::Nothing) {
                Source::Idle(mut fetch) if fetch.left > 0 => {
                    let Ok(runtime) = Handle::try_current() else {
                        let batch = fetch.batch();
                        self.source = Source::Idle(fetch);
                        return Poll::Ready(Some(batch));
                    };
                    self.source = Source::Fetching(runtime.spawn_blocking(move || {
                        let batch = fetch.batch();
                        (fetch, batch)
                    }));
                }
                Source::Nothing | Source::Idle(_) => return Poll::Ready(None),
                Source::Fetching(mut job) => match Pin::new(&mut job).poll(cx) {
                    Poll::Pending => {
                        self.source = Source::Fetching(job);
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok((fetch, batch))) => {
                        self.source = Source::Idle(fetch);
                        return Poll::Ready(Some(batch));
                    }
                    // The producer panicked.
                    Poll::Ready(Err(error)) => {
                        let error = Some(io::Error::other(error));
                        let pieces = VecDeque::new();
                        return Poll::Ready(Some(Batch { pieces, error }));
                    }
                },
            }
        }
    }
}

/// Parts that can be sent now, and what prevents further ones.
#[derive(Default)]
struct Batch {
    pieces: VecDeque<Piece>,
    error: Option<io::Error>,
}

/// Fetches parts from their producer, and cuts them to a range.
pub(super) struct Fetch {
    parts: Producer,
    /// Bytes of parts that are still to come, by the length that was announced.
    announced: u64,
    /// Bytes before the range that are still to come.
    skip: u64,
    /// Bytes of the range that were not fetched yet.
    left: u64,
}

impl Fetch {
    /// `range` lies within `len`, the length of all parts.
    pub(super) fn new(parts: Producer, len: u64, range: Range<u64>) -> Self {
        Self {
            parts,
            announced: len,
            skip: range.start,
            left: range.end - range.start,
        }
    }

    /// The next batch: small parts up to a limit, and at most one file that is not in memory, so
    /// that no more descriptors are held than needed. May wait.
    fn batch(&mut self) -> Batch {
        let mut batch = Batch::default();
        let mut small = BytesMut::new();
        while self.left > 0 && small.len() < BATCH {
            match self.next() {
                Ok(Piece::Bytes(bytes)) if bytes.len() as u64 <= IN_MEMORY_UP_TO => {
                    small.extend_from_slice(&bytes);
                }
                Ok(large) => {
                    batch.pieces.push_back(Piece::Bytes(small.freeze()));
                    batch.pieces.push_back(large);
                    return batch;
                }
                Err(error) => {
                    batch.error = Some(error);
                    break;
                }
            }
        }
        batch.pieces.push_back(Piece::Bytes(small.freeze()));
        batch
    }

    /// The next piece that lies in the range. There is one, because bytes are left.
    fn next(&mut self) -> io::Result<Piece> {
        loop {
            let Some(part) = self.parts.next().transpose()? else {
                let missing = self.announced;
                return Err(wrong_length(&format!("{missing} bytes are missing")));
            };
            let len = part.len();
            let Some(announced) = self.announced.checked_sub(len) else {
                return Err(wrong_length("there are more bytes"));
            };
            self.announced = announced;
            let start = len.min(self.skip);
            let end = start + (len - start).min(self.left);
            self.skip -= start;
            self.left -= end - start;
            if start < end {
                return Ok(part.ready()?.slice(start..end));
            }
        }
    }
}

fn wrong_length(what: &str) -> io::Error {
    let message = format!("the parts do not have the length that was announced: {what}");
    io::Error::new(io::ErrorKind::InvalidInput, message)
}
