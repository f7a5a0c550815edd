//! [`ServeDir`] and [`ServeFile`]: files as tower services.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::ALLOW;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use tower_service::Service;

use crate::body::{BoxError, FileBody};
use crate::file::{Root, Symlinks, Wait};
use crate::prepared::PreparedResponses;
use crate::semantics::media_type::{self, MediaTypes};
use crate::semantics::negotiate::{Encoding, accepts_html};
use crate::semantics::path;
use crate::stats::ServerStats;

mod fallback;
mod list_directory;
mod lookup;
mod open_file_cache;
mod representation;
mod response;
mod serve_file;
mod upload;

pub use fallback::{Fallback, NoFallback, NotFoundHandler};
use lookup::{FileLookup, Found};
pub use serve_file::ServeFile;

/// Serves the regular files below a directory.
///
/// GET, HEAD and OPTIONS (and PUT, if [`uploads`](Self::uploads) are allowed), with conditional requests and byte ranges
/// (RFC 9110 sections 13 and 14). Files are kept open in a cache, looked at by each request, and looked up again after
/// [`Cache::valid_for`]. Names are resolved by openat2(2) beneath the directory: nothing outside is ever opened.
///
/// Clones share the cache.
///
/// ```no_run
/// use underpass_http::ServeDir;
///
/// let assets = ServeDir::new("assets").precompressed_br().precompressed_gzip();
/// ```
#[derive(Clone)]
pub struct ServeDir<F = NoFallback> {
    lookup: Arc<FileLookup>,
    fallback: F,
}

/// How many files are kept open, and how long what is known of them is believed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Cache {
    /// Files kept open, precompressed siblings among them; never more than half of the descriptors that the process may
    /// have (`ulimit -n`), and none when one is needed and none is left. 4,096; 0 keeps none.
    pub entries: usize,
    /// For so long a path may still lead to a file that was replaced or removed. A file that was written to in its place
    /// is noticed at once, and so is an upload. 1 s.
    pub valid_for: Duration,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            entries: 4096,
            valid_for: Duration::from_secs(1),
        }
    }
}

impl Cache {
    /// This many paths, believed for so long.
    pub fn new(entries: usize, valid_for: Duration) -> Self {
        Self { entries, valid_for }
    }
}

/// What may be uploaded.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Uploads {
    /// Bytes of one file at most; more are answered 413. 1 GiB.
    pub max_bytes: u64,
}

impl Default for Uploads {
    fn default() -> Self {
        Self { max_bytes: 1 << 30 }
    }
}

impl Uploads {
    /// Files of up to this many bytes.
    pub fn up_to(max_bytes: u64) -> Self {
        Self { max_bytes }
    }
}

/// What can be chosen.
#[derive(Clone)]
struct ServeDirOptions {
    index: bool,
    listing: bool,
    hidden: bool,
    symlinks: Symlinks,
    encodings: Vec<Encoding>,
    media_types: MediaTypes,
    cache_control: Option<HeaderValue>,
    spa: Option<Vec<u8>>,
    not_found_page: Option<Vec<u8>>,
    polite: bool,
    cache: Cache,
    uploads: Option<Uploads>,
    stats: Arc<ServerStats>,
}

impl Default for ServeDirOptions {
    fn default() -> Self {
        Self {
            index: true,
            listing: false,
            hidden: false,
            symlinks: Symlinks::default(),
            encodings: Vec::new(),
            media_types: MediaTypes::default(),
            cache_control: None,
            spa: None,
            not_found_page: None,
            polite: false,
            cache: Cache::default(),
            uploads: None,
            stats: Arc::default(),
        }
    }
}

impl ServeDir {
    /// Serves `directory`. It is opened when the first request comes; while it cannot be, the answer is 500.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        let root = Root::new(directory.into());
        Self {
            lookup: Arc::new(FileLookup::new(root, ServeDirOptions::default())),
            fallback: NoFallback,
        }
    }

    /// [`new`](Self::new), and finds out at once whether the directory can be opened.
    ///
    /// # Errors
    /// What open(2) gave.
    pub fn open(directory: impl Into<PathBuf>) -> io::Result<Self> {
        let this = Self::new(directory);
        this.lookup.root.directory(Wait::Anything)?;
        Ok(this)
    }
}

impl ServeDir {
    /// For [`serve_dir`](crate::serve_dir()).
    pub(crate) fn prepared_responses(&self) -> Arc<dyn PreparedResponses> {
        Arc::clone(&self.lookup) as Arc<dyn PreparedResponses>
    }
}

impl<F> ServeDir<F> {
    fn set(mut self, set: impl FnOnce(&mut ServeDirOptions)) -> Self {
        if let Some(lookup) = Arc::get_mut(&mut self.lookup) {
            lookup.set(set);
        } else {
            // Somebody shares the cache: from here on this one has its own.
            let mut lookup = self.lookup.renewed();
            lookup.set(set);
            self.lookup = Arc::new(lookup);
        }
        self
    }

    /// Whether a directory is answered with the `index.html` in it. Default: true.
    #[must_use]
    pub fn append_index_html_on_directories(self, append: bool) -> Self {
        self.set(|options| options.index = append)
    }

    /// Sends `FILE.br` for `FILE` where it exists and the client accepts Brotli.
    #[must_use]
    pub fn precompressed_br(self) -> Self {
        self.precompressed(Encoding::Brotli)
    }

    /// Sends `FILE.zst` for `FILE` where it exists and the client accepts Zstandard.
    #[must_use]
    pub fn precompressed_zstd(self) -> Self {
        self.precompressed(Encoding::Zstd)
    }

    /// Sends `FILE.gz` for `FILE` where it exists and the client accepts gzip.
    #[must_use]
    pub fn precompressed_gzip(self) -> Self {
        self.precompressed(Encoding::Gzip)
    }

    fn precompressed(self, encoding: Encoding) -> Self {
        self.set(|options| {
            if !options.encodings.contains(&encoding) {
                options.encodings.push(encoding);
            }
        })
    }

    /// Whether a directory without an index is answered with a list of what is in it, as HTML or JSON. Default: false.
    #[must_use]
    pub fn listing(self, listing: bool) -> Self {
        self.set(|options| options.listing = listing)
    }

    /// Whether names that begin with a dot are served and listed. `/.well-known/` always is. Default: false.
    #[must_use]
    pub fn hidden(self, hidden: bool) -> Self {
        self.set(|options| options.hidden = hidden)
    }

    /// What becomes of symbolic links. Default: [`Symlinks::Refuse`].
    #[must_use]
    pub fn symlinks(self, symlinks: Symlinks) -> Self {
        self.set(|options| options.symlinks = symlinks)
    }

    /// Files whose name ends in `extension`, in any case, are sent with this `Content-Type`, which is not looked into.
    ///
    /// ```
    /// use http::HeaderValue;
    /// use underpass_http::ServeDir;
    ///
    /// let notes = ServeDir::new("notes").media_type("log", HeaderValue::from_static("text/plain; charset=latin1"));
    /// ```
    #[must_use]
    pub fn media_type(self, extension: &str, value: HeaderValue) -> Self {
        self.set(|options| options.media_types.choose(extension, value))
    }

    /// Sent with every file but the page of [`spa`](Self::spa).
    #[must_use]
    pub fn cache_control(self, value: HeaderValue) -> Self {
        self.set(|options| options.cache_control = Some(value))
    }

    /// For single-page applications: a navigation to what is not found is answered 200 with this file, a path below the
    /// directory. The page is sent with `Cache-Control: no-cache`, by its own path too.
    ///
    /// A navigation accepts `text/html` by name, and its path has no extension of what pages load: scripts, styles, images,
    /// fonts and so on. Everything else that is not found is 404, so that no cache keeps a page in the place of a script.
    #[must_use]
    pub fn spa(self, file: impl AsRef<Path>) -> Self {
        let file = path::below_root(file.as_ref().as_os_str().as_bytes());
        self.set(|options| options.spa = Some(file))
    }

    /// What is not found is answered 404 with this file, a path below the directory.
    #[must_use]
    pub fn not_found_page(self, file: impl AsRef<Path>) -> Self {
        let file = file.as_ref().as_os_str().as_bytes().to_vec();
        self.set(|options| options.not_found_page = Some(file))
    }

    /// Whether the page cache may forget what was read into it only to be sent here, so that big files do not push hot
    /// ones out. Default: false.
    #[must_use]
    pub fn polite_cache(self, polite: bool) -> Self {
        self.set(|options| options.polite = polite)
    }

    /// How many files are kept open, and for how long they are believed unchanged.
    #[must_use]
    pub fn cache(self, cache: Cache) -> Self {
        self.set(|options| options.cache = cache)
    }

    /// Allows PUT. Who may is for a layer before this service to decide.
    ///
    /// A file appears whole or not at all, and is on the disk with its name before the response is sent. One that it replaces
    /// hands on its owner, permissions, ACL and extended attributes, but never set-user-ID or set-group-ID; where it cannot,
    /// the answer is 403 and the old file stays.
    #[must_use]
    pub fn uploads(self, uploads: Uploads) -> Self {
        self.set(|options| options.uploads = Some(uploads))
    }

    /// Counts into `stats`, which a server may share.
    #[must_use]
    pub fn stats(self, stats: Arc<ServerStats>) -> Self {
        self.set(|options| options.stats = stats)
    }

    /// What is not found is `service`'s to answer.
    #[must_use]
    pub fn fallback<G>(self, service: G) -> ServeDir<Fallback<G>> {
        ServeDir {
            lookup: self.lookup,
            fallback: Fallback::new(service, None),
        }
    }

    /// What is not found is `service`'s to answer, with the status 404 whatever it says.
    #[must_use]
    pub fn not_found_service<G>(self, service: G) -> ServeDir<Fallback<G>> {
        ServeDir {
            lookup: self.lookup,
            fallback: Fallback::new(service, Some(StatusCode::NOT_FOUND)),
        }
    }
}

impl<B, F> Service<Request<B>> for ServeDir<F>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    F: fallback::NotFoundHandler<B>,
{
    type Response = Response<FileBody>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture {
        let lookup = &self.lookup;
        match *request.method() {
            Method::GET | Method::HEAD => {
                let (path, headers) = (request.uri().path(), request.headers());
                if let Some(file) = lookup.cached(path, headers) {
                    let response = response::file(&file, &request, &lookup.options);
                    return ResponseFuture::ready(for_method(request.method(), response));
                }
                let (lookup, fallback) = (Arc::clone(lookup), self.fallback.clone());
                let method = request.method().clone();
                let response = get(lookup, fallback, request);
                ResponseFuture::later(async move { for_method(&method, response.await) })
            }
            Method::OPTIONS => ResponseFuture::ready(self.allowed(StatusCode::NO_CONTENT)),
            Method::PUT if lookup.options.uploads.is_some() => {
                ResponseFuture::later(upload::put(Arc::clone(lookup), request))
            }
            _ => ResponseFuture::ready(self.allowed(StatusCode::METHOD_NOT_ALLOWED)),
        }
    }
}

fn for_method(method: &Method, response: Response<FileBody>) -> Response<FileBody> {
    match *method {
        Method::HEAD => response::without_content(response),
        _ => response,
    }
}

impl<F> ServeDir<F> {
    fn allowed(&self, status: StatusCode) -> Response<FileBody> {
        let methods = match self.lookup.options.uploads {
            Some(_) => "GET, HEAD, OPTIONS, PUT",
            None => "GET, HEAD, OPTIONS",
        };
        let mut response = match status {
            StatusCode::NO_CONTENT => response::empty(status),
            status => response::text(status, "this method is not served here"),
        };
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static(methods));
        response
    }
}

/// Looks the path up, on a blocking thread if the disk has to be asked.
async fn get<B, F>(lookup: Arc<FileLookup>, fallback: F, request: Request<B>) -> Response<FileBody>
where
    B: Send + 'static,
    F: fallback::NotFoundHandler<B>,
{
    match lookup::look_up(&lookup, request.uri().path()).await {
        Ok(Found::File(resource)) => {
            let file = resource.choose(request.headers());
            response::file(file, &request, &lookup.options)
        }
        Ok(Found::Directory(path)) => list_directory::list(&lookup, path, &request).await,
        Ok(Found::Redirect(name)) => response::redirect(&name, request.uri().query()),
        Ok(Found::Bad(reason)) => response::bad_request(&reason.to_string()),
        Ok(Found::Missing) => missing(&lookup, fallback, request).await,
        Err(error) => response::failure(&error),
    }
}

async fn missing<B, F>(
    lookup: &Arc<FileLookup>,
    fallback: F,
    request: Request<B>,
) -> Response<FileBody>
where
    B: Send + 'static,
    F: fallback::NotFoundHandler<B>,
{
    let options = &lookup.options;
    let mut varies = false;
    if let Some(page) = &options.spa
        && !is_asset(&request)
    {
        if accepts_html(request.headers())
            && let Some(resource) = page_of(lookup, page).await
        {
            return response::application(&resource, &request, options);
        }
        varies = true;
    }
    if let Some(page) = &options.not_found_page
        && let Some(resource) = page_of(lookup, page).await
    {
        return response::page(&resource, StatusCode::NOT_FOUND, options);
    }
    let mut response = match fallback.answer(request) {
        Some(answer) => answer.await,
        None => response::text(StatusCode::NOT_FOUND, "nothing is served here"),
    };
    if varies {
        response::varies_by_accept(response.headers_mut());
    }
    response
}

async fn page_of(lookup: &Arc<FileLookup>, page: &[u8]) -> Option<Arc<representation::Resource>> {
    match lookup::look_up(lookup, &path::encode(page)).await {
        Ok(Found::File(resource)) => Some(resource),
        _ => None,
    }
}

fn is_asset<B>(request: &Request<B>) -> bool {
    path::decode(request.uri().path()).is_ok_and(|it| media_type::is_asset(&it.relative))
}

/// A response that is there, or on its way.
pub struct ResponseFuture(State);

enum State {
    Ready(Option<Response<FileBody>>),
    Later(Later),
}

type Later = Pin<Box<dyn Future<Output = Response<FileBody>> + Send>>;

impl ResponseFuture {
    fn ready(response: Response<FileBody>) -> Self {
        Self(State::Ready(Some(response)))
    }

    fn later(response: impl Future<Output = Response<FileBody>> + Send + 'static) -> Self {
        Self(State::Later(Box::pin(response)))
    }
}

impl Future for ResponseFuture {
    type Output = Result<Response<FileBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            // Polled again after it was ready: there is nothing to wake for.
            State::Ready(response) => response
                .take()
                .map_or(Poll::Pending, |it| Poll::Ready(Ok(it))),
            State::Later(response) => response.as_mut().poll(cx).map(Ok),
        }
    }
}
