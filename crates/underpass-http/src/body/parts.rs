//! Several files and bytes in a row, as one body whose length is known.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::{BodyOptions, FileBody, no_such_range, opened};
use crate::file::{Content, Opened};
use crate::stats::ServerStats;

mod reader;

pub(super) use reader::PartsReader;
use reader::{Fetch, Piece};

/// Files, ranges of files and bytes in a row, whose total length is known beforehand: a body like
/// that of an archive, or of a playlist of segments.
///
/// It converts into a [`FileBody`], whole or as any [range](Self::range) of it. Files leave by
/// sendfile(2) as those of other bodies do. Of [produced](Self::produced) parts only those are in
/// memory that are sent next, so that there may be millions.
///
/// ```no_run
/// use std::fs::File;
/// use underpass_http::{BodyPart, BodyParts, FileBody};
///
/// # fn main() -> std::io::Result<()> {
/// let parts = BodyParts::new([
///     BodyPart::bytes("<log>\n"),
///     BodyPart::file(File::open("log.1")?)?,
///     BodyPart::file(File::open("log")?)?,
///     BodyPart::bytes("</log>\n"),
/// ]);
/// let response = http::Response::new(FileBody::from(parts));
/// # Ok(())
/// # }
/// ```
pub struct BodyParts {
    source: Source,
    len: u64,
    options: BodyOptions,
}

enum Source {
    /// Nothing has to be opened.
    Ready(VecDeque<Piece>),
    Produced(Producer),
}

type Producer = Box<dyn Iterator<Item = io::Result<BodyPart>> + Send>;

/// One of [`BodyParts`]: bytes, a file, or a range of a file.
pub struct BodyPart(Kind);

enum Kind {
    Ready(Piece),
    Later { len: u64, open: Open },
}

type Open = Box<dyn FnOnce() -> io::Result<File> + Send>;

impl BodyPart {
    /// These bytes.
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self(Kind::Ready(Piece::Bytes(bytes.into())))
    }

    /// A whole file, with the length that it has now. Files of up to 8 KiB are read by this call.
    ///
    /// # Errors
    /// As for [`FileBody::open`].
    pub fn file(file: File) -> io::Result<Self> {
        let Opened { content, len, .. } = opened(file)?;
        Ok(Self::of(content, 0..len))
    }

    /// The bytes `range` of a file.
    ///
    /// # Errors
    /// As for [`FileBody::range`].
    pub fn range(file: File, range: Range<u64>) -> io::Result<Self> {
        let Opened { content, len, .. } = opened(file)?;
        if range.start > range.end || range.end > len {
            return Err(no_such_range(&range, len, "a file"));
        }
        Ok(Self::of(content, range))
    }

    /// The first `len` bytes of a file that is opened when its turn comes, on a thread that may
    /// wait. It is not opened at all if only other parts are sent.
    ///
    /// If `open` fails, or if the file has fewer bytes (`UnexpectedEof`) or is not a regular one
    /// (`InvalidInput`), the body ends in that error.
    ///
    /// ```
    /// use underpass_http::BodyPart;
    ///
    /// let segment = BodyPart::open_later(188_000, || std::fs::File::open("segment-7.ts"));
    /// assert_eq!(segment.len(), 188_000);
    /// ```
    pub fn open_later(len: u64, open: impl FnOnce() -> io::Result<File> + Send + 'static) -> Self {
        let open = Box::new(open);
        Self(Kind::Later { len, open })
    }

    pub(crate) fn of(content: Content, range: Range<u64>) -> Self {
        Self(Kind::Ready(Piece::of(content, range)))
    }

    /// The bytes of this part.
    pub fn len(&self) -> u64 {
        match &self.0 {
            Kind::Ready(piece) => piece.len(),
            Kind::Later { len, .. } => *len,
        }
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Opens a file that is opened later. May wait.
    fn ready(self) -> io::Result<Piece> {
        let (len, open) = match self.0 {
            Kind::Ready(piece) => return Ok(piece),
            Kind::Later { len, open } => (len, open),
        };
        let opened = opened(open()?)?;
        if opened.len < len {
            return Err(crate::sys::truncated(opened.len));
        }
        Ok(Piece::of(opened.content, 0..len))
    }
}

macro_rules! from_bytes {
    ($($type:ty),*) => {
        $(impl From<$type> for BodyPart {
            fn from(bytes: $type) -> Self {
                Self::bytes(bytes)
            }
        })*
    };
}

from_bytes!(Bytes, Vec<u8>, String, &'static [u8], &'static str);

impl BodyParts {
    /// These parts. A body of more than 16 EiB is not expected, and has no right length.
    pub fn new(parts: impl IntoIterator<Item = BodyPart>) -> Self {
        let parts: Vec<_> = parts.into_iter().collect();
        let len = parts
            .iter()
            .fold(0, |len: u64, part| len.saturating_add(part.len()));
        let is_ready = |part: &BodyPart| matches!(part.0, Kind::Ready(_));
        let source = if parts.iter().all(is_ready) {
            let pieces = parts.into_iter().filter_map(|part| match part.0 {
                Kind::Ready(piece) => Some(piece),
                Kind::Later { .. } => None,
            });
            Source::Ready(pieces.collect())
        } else {
            Source::Produced(Box::new(parts.into_iter().map(Ok)))
        };
        Self {
            source,
            len,
            options: BodyOptions::default(),
        }
    }

    /// Parts that are produced while they are sent, `len` bytes in all.
    ///
    /// `parts` is asked for the next part when the ones before it are sent, on a blocking thread of
    /// tokio, so it may wait for the disk. Small parts that follow each other are sent as one
    /// buffer. What comes before a [range](Self::range) is asked for its length only.
    ///
    /// If the parts have fewer bytes than `len`, or more, the body ends in an error
    /// (`InvalidInput`), and so it does if the iterator returns one.
    ///
    /// ```
    /// use underpass_http::{BodyPart, BodyParts, FileBody};
    ///
    /// let segments = (0..1000).map(|number| {
    ///     let open = move || std::fs::File::open(format!("segments/{number}.ts"));
    ///     Ok(BodyPart::open_later(188_000, open))
    /// });
    /// let body = FileBody::from(BodyParts::produced(188_000_000, segments));
    /// ```
    pub fn produced<I>(len: u64, parts: I) -> Self
    where
        I: IntoIterator<Item = io::Result<BodyPart>>,
        I::IntoIter: Send + 'static,
    {
        Self {
            source: Source::Produced(Box::new(parts.into_iter())),
            len,
            options: BodyOptions::default(),
        }
    }

    /// Uses these counters, which a server may share.
    #[must_use]
    pub fn stats(mut self, stats: Arc<ServerStats>) -> Self {
        self.options.stats = stats;
        self
    }

    pub(crate) fn options(self, options: BodyOptions) -> Self {
        Self { options, ..self }
    }

    /// The bytes of all parts.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes `range` of these parts.
    ///
    /// # Errors
    /// `InvalidInput` if the range ends beyond them or before it begins.
    ///
    /// ```
    /// use underpass_http::{BodyPart, BodyParts};
    ///
    /// let parts = BodyParts::new([BodyPart::bytes("Hello, "), BodyPart::bytes("world")]);
    /// let middle = parts.range(5..9)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn range(self, range: Range<u64>) -> io::Result<FileBody> {
        if range.start > range.end || range.end > self.len {
            return Err(no_such_range(&range, self.len, "parts"));
        }
        let left = range.end - range.start;
        let reader = match self.source {
            Source::Ready(pieces) => PartsReader::ready(cut(pieces, range), self.options),
            Source::Produced(parts) => {
                PartsReader::producing(Fetch::new(parts, self.len, range), self.options)
            }
        };
        Ok(FileBody::of_parts(reader, left))
    }
}

/// The bytes `range` of these pieces.
fn cut(pieces: VecDeque<Piece>, range: Range<u64>) -> VecDeque<Piece> {
    let mut at = 0;
    let mut cut = VecDeque::new();
    for piece in pieces {
        let (start, end) = (at, at + piece.len());
        at = end;
        let within = range.start.max(start)..range.end.min(end);
        if within.start < within.end {
            cut.push_back(piece.slice(within.start - start..within.end - start));
        }
    }
    cut
}

impl From<BodyParts> for FileBody {
    fn from(parts: BodyParts) -> Self {
        let len = parts.len;
        // The whole is always a valid range.
        parts.range(0..len).unwrap_or_default()
    }
}

impl std::fmt::Debug for BodyPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BodyPart")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for BodyParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BodyParts")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}
