//! Response bodies: files and ranges of them, bytes, or several of these in a row.

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

mod conversion;
pub(crate) mod file_range;
mod parts;

use file_range::FileRange;
use parts::PartsReader;
pub use parts::{BodyPart, BodyParts};

/// What errors of bodies are converted to, as http-body-util does.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A response body, most often a file or a range of one.
///
/// Its frames are slices of the file's mapping. [`serve`](crate::serve()) sends them by sendfile(2)
/// without reading them. Code that reads them (a compressing layer, TLS in user space, HTTP/2) sees
/// the content.
///
/// A frame is handed out once its pages are in the page cache. Until then a blocking thread of
/// tokio reads them. Outside a tokio runtime the caller waits for the disk.
///
/// # When the file changes
/// Files of up to 8 KiB are read when the body is made, so later changes do not affect them. The
/// pages of larger files are shared with the file; they are not a snapshot. So the file is checked
/// before each part of it is sent. If it was truncated or written to, the body ends in an error
/// (`UnexpectedEof` or `InvalidData`), and the connection has to be closed, because the headers no
/// longer fit. A file that only grew is sent up to its old length.
pub struct FileBody {
    inner: Inner,
    left: u64,
}

enum Inner {
    Done,
    Bytes(Bytes),
    File(Box<FileRange>),
    Parts(Box<PartsReader>),
    Other(Pin<Box<dyn Body<Data = Bytes, Error = io::Error> + Send>>),
}

/// How much of a file that cannot be mapped is read at once.
pub(crate) const READ_BUFFER: u64 = 512 << 10;

/// How a body counts, caches and reads.
#[derive(Clone)]
pub(crate) struct BodyOptions {
    pub(crate) stats: Arc<ServerStats>,
    /// Drop pages from the page cache that were read for this body only.
    pub(crate) polite: bool,
    /// The size of the buffers that a file is read into if it cannot be mapped.
    pub(crate) read_buffer: u64,
}

impl Default for BodyOptions {
    fn default() -> Self {
        Self {
            stats: Arc::default(),
            polite: false,
            read_buffer: READ_BUFFER,
        }
    }
}

impl FileBody {
    /// An empty body.
    pub fn empty() -> Self {
        Self {
            inner: Inner::Done,
            left: 0,
        }
    }

    /// A body of these bytes.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self {
            left: bytes.len() as u64,
            inner: Inner::Bytes(bytes),
        }
    }

    /// A whole file, with the length that it has now. The position of its descriptor does not
    /// matter.
    ///
    /// Files of up to 8 KiB are read by this call.
    ///
    /// # Errors
    ///
    /// What fstat(2) or read(2) returned; `InvalidInput` if it is not a regular file.
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
    /// As for [`open`](Self::open); `InvalidInput` too if the range ends beyond the file or before
    /// it begins.
    pub fn range(file: File, range: Range<u64>) -> io::Result<Self> {
        let Opened { content, len, .. } = opened(file)?;
        if range.start > range.end || range.end > len {
            return Err(no_such_range(&range, len, "a file"));
        }
        Ok(Self::of(content, range, false, &BodyOptions::default()))
    }

    /// A range of a file. `is_checked` says that the file was found unchanged just now; otherwise
    /// it is checked when it is read.
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

    fn of_parts(parts: PartsReader, left: u64) -> Self {
        Self {
            inner: Inner::Parts(Box::new(parts)),
            left,
        }
    }

    /// Wraps a body of another type, so that a service can return both kinds. Its errors are
    /// passed on if they are I/O errors, and wrapped if not.
    pub fn other<B>(body: B) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self {
            inner: Inner::Other(Box::pin(body.map_err(io_error))),
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

fn no_such_range(range: &Range<u64>, len: u64, what: &str) -> io::Error {
    let message = format!("bytes {range:?} of {what} of {len} bytes: no such range");
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

fn io_error(error: impl Into<BoxError>) -> io::Error {
    match error.into().downcast() {
        Ok(error) => *error,
        Err(error) => io::Error::other(error),
    }
}

impl Default for FileBody {
    fn default() -> Self {
        Self::empty()
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

    /// A body of a file ends only after a last check of the file, which takes one more
    /// [`poll_frame`](Body::poll_frame).
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
