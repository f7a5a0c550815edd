//! [`ServeDir`] and [`ServeFile`]: files as tower services.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use http::{HeaderValue, StatusCode};

use crate::file::{Root, Symlinks, Wait};
use crate::objects::Objects;
use crate::path_rules::PathRules;
use crate::prepared::PreparedResponses;
use crate::semantics::negotiate::Encoding;
use crate::semantics::path;
use crate::stats::ServerStats;

mod archives;
mod fallback;
mod file_response;
mod list_directory;
mod lookup;
mod names;
mod open_file_cache;
mod options;
mod representation;
mod resource;
mod response;
mod send_archive;
mod serve_file;
mod service;
mod upload;

pub use archives::Archives;
pub use fallback::{Fallback, NoFallback, NotFoundHandler};
pub use file_response::FileResponse;
use lookup::FileLookup;
use names::Source;
use options::ServeDirOptions;
pub use options::{Cache, Uploads};
pub use serve_file::ServeFile;
pub use service::{ResponseFuture, TryResponseFuture};

/// Less than a page would be read by more calls than anybody wants.
const LEAST_READ_BUFFER: usize = 4 << 10;

/// Serves the regular files below a directory.
///
/// GET, HEAD and OPTIONS (and PUT, if [`uploads`](Self::uploads) are allowed), with conditional
/// requests and byte ranges (RFC 9110 sections 13 and 14). Files are kept open in a cache. Each
/// request checks its file with fstat(2), and paths are looked up again after [`Cache::valid_for`].
/// Names are resolved by openat2(2) beneath the directory, so nothing outside is ever opened.
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

impl<F> std::fmt::Debug for ServeDir<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServeDir")
            .field("source", &self.lookup.source)
            .field("options", &self.lookup.options)
            .finish_non_exhaustive()
    }
}

impl ServeDir {
    /// Serves `directory`. It is opened by the first request. If it cannot be opened, the response
    /// is 500.
    pub fn new(directory: impl AsRef<Path>) -> Self {
        let root = Root::new(directory.as_ref().to_owned());
        Self {
            lookup: Arc::new(FileLookup::new(root, ServeDirOptions::default())),
            fallback: NoFallback,
        }
    }

    /// Like [`new`](Self::new), but opens the directory at once.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn open(directory: impl AsRef<Path>) -> io::Result<Self> {
        let this = Self::new(directory);
        if let Some(root) = this.lookup.source.root() {
            root.directory(Wait::Anything)?;
        }
        Ok(this)
    }
}

impl ServeDir {
    /// Serves the objects of a store like the files of a directory: with conditional requests, byte
    /// ranges, listings, precompressed siblings and all other options but
    /// [`archives`](Self::archives) and [`symlinks`](Self::symlinks).
    ///
    /// What differs from files:
    /// - `ETag`, `Content-Type`, `Content-Encoding` and `Cache-Control` are those that the object
    ///   was stored with. Without a type, or with `application/octet-stream` or
    ///   `binary/octet-stream`, the name says what it is. Path rules come first, and
    ///   [`cache_control`](Self::cache_control) comes last. Other metadata is not sent, because
    ///   programs that upload write there whatever they need.
    /// - A directory is what several names have in common up to a slash. If the name of an object
    ///   is that of a directory too, the path without the slash leads to the object.
    /// - Bytes that are not in the local file yet are waited for, and no thread waits with them. If
    ///   they cannot be had, the response is cut short; before it began, it is 502, 503 or 504 (see
    ///   [`StoreError`](crate::StoreError)).
    ///
    /// ```no_run
    /// use std::sync::Arc;
    /// use underpass_http::{Objects, ServeDir};
    ///
    /// fn bucket(store: Arc<dyn Objects>) -> ServeDir {
    ///     ServeDir::objects(store).listing(true).precompressed_br()
    /// }
    /// ```
    pub fn objects(store: Arc<dyn Objects>) -> Self {
        let options = ServeDirOptions::default();
        Self {
            lookup: Arc::new(FileLookup::of(Source::Objects(store), options)),
            fallback: NoFallback,
        }
    }

    fn media_type_of_all(self, value: HeaderValue) -> Self {
        self.set(|options| options.media_types.choose_for_all(value))
    }

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
            // The cache is shared with a clone, so this one gets a cache of its own.
            let mut lookup = self.lookup.renewed();
            lookup.set(set);
            self.lookup = Arc::new(lookup);
        }
        self
    }

    /// Whether the response to a directory is its `index.html`. Default: true.
    #[must_use]
    pub fn append_index_html_on_directories(self, append: bool) -> Self {
        self.set(|options| options.index = append)
    }

    /// Whether `PAGE.html` is the response to `/PAGE`: if nothing has that name, and it has no
    /// extension. Default: false.
    #[must_use]
    pub fn html_as_default_extension(self, append: bool) -> Self {
        self.set(|options| options.html_extension = append)
    }

    /// Whether a directory's path without its trailing slash is redirected to the one with it. If
    /// not, its index is the response to both; the links in such an index should be absolute.
    /// Default: true.
    #[must_use]
    pub fn redirect_to_trailing_slash(self, redirect: bool) -> Self {
        self.set(|options| options.redirect = redirect)
    }

    /// Redirects a directory's path without its trailing slash to this prefix and the path below
    /// this directory. By default such a redirect is relative, which is right below any prefix that
    /// a router has removed.
    ///
    /// ```
    /// // `/static/docs` leads to `/static/docs/`.
    /// let files = underpass_http::ServeDir::new("static").redirect_path_prefix("/static");
    /// ```
    #[must_use]
    pub fn redirect_path_prefix(self, prefix: impl Into<String>) -> Self {
        let prefix = prefix.into();
        self.set(|options| options.redirect_prefix = Some(prefix))
    }

    /// Sends `FILE.br` for `FILE` where it exists and the client accepts Brotli. `FILE` itself need
    /// not exist; clients that do not accept Brotli then find nothing.
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

    /// Sends `FILE.zz` for `FILE` where it exists and the client accepts deflate.
    #[must_use]
    pub fn precompressed_deflate(self) -> Self {
        self.precompressed(Encoding::Deflate)
    }

    fn precompressed(self, encoding: Encoding) -> Self {
        self.set(|options| {
            if !options.encodings.contains(&encoding) {
                options.encodings.push(encoding);
            }
        })
    }

    /// Whether requests for several ranges get the whole file, with status 200. Default: false; the
    /// response is `multipart/byteranges`.
    #[must_use]
    pub fn ignore_multi_range_requests(self, ignore: bool) -> Self {
        self.set(|options| options.one_range = ignore)
    }

    /// Whether the response to a directory without an index is a list of its entries, as HTML or
    /// JSON. Default: false.
    #[must_use]
    pub fn listing(self, listing: bool) -> Self {
        self.set(|options| options.listing = listing)
    }

    /// Sends a directory as one file for `GET /directory/?archive=tar`, or `zip`: everything that
    /// is served below it, without compression. Only directories that are [listed](Self::listing)
    /// are, and their listing has links to it. But an archive also contains what is below a
    /// directory with an index, which has no listing of its own. Default: no archives.
    ///
    /// The length is known before the first byte is sent, and the entity tag is strong, so that a
    /// download can be resumed. For that the directory is listed beforehand, which takes seconds
    /// for 1,000,000 files. Files are opened when their turn comes. If one of them, or the
    /// directory, has changed by then, the response is cut short.
    ///
    /// What cannot be read is left out; a note in the archive, `DIRECTORY.left-out.txt`, lists it,
    /// and [`ServerStats::archive_left_out`] counts it. In a zip archive every file has a checksum,
    /// so files are read once before they are sent. The checksums are kept in memory, at most 18
    /// MiB of them, and at most 64 zip archives are sent at a time.
    ///
    /// ```
    /// use underpass_http::{Archives, ServeDir};
    ///
    /// let photos = ServeDir::new("photos").listing(true).archives(Archives::default());
    /// ```
    #[must_use]
    pub fn archives(self, archives: Archives) -> Self {
        self.set(|options| options.archives = Some(archives))
    }

    /// Whether browsers that navigate to something that is not there, or that fails, get a page in
    /// the look of [listings](Self::listing), in English or Chinese. Others get a line of text.
    /// Default: false; all get text.
    #[must_use]
    pub fn error_pages(self, pages: bool) -> Self {
        self.set(|options| options.error_pages = pages)
    }

    /// Whether names that begin with a dot are served and listed. `/.well-known/` always is.
    /// Default: false.
    #[must_use]
    pub fn hidden(self, hidden: bool) -> Self {
        self.set(|options| options.hidden = hidden)
    }

    /// Serves this file, given as a path below the directory, and nothing else. The directory's own
    /// path is redirected to it, so that clients learn its name. Uploads can replace that file
    /// only.
    ///
    /// ```no_run
    /// // `/` leads to `/report.pdf`.
    /// let report = underpass_http::ServeDir::new("/srv").only("report.pdf");
    /// ```
    #[must_use]
    pub fn only(self, file: impl AsRef<Path>) -> Self {
        let file = path::below_root(file.as_ref().as_os_str().as_bytes());
        self.set(|options| options.only = Some(file))
    }

    /// How symbolic links are treated. Default: [`Symlinks::Refuse`].
    #[must_use]
    pub fn symlinks(self, symlinks: Symlinks) -> Self {
        self.set(|options| options.symlinks = symlinks)
    }

    /// Sends files with this extension, in upper or lower case, with this `Content-Type`. The value
    /// is not checked.
    ///
    /// ```
    /// use http::HeaderValue;
    /// use underpass_http::ServeDir;
    ///
    /// let latin1 = HeaderValue::from_static("text/plain; charset=latin1");
    /// let notes = ServeDir::new("notes").media_type("log", latin1);
    /// ```
    #[must_use]
    pub fn media_type(self, extension: &str, value: HeaderValue) -> Self {
        self.set(|options| options.media_types.choose(extension, value))
    }

    /// Sends this `Cache-Control` with every file, except the page of [`spa`](Self::spa).
    #[must_use]
    pub fn cache_control(self, value: HeaderValue) -> Self {
        self.set(|options| options.cache_control = Some(value))
    }

    /// For single-page applications: if a navigation finds nothing, the response is 200 with this
    /// file, given as a path below the directory. The file is always sent with
    /// `Cache-Control: no-cache`, also by its own path.
    ///
    /// A navigation is a request that accepts `text/html` by name, and whose path has no extension
    /// of something that pages load: a script, a style sheet, an image, a font and so on. The
    /// response to other requests that find nothing is 404, so that no cache keeps a page in place
    /// of a script.
    #[must_use]
    pub fn spa(self, file: impl AsRef<Path>) -> Self {
        let file = path::below_root(file.as_ref().as_os_str().as_bytes());
        self.set(|options| options.spa = Some(file))
    }

    /// Sends this file, given as a path below the directory, with responses of status 404.
    #[must_use]
    pub fn not_found_page(self, file: impl AsRef<Path>) -> Self {
        let file = file.as_ref().as_os_str().as_bytes().to_vec();
        self.set(|options| options.not_found_page = Some(file))
    }

    /// Says what is special about some paths: who has access, and the fields that are sent. They
    /// are looked at when a file is opened, not for every request.
    ///
    /// They are about paths below the directory, and all names that lead to a file count: that of
    /// the request, and that of an index or another page that is sent for it.
    #[must_use]
    pub fn path_rules(self, rules: PathRules) -> Self {
        self.set(|options| options.path_rules = Some(rules))
    }

    /// Whether pages that were read only to be sent are dropped from the page cache, so that large
    /// files do not push hot ones out. Default: false.
    #[must_use]
    pub fn polite_cache(self, polite: bool) -> Self {
        self.set(|options| options.polite = polite)
    }

    /// Reads files that cannot be mapped into buffers of this size, in bytes. Files that can be
    /// mapped are read into no buffer. Default: 512 KiB; less than 4 KiB means 4 KiB.
    #[must_use]
    pub fn with_buf_chunk_size(self, chunk_size: usize) -> Self {
        let size = chunk_size.max(LEAST_READ_BUFFER) as u64;
        self.set(|options| options.read_buffer = size)
    }

    /// Sets how many files are kept open, and for how long a path is believed to lead to the same
    /// file.
    #[must_use]
    pub fn cache(self, cache: Cache) -> Self {
        self.set(|options| options.cache = cache)
    }

    /// Allows PUT, and with [`Uploads::forms`] the forms of browsers. A layer in front of this
    /// service has to decide who may use it.
    ///
    /// A file appears whole or not at all, and is durable before the response is sent. If it
    /// replaces a file, it keeps that file's owner, permissions, ACL and extended attributes, but
    /// never set-user-ID or set-group-ID. If they cannot be kept, the response is 403 and the old
    /// file stays.
    #[must_use]
    pub fn uploads(self, uploads: Uploads) -> Self {
        self.set(|options| options.uploads = Some(uploads))
    }

    /// Uses these counters, which a server may share.
    #[must_use]
    pub fn stats(self, stats: Arc<ServerStats>) -> Self {
        self.set(|options| options.stats = stats)
    }

    /// Requests that find nothing are passed to `service`, and so are those with an invalid path.
    #[must_use]
    pub fn fallback<G>(self, service: G) -> ServeDir<Fallback<G>> {
        ServeDir {
            lookup: self.lookup,
            fallback: Fallback::new(service, None),
        }
    }

    /// Requests that find nothing are passed to `service`, and so are those with an invalid path.
    /// Its responses are sent with status 404.
    #[must_use]
    pub fn not_found_service<G>(self, service: G) -> ServeDir<Fallback<G>> {
        ServeDir {
            lookup: self.lookup,
            fallback: Fallback::new(service, Some(StatusCode::NOT_FOUND)),
        }
    }

    /// Whether requests with a method that is not served are passed to the fallback, if there is
    /// one. Default: false; the response is 405, and to OPTIONS 204.
    #[must_use]
    pub fn call_fallback_on_method_not_allowed(self, call: bool) -> Self {
        self.set(|options| options.fallback_for_methods = call)
    }
}
