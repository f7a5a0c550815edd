//! PUT, and POST of forms: files that appear whole or not at all.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Body;
use rustix::io::Errno;
use underpass::atomic_file;

use super::lookup::{FileLookup, blocking, is_temporary_upload};
use super::response;
use crate::body::{BoxError, FileBody};
use crate::path_rules::{Access, Authenticated};
use crate::semantics::path;

mod form;
mod object;
mod receiving;
mod temporary_file;
mod write_buffer;

pub(super) use form::post;

use object::ObjectUpload;
use receiving::Receiving;
use temporary_file::{Outcome, TemporaryFile, UploadTarget};

/// Why an upload is refused: the status and the reason.
struct UploadError(StatusCode, String);

impl UploadError {
    fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        Self(status, reason.into())
    }

    fn precondition_failed() -> Self {
        let reason = "the existing file is not the version that the request names";
        Self::new(StatusCode::PRECONDITION_FAILED, reason)
    }

    fn no_file() -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "the path does not name a regular file",
        )
    }

    fn name_too_long() -> Self {
        let reason = "the file name is too long: file systems take names of up to 255 bytes";
        Self::new(StatusCode::BAD_REQUEST, reason)
    }

    fn too_large(limit: u64) -> Self {
        let reason = format!("files of up to {limit} bytes are accepted");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, reason)
    }
}

impl From<io::Error> for UploadError {
    fn from(error: io::Error) -> Self {
        if Errno::from_io_error(&error) == Some(Errno::NAMETOOLONG) {
            return Self::name_too_long();
        }
        let status = response::failure(&error).status();
        Self::new(status, "it could not be written")
    }
}

impl From<atomic_file::Error> for UploadError {
    fn from(error: atomic_file::Error) -> Self {
        if error.is_already_there() {
            Self::precondition_failed()
        } else if error.is_not_a_file() {
            Self::no_file()
        } else if error.is_irreplaceable() {
            let reason = "the existing file cannot be replaced by one with the same owner, permissions and attributes";
            Self::new(StatusCode::FORBIDDEN, reason)
        } else if error.is_named() {
            let reason = "it is in its place, but its directory could not be synced: a power cut may lose it";
            Self::new(StatusCode::INTERNAL_SERVER_ERROR, reason)
        } else {
            io::Error::from(error).into()
        }
    }
}

/// Responds to a PUT.
pub(super) async fn put<B>(lookup: Arc<FileLookup>, request: Request<B>) -> Response<FileBody>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    match take(&lookup, request).await {
        Ok((status, etag)) => {
            let mut response = response::empty(status);
            // Not every store says one.
            if !etag.is_empty()
                && let Ok(etag) = HeaderValue::try_from(etag)
            {
                response.headers_mut().insert(ETAG, etag);
            }
            response
        }
        Err(UploadError(status, reason)) => response::text(status, &reason),
    }
}

async fn take<B>(
    lookup: &Arc<FileLookup>,
    request: Request<B>,
) -> Result<(StatusCode, String), UploadError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let relative = target(lookup, &request)?;
    let limit = lookup.options.uploads.as_ref().map_or(0, |it| it.max_bytes);
    let announced = request.body().size_hint().exact();
    if announced.is_some_and(|bytes| bytes > limit) {
        return Err(UploadError::too_large(limit));
    }
    let (head, body) = request.into_parts();
    let receiving = begin(lookup, relative, head.headers.clone()).await?;
    let receiving = receive(receiving, body).await?;
    match receiving.publish(head.headers).await? {
        Outcome::Created(etag) => Ok((StatusCode::CREATED, etag)),
        Outcome::Replaced(etag) => Ok((StatusCode::NO_CONTENT, etag)),
    }
}

/// The path of the upload below the root.
fn target<B: Body>(lookup: &FileLookup, request: &Request<B>) -> Result<Vec<u8>, UploadError> {
    let bad = |reason: String| UploadError::new(StatusCode::BAD_REQUEST, reason);
    if !has_content(request) {
        let reason = "an upload needs a Content-Length, or has to be chunked";
        return Err(UploadError::new(StatusCode::LENGTH_REQUIRED, reason));
    }
    // RFC 9110 section 14.5: a part must not be stored as the whole file.
    if request.headers().contains_key(CONTENT_RANGE) {
        return Err(bad("a part of a file cannot be uploaded".to_owned()));
    }
    let decoded = path::decode(request.uri().path()).map_err(|reason| bad(reason.to_string()))?;
    if decoded.relative.is_empty() || decoded.trailing_slash {
        return Err(UploadError::new(
            StatusCode::CONFLICT,
            "a directory cannot be uploaded: name a file",
        ));
    }
    let authenticated = request.extensions().get::<Authenticated>().is_some();
    refuse_names(lookup, &decoded.relative, decoded.hidden, authenticated)?;
    Ok(decoded.relative.into_owned())
}

/// Refuses names that are not served either.
fn refuse_names(
    lookup: &FileLookup,
    relative: &[u8],
    hidden: bool,
    authenticated: bool,
) -> Result<(), UploadError> {
    let forbidden = |reason| Err(UploadError::new(StatusCode::FORBIDDEN, reason));
    let options = &lookup.options;
    match &options.only {
        Some(only) if relative != only => {
            return forbidden("only one file is served here, and this is another");
        }
        None if hidden && !options.hidden => {
            return forbidden("names that begin with a dot are not accepted");
        }
        _ => {}
    }
    if is_temporary_upload(relative) {
        return forbidden("names that begin with a dot are not accepted");
    }
    match options.rules().and_then(|rules| rules.access(relative)) {
        Some(Access::Deny) => forbidden("nothing is accepted for this path"),
        Some(Access::Authenticated) if !authenticated => Err(UploadError::new(
            StatusCode::UNAUTHORIZED,
            "this path needs authentication",
        )),
        _ => Ok(()),
    }
}

/// Whether the request has content, which may be empty. In HTTP/1 only these fields tell empty
/// content from none. A layer that changes content may have removed them, but then there is a body.
fn has_content<B: Body>(request: &Request<B>) -> bool {
    let has = |field| request.headers().contains_key(field);
    request.version() > Version::HTTP_11
        || has(CONTENT_LENGTH)
        || has(TRANSFER_ENCODING)
        || !request.body().is_end_stream()
}

/// Begins an upload, if the request's preconditions hold.
async fn begin(
    lookup: &Arc<FileLookup>,
    relative: Vec<u8>,
    headers: HeaderMap,
) -> Result<Receiving, UploadError> {
    let limit = lookup.options.uploads.as_ref().map_or(0, |it| it.max_bytes);
    if let Some(store) = lookup.source.objects() {
        let upload = ObjectUpload::begin(store, &relative, &headers).await?;
        return Ok(Receiving::of_object(upload, limit));
    }
    let lookup = Arc::clone(lookup);
    let pending = blocking(move || Ok(begin_file(&lookup, &relative, &headers))).await??;
    Ok(Receiving::of_file(pending, limit))
}

/// Creates the temporary file, in the directory of its target.
fn begin_file(
    lookup: &FileLookup,
    relative: &[u8],
    headers: &HeaderMap,
) -> Result<TemporaryFile, UploadError> {
    let (parent, name) = path::split(relative);
    let Some(root) = lookup.source.root() else {
        return Err(UploadError::no_file());
    };
    match root.open_parent(parent, lookup.options.symlinks) {
        Ok(directory) => UploadTarget::new(directory, name).begin(headers),
        Err(error) if crate::file::is_missing(&error) => {
            let reason = "the directory that it would be in does not exist";
            Err(UploadError::new(StatusCode::CONFLICT, reason))
        }
        Err(error) => Err(error.into()),
    }
}

/// Takes the body as it arrives.
async fn receive<B>(mut receiving: Receiving, body: B) -> Result<Receiving, UploadError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let mut body = pin!(body);
    while let Some(bytes) = next(body.as_mut()).await? {
        receiving = receiving.push(bytes).await?;
    }
    Ok(receiving)
}

/// The next bytes of a body, `None` after the last. Trailers are returned as empty bytes.
async fn next<B>(mut body: Pin<&mut B>) -> Result<Option<Bytes>, UploadError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let frame = poll_fn(|cx| body.as_mut().poll_frame(cx).map_err(Into::into)).await;
    match frame {
        None => Ok(None),
        Some(Ok(frame)) => Ok(Some(frame.into_data().unwrap_or_default())),
        Some(Err(error)) => {
            let reason = format!("the upload broke off: {error}");
            Err(UploadError::new(StatusCode::BAD_REQUEST, reason))
        }
    }
}

/// The method for which preconditions are evaluated.
const METHOD: Method = Method::PUT;
