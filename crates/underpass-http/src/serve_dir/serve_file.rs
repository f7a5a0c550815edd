//! A service for one file.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::Empty;
use tower_service::Service;

use super::{ResponseFuture, ServeDir, TryResponseFuture};
use crate::body::FileBody;
use crate::semantics::media_type::UNKNOWN;
use crate::semantics::path;
use crate::stats::ServerStats;

/// Serves one file, for any path.
///
/// The file is looked up by its name in its directory, so it may be replaced.
///
/// ```no_run
/// let logo = underpass_http::ServeFile::new("assets/logo.svg");
/// ```
#[derive(Clone, Debug)]
pub struct ServeFile {
    directory: ServeDir,
    target: Uri,
}

impl ServeFile {
    /// Serves the file at `path`.
    pub fn new(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        let name = path.file_name().map(OsStr::as_bytes);
        let parent = match path.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) => parent,
            None => path,
        };
        let target = path::encode(name.unwrap_or_default());
        Self {
            directory: ServeDir::new(parent)
                .hidden(true)
                .append_index_html_on_directories(false),
            target: target.parse().unwrap_or_default(),
        }
    }

    /// Like [`new`](Self::new), with this `Content-Type`: a `mime::Mime` or a string. If no header
    /// can have the value, `application/octet-stream` is sent.
    ///
    /// ```no_run
    /// let feed = underpass_http::ServeFile::new_with_mime("feed.xml", "application/atom+xml");
    /// ```
    pub fn new_with_mime(path: impl AsRef<Path>, mime: impl AsRef<str>) -> Self {
        let value = HeaderValue::from_str(mime.as_ref()).unwrap_or(UNKNOWN);
        Self::new(path).with(|directory| directory.media_type_of_all(value))
    }

    /// Sends `FILE.br` where it exists and the client accepts Brotli.
    #[must_use]
    pub fn precompressed_br(self) -> Self {
        self.with(ServeDir::precompressed_br)
    }

    /// Sends `FILE.zst` where it exists and the client accepts Zstandard.
    #[must_use]
    pub fn precompressed_zstd(self) -> Self {
        self.with(ServeDir::precompressed_zstd)
    }

    /// Sends `FILE.gz` where it exists and the client accepts gzip.
    #[must_use]
    pub fn precompressed_gzip(self) -> Self {
        self.with(ServeDir::precompressed_gzip)
    }

    /// Sends `FILE.zz` where it exists and the client accepts deflate.
    #[must_use]
    pub fn precompressed_deflate(self) -> Self {
        self.with(ServeDir::precompressed_deflate)
    }

    /// Reads the file into buffers of this size if it cannot be mapped, see
    /// [`ServeDir::with_buf_chunk_size`].
    #[must_use]
    pub fn with_buf_chunk_size(self, chunk_size: usize) -> Self {
        self.with(|directory| directory.with_buf_chunk_size(chunk_size))
    }

    /// Whether requests for several ranges get the whole file, with status 200. Default: false; the
    /// response is `multipart/byteranges`.
    #[must_use]
    pub fn ignore_multi_range_requests(self, ignore: bool) -> Self {
        self.with(|directory| directory.ignore_multi_range_requests(ignore))
    }

    /// Sends this `Cache-Control` with the file.
    #[must_use]
    pub fn cache_control(self, value: HeaderValue) -> Self {
        self.with(|directory| directory.cache_control(value))
    }

    /// Uses these counters, which a server may share.
    #[must_use]
    pub fn stats(self, stats: Arc<ServerStats>) -> Self {
        self.with(|directory| directory.stats(stats))
    }

    fn with(self, change: impl FnOnce(ServeDir) -> ServeDir) -> Self {
        Self {
            directory: change(self.directory),
            ..self
        }
    }

    /// Like [`call`](Service::call), but if the file is not there or cannot be read, that is an
    /// error, so that the caller chooses the response.
    ///
    /// # Errors
    /// As for [`ServeDir::try_call`].
    pub fn try_call<B>(&mut self, request: Request<B>) -> TryResponseFuture {
        let request = self.to_the_file(request);
        self.directory.try_call(request)
    }

    /// The request for the file. Its body is not looked at.
    fn to_the_file<B>(&self, request: Request<B>) -> Request<Empty<Bytes>> {
        let mut request = request.map(|_| Empty::new());
        *request.uri_mut() = self.target.clone();
        request
    }
}

impl<B> Service<Request<B>> for ServeFile {
    type Response = Response<FileBody>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture {
        let request = self.to_the_file(request);
        self.directory.call(request)
    }
}
