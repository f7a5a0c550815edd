//! [`ServeDir`] and [`ServeFile`]: files as tower services.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::{HeaderValue, StatusCode};

use crate::file::{Root, Symlinks, Wait};
use crate::prepared::PreparedResponses;
use crate::semantics::negotiate::Encoding;
use crate::semantics::path;
use crate::stats::ServerStats;

mod fallback;
mod list_directory;
mod lookup;
mod open_file_cache;
mod options;
mod representation;
mod resource;
mod response;
mod serve_file;
mod service;
mod upload;

pub use fallback::{Fallback, NoFallback, NotFoundHandler};
use lookup::FileLookup;
use options::ServeDirOptions;
pub use options::{Cache, Uploads};
pub use serve_file::ServeFile;
pub use service::ResponseFuture;

/// Serves the regular files below a directory.
///
/// GET, HEAD and OPTIONS (and PUT, if [`uploads`](Self::uploads) are allowed), with conditional
/// requests and byte ranges (RFC 9110 sections 13 and 14). Files are kept open in a cache, looked
/// at by each request, and looked up again after [`Cache::valid_for`]. Names are resolved by
/// openat2(2) beneath the directory: nothing outside is ever opened.
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
            .field("directory", &self.lookup.root.path())
            .field("options", &self.lookup.options)
            .finish_non_exhaustive()
    }
}

impl ServeDir {
    /// Serves `directory`. It is opened when the first request comes; while it cannot be, the
    /// answer is 500.
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

    /// Whether a directory without an index is answered with a list of what is in it, as HTML or
    /// JSON. Default: false.
    #[must_use]
    pub fn listing(self, listing: bool) -> Self {
        self.set(|options| options.listing = listing)
    }

    /// Whether names that begin with a dot are served and listed. `/.well-known/` always is.
    /// Default: false.
    #[must_use]
    pub fn hidden(self, hidden: bool) -> Self {
        self.set(|options| options.hidden = hidden)
    }

    /// What becomes of symbolic links. Default: [`Symlinks::Refuse`].
    #[must_use]
    pub fn symlinks(self, symlinks: Symlinks) -> Self {
        self.set(|options| options.symlinks = symlinks)
    }

    /// Files whose name ends in `extension`, in any case, are sent with this `Content-Type`, which
    /// is not looked into.
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

    /// For single-page applications: a navigation to what is not found is answered 200 with this
    /// file, a path below the directory. The page is sent with `Cache-Control: no-cache`, by its
    /// own path too.
    ///
    /// A navigation accepts `text/html` by name, and its path has no extension of what pages load:
    /// scripts, styles, images, fonts and so on. Everything else that is not found is 404, so that
    /// no cache keeps a page in the place of a script.
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

    /// Whether the page cache may forget what was read into it only to be sent here, so that big
    /// files do not push hot ones out. Default: false.
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
    /// A file appears whole or not at all, and is on the disk with its name before the response is
    /// sent. One that it replaces hands on its owner, permissions, ACL and extended attributes, but
    /// never set-user-ID or set-group-ID; where it cannot, the answer is 403 and the old file
    /// stays.
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
