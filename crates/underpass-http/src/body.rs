//! Response bodies: files and ranges of them, bytes, or both in turn.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;

use crate::file::{Content, Opened};
use crate::stats::ServerStats;
use crate::sys::OpenFile;

pub(crate) mod file_range;

use file_range::FileRange;

/// What errors of bodies are converted to, as http-body-util does.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A response body, most often a file or a range of one.
///
/// Its frames are slices of the file's mapping. Behind [`serve`](crate::serve()) they leave by sendfile(2) without being
/// looked at; anything else that reads them (a compressing middleware, TLS in user space, HTTP/2) gets the content.
///
/// A frame is handed out when its pages are in the page cache; until then a blocking thread of tokio's reads them. Outside
/// a tokio runtime the reader waits for the disk instead.
///
/// # When the file changes
/// Files of up to 8 KiB are read at once, and do not change any more. The pages of larger ones are shared, not
/// snapshotted: what is written to the file meanwhile is what is sent. So the file is looked at again between the pieces
/// in which it is sent. If it is shorter than it was, or was written to, the body ends in an error (`UnexpectedEof` or
/// `InvalidData`), and a connection must end with it: what was promised does not hold any more. A file that only grew is
/// sent as long as it was.
pub struct FileBody {
    inner: Inner,
    left: u64,
}

enum Inner {
    Done,
    Bytes(Bytes),
    File(Box<FileRange>),
    Parts(Box<Parts>),
    Other(Pin<Box<dyn Body<Data = Bytes, Error = io::Error> + Send>>),
}

/// File ranges with bytes between them, as in multipart/byteranges.
struct Parts {
    queue: VecDeque<BodyPart>,
    current: Option<FileRange>,
    options: BodyOptions,
}

pub(crate) enum BodyPart {
    Bytes(Bytes),
    File(Content, Range<u64>),
}

/// What a body needs besides its bytes.
#[derive(Clone, Default)]
pub(crate) struct BodyOptions {
    pub(crate) stats: Arc<ServerStats>,
    /// Let the page cache forget what only this body brought into it.
    pub(crate) polite: bool,
}

impl FileBody {
    /// No bytes.
    pub fn empty() -> Self {
        Self {
            inner: Inner::Done,
            left: 0,
        }
    }

    /// These bytes.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self {
            left: bytes.len() as u64,
            inner: Inner::Bytes(bytes),
        }
    }

    /// A whole file, as long as it is now, wherever its cursor is.
    ///
    /// Files of up to 8 KiB are read here and now.
    ///
    /// # Errors
    /// What fstat(2) or read(2) gave; `InvalidInput` for what is not a regular file.
    ///
    /// ```no_run
    /// use underpass_http::FileBody;
    ///
    /// let response = http::Response::new(FileBody::open(std::fs::File::open("video.mp4")?)?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn open(file: File) -> io::Result<Self> {
        let Opened { content, len, .. } = opened(file)?;
        Ok(Self::of(content, 0..len, false, &BodyOptions::default()))
    }

    /// The bytes `range` of a file.
    ///
    /// # Errors
    /// As for [`open`](Self::open); `InvalidInput` too if the range ends beyond the file or before it begins.
    pub fn range(file: File, range: Range<u64>) -> io::Result<Self> {
        let Opened { content, len, .. } = opened(file)?;
        if range.start > range.end || range.end > len {
            let message = format!("bytes {range:?} of a file of {len}: no such range");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        Ok(Self::of(content, range, false, &BodyOptions::default()))
    }

    /// A range of a file that was looked at just now, if it `is_checked`, or else will be when it is read.
    pub(crate) fn of(
        content: Content,
        range: Range<u64>,
        is_checked: bool,
        options: &BodyOptions,
    ) -> Self {
        match content {
            Content::Memory(bytes) => {
                Self::full(bytes.slice(range.start as usize..range.end as usize))
            }
            content => Self {
                left: range.end - range.start,
                inner: match FileRange::new(content, range, is_checked, options) {
                    Some(pages) => Inner::File(Box::new(pages)),
                    None => Inner::Done,
                },
            },
        }
    }

    pub(crate) fn of_parts(queue: VecDeque<BodyPart>, options: BodyOptions) -> Self {
        let left = queue.iter().map(BodyPart::len).sum();
        let parts = Parts {
            queue,
            current: None,
            options,
        };
        Self {
            inner: Inner::Parts(Box::new(parts)),
            left,
        }
    }

    /// Any other body, so that a service can answer with both kinds.
    pub fn other<B>(body: B) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self {
            inner: Inner::Other(Box::pin(body.map_err(io::Error::other))),
            left: 0,
        }
    }
}

fn opened(file: File) -> io::Result<Opened> {
    let file = OpenFile::new(file)?;
    if !file.is_regular() {
        let message = "not a regular file: its length is not known beforehand";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    Opened::new(file, true)
}

impl Default for FileBody {
    fn default() -> Self {
        Self::empty()
    }
}

impl BodyPart {
    fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(_, range) => range.end - range.start,
        }
    }
}

impl Parts {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            if let Some(pages) = &mut self.current {
                if let Some(next) = ready!(pages.poll_next(cx)) {
                    return Poll::Ready(Some(next));
                }
                self.current = None;
            }
            match self.queue.pop_front() {
                None => return Poll::Ready(None),
                Some(BodyPart::Bytes(bytes)) => return Poll::Ready(Some(Ok(bytes))),
                Some(BodyPart::File(Content::Memory(bytes), range)) => {
                    let bytes = bytes.slice(range.start as usize..range.end as usize);
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Some(BodyPart::File(content, range)) => {
                    self.current = FileRange::new(content, range, false, &self.options);
                }
            }
        }
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let next = match &mut self.inner {
            Inner::Done => None,
            Inner::Bytes(bytes) => Some(Ok(std::mem::take(bytes))),
            Inner::File(pages) => ready!(pages.poll_next(cx)),
            Inner::Parts(parts) => ready!(parts.poll_next(cx)),
            Inner::Other(body) => return body.as_mut().poll_frame(cx),
        };
        match &next {
            Some(Ok(bytes)) => self.left -= bytes.len() as u64,
            Some(Err(_)) | None => self.inner = Inner::Done,
        }
        if matches!(self.inner, Inner::Bytes(_)) {
            self.inner = Inner::Done;
        }
        Poll::Ready(next.map(|next| next.map(Frame::data)))
    }

    /// A file is at its end when it was found to have been whole, which takes one more [`poll_frame`](Body::poll_frame).
    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Done => true,
            Inner::Bytes(bytes) => bytes.is_empty(),
            Inner::File(_) | Inner::Parts(_) => false,
            Inner::Other(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Other(body) => body.size_hint(),
            _ => SizeHint::with_exact(self.left),
        }
    }
}

impl std::fmt::Debug for FileBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileBody")
            .field("size_hint", &self.size_hint())
            .finish_non_exhaustive()
    }
}
