//! [`FileResponse`]: the whole response with a file that a handler has found itself.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Response};
use rustix::fs::{Mode, OFlags};
use rustix::io::retry_on_intr;

use super::lookup::{FileLookup, Found, blocking};
use super::options::ServeDirOptions;
use super::representation::{Representation, RepresentationBuilder};
use super::{ServeDir, response};
use crate::body::FileBody;
use crate::file::descriptors;
use crate::semantics::disposition::Disposition;
use crate::semantics::media_type::{self, MediaType};
use crate::semantics::{path, range};
use crate::stats::ServerStats;
use crate::sys::OpenFile;

/// How often a file is opened again because it changed before the response was made.
const MAX_TRIES: usize = 8;

/// The whole response with a file that a handler has found itself.
///
/// It is what [`ServeDir`] would send: conditional requests (304, 412), single and several ranges,
/// `If-Range`, HEAD, `ETag` and `Last-Modified`, the type by the file's name. Bodies leave by
/// sendfile(2) under [`serve`](crate::serve()). What a handler knows better is set before
/// [`respond`](Self::respond).
///
/// The request's method and headers are all that it needs, so it works with any framework. In axum
/// both are extractors, and the response is an `IntoResponse`:
///
/// ```no_run
/// use axum::extract::Path;
/// use axum::response::IntoResponse;
/// use http::{HeaderMap, Method};
/// use underpass_http::FileResponse;
///
/// async fn invoice(
///     Path(number): Path<u32>,
///     method: Method,
///     headers: HeaderMap,
/// ) -> impl IntoResponse {
///     FileResponse::path(format!("/srv/invoices/{number}"))
///         .attachment(format!("Rechnung für {number}.pdf"))
///         .respond(&method, &headers)
///         .await
/// }
/// # axum::Router::<()>::new().route("/invoices/{number}", axum::routing::get(invoice));
/// ```
///
/// Other fields are added to the response: `response.headers_mut().insert(…)`.
#[must_use = "it does nothing until a response is made of it"]
pub struct FileResponse {
    source: Source,
    chosen: Chosen,
    stats: Option<Arc<ServerStats>>,
}

/// What the handler has chosen instead of what the file's name says.
#[derive(Debug, Default)]
struct Chosen {
    /// What browsers do with the file, and its name there.
    name: Option<(Disposition, String)>,
    content_type: Option<HeaderValue>,
    cache_control: Option<HeaderValue>,
}

enum Source {
    Path(PathBuf),
    File(File),
    /// Below a served directory: the path as a request would name it.
    Below(Arc<FileLookup>, String),
}

impl FileResponse {
    /// The file at a path of the program's own. Symbolic links are followed, and so is `..`: a path
    /// that a client chooses belongs to [`below`](Self::below).
    pub fn path(path: impl Into<PathBuf>) -> Self {
        Self::new(Source::Path(path.into()))
    }

    /// An open file. Its type is that of the name it is given, otherwise
    /// `application/octet-stream`.
    ///
    /// ```no_run
    /// # async fn handler(method: http::Method, headers: http::HeaderMap) -> std::io::Result<()> {
    /// use underpass_http::FileResponse;
    ///
    /// let file = std::fs::File::open("store/6f1ed002ab55")?;
    /// let response = FileResponse::file(file).inline("map.png").respond(&method, &headers).await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn file(file: File) -> Self {
        Self::new(Source::File(file))
    }

    /// A file below a directory, by its path there, which is not percent-encoded. Nothing outside
    /// the directory is ever opened (openat2(2)).
    ///
    /// Everything is as the directory has it: its cache of open files, which makes this the fastest
    /// way, precompressed siblings, types, hidden names, symbolic links, counters. Its fallback and
    /// its pages for errors are not used, and directories are not listed. Of its
    /// [rules for paths](ServeDir::path_rules) only authentication is left to the handler.
    ///
    /// ```no_run
    /// # async fn handler(method: http::Method, headers: http::HeaderMap) {
    /// use underpass_http::{FileResponse, ServeDir};
    ///
    /// // Once, when the application starts.
    /// let store = ServeDir::new("/srv/store").precompressed_gzip();
    /// // For each request, when it is known to be allowed.
    /// let file = FileResponse::below(&store, "reports/2026.csv");
    /// let response = file.respond(&method, &headers).await;
    /// # }
    /// ```
    pub fn below<F>(directory: &ServeDir<F>, path: impl AsRef<Path>) -> Self {
        let path = path::encode(path.as_ref().as_os_str().as_bytes());
        Self::new(Source::Below(Arc::clone(&directory.lookup), path))
    }

    fn new(source: Source) -> Self {
        Self {
            source,
            chosen: Chosen::default(),
            stats: None,
        }
    }

    /// Browsers save the file by this name (`Content-Disposition`, RFC 6266), which need not be
    /// ASCII. Without a [`content_type`](Self::content_type) its extension, if that is known, also
    /// chooses the type.
    pub fn attachment(mut self, name: impl Into<String>) -> Self {
        self.chosen.name = Some((Disposition::Attachment, name.into()));
        self
    }

    /// Browsers show the file if they can, and save it by this name if the user asks. Without a
    /// [`content_type`](Self::content_type) the name's extension, if that is known, also chooses
    /// the type.
    pub fn inline(mut self, name: impl Into<String>) -> Self {
        self.chosen.name = Some((Disposition::Inline, name.into()));
        self
    }

    /// Sends this `Content-Type` instead of that of the name.
    pub fn content_type(mut self, value: HeaderValue) -> Self {
        self.chosen.content_type = Some(value);
        self
    }

    /// Sends this `Cache-Control` with the file, and with 304 too.
    pub fn cache_control(mut self, value: HeaderValue) -> Self {
        self.chosen.cache_control = Some(value);
        self
    }

    /// Uses these counters, which a server may share. A file [below](Self::below) a directory uses
    /// the directory's.
    pub fn stats(mut self, stats: Arc<ServerStats>) -> Self {
        self.stats = Some(stats);
        self
    }

    /// The response. If the file is not there or cannot be read, it is the one that [`ServeDir`]
    /// gives: 404, 403 or 500 with a line of text.
    ///
    /// With methods other than GET and HEAD, ranges and conditions are ignored: they are about
    /// another resource than this response.
    ///
    /// # Cancel safety
    /// Nothing is lost if the future is dropped. A thread that opens the file may go on for a
    /// while.
    pub async fn respond(self, method: &Method, headers: &HeaderMap) -> Response<FileBody> {
        match self.try_respond(method, headers).await {
            Ok(response) => response,
            Err(error) => response::for_method(method, response::error(&error)),
        }
    }

    /// Like [`respond`](Self::respond), but if the file is not there or cannot be read, that is an
    /// error, so that the caller chooses the response.
    ///
    /// # Errors
    /// `NotFound` if nothing is there or it is not a regular file, otherwise that of opening or
    /// reading; `ResourceBusy` if the file keeps changing.
    pub async fn try_respond(
        self,
        method: &Method,
        headers: &HeaderMap,
    ) -> io::Result<Response<FileBody>> {
        let chosen = self.chosen;
        let respond = |file: &Representation, options: &ServeDirOptions| {
            let fields = chosen.fields(file, options);
            let response = response::with_fields(file, fields, method, headers, options);
            response::for_method(method, response)
        };
        let options = ServeDirOptions {
            stats: self.stats.unwrap_or_default(),
            ..ServeDirOptions::default()
        };
        match self.source {
            Source::Path(path) => {
                let file = at_path(path, &options).await?;
                Ok(respond(&file, &options))
            }
            Source::File(file) => {
                let theirs = options.clone();
                let file = blocking(move || represent(file, b"", &theirs)).await?;
                Ok(respond(&file, &options))
            }
            Source::Below(lookup, path) => match below(&lookup, &path, method, headers).await? {
                Ok(file) => Ok(respond(&file, &lookup.options)),
                Err(refusal) => Ok(response::for_method(method, refusal)),
            },
        }
    }
}

/// Opens the file at a path, on a blocking thread.
async fn at_path(path: PathBuf, options: &ServeDirOptions) -> io::Result<Arc<Representation>> {
    for _ in 0..MAX_TRIES {
        let (path, options) = (path.clone(), options.clone());
        let file = blocking(move || {
            let name = path.as_os_str().as_bytes();
            represent(open(&path)?, name, &options)
        });
        let file = file.await?;
        // It may have changed while it was on its way back from the other thread.
        if file.is_whole() {
            return Ok(file);
        }
    }
    Err(io::ErrorKind::ResourceBusy.into())
}

fn open(path: &Path) -> io::Result<File> {
    // Opening a FIFO without a writer must not block.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let open = || rustix::fs::open(path, flags, Mode::empty());
    Ok(descriptors::open(|| retry_on_intr(open))?.into())
}

/// Makes an open file ready to be sent. May wait for the disk.
fn represent(
    file: File,
    name: &[u8],
    options: &ServeDirOptions,
) -> io::Result<Arc<Representation>> {
    let file = OpenFile::new(file)?;
    if !file.is_regular() {
        let message = "not a regular file: only those can be sent";
        return Err(io::Error::new(io::ErrorKind::NotFound, message));
    }
    let builder = RepresentationBuilder {
        options,
        relative: name,
        rules: None,
        may_wait: true,
        varies: false,
    };
    builder.make(file, None, None)
}

/// The file of a path below a served directory, or the response to a path that cannot have one.
async fn below(
    lookup: &Arc<FileLookup>,
    path: &str,
    method: &Method,
    headers: &HeaderMap,
) -> io::Result<Result<Arc<Representation>, Response<FileBody>>> {
    if let Some(file) = lookup.cached(path, headers, || true) {
        return Ok(Ok(file));
    }
    let to_read = range::wants_first_byte(method, headers);
    match lookup.look_up(path, to_read).await? {
        Found::File(resource) => Ok(resource.choose(headers).map(Arc::clone).ok_or_else(|| {
            // Only precompressed files are there, and the client accepts none of them.
            let mut refusal = response::error(&io::ErrorKind::NotFound.into());
            response::varies_by_encoding(refusal.headers_mut());
            refusal
        })),
        Found::Bad(reason) => Ok(Err(response::bad_request(&reason.to_string()))),
        Found::Missing(error) => Err(error),
        Found::Directory(_) | Found::Redirect(_) | Found::Only(_) => {
            let message = "not a file: only those can be sent";
            Err(io::Error::new(io::ErrorKind::NotFound, message))
        }
    }
}

impl Chosen {
    /// The fields of a response with this file.
    fn fields<'a>(
        &self,
        file: &'a Representation,
        options: &ServeDirOptions,
    ) -> Cow<'a, HeaderMap> {
        let mut fields = Cow::Borrowed(&file.fields);
        if let Some(media_type) = self.media_type(file, options) {
            set_type(fields.to_mut(), &file.media_type, &media_type);
        }
        if let Some((disposition, name)) = &self.name {
            let value = disposition.field(name);
            fields.to_mut().insert(CONTENT_DISPOSITION, value);
        }
        if let Some(value) = &self.cache_control {
            fields.to_mut().insert(CACHE_CONTROL, value.clone());
        }
        fields
    }

    fn media_type(&self, file: &Representation, options: &ServeDirOptions) -> Option<MediaType> {
        if let Some(value) = self.content_type.clone() {
            return Some(MediaType {
                value,
                is_gzip: false,
            });
        }
        let (_, name) = self.name.as_ref()?;
        // What would have to wait for the disk is not read here.
        let beginning = || file.content.beginning(media_type::BEGINNING, false);
        let media_type = options.media_types.of(name.as_bytes(), beginning).ok()?;
        (media_type.value != media_type::UNKNOWN).then_some(media_type)
    }
}

/// Replaces the type. A type that implies gzip comes with that coding, before any other.
fn set_type(fields: &mut HeaderMap, before: &MediaType, after: &MediaType) {
    fields.insert(CONTENT_TYPE, after.value.clone());
    if before.is_gzip == after.is_gzip {
        return;
    }
    let codings = fields.get_all(CONTENT_ENCODING).iter();
    let others: Vec<_> = codings.skip(before.is_gzip.into()).cloned().collect();
    fields.remove(CONTENT_ENCODING);
    if after.is_gzip {
        fields.append(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    for coding in others {
        fields.append(CONTENT_ENCODING, coding);
    }
}

impl std::fmt::Debug for FileResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("FileResponse");
        match &self.source {
            Source::Path(path) => shown.field("path", path),
            Source::File(file) => shown.field("file", file),
            Source::Below(lookup, path) => {
                shown.field("source", &lookup.source).field("path", path)
            }
        };
        shown.field("chosen", &self.chosen).finish_non_exhaustive()
    }
}
