//! A service for one file.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri};
use http_body::Body;
use tower_service::Service;

use super::{ResponseFuture, ServeDir};
use crate::body::{BoxError, FileBody};
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
}

impl<B> Service<Request<B>> for ServeFile
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<FileBody>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> ResponseFuture {
        *request.uri_mut() = self.target.clone();
        self.directory.call(request)
    }
}
