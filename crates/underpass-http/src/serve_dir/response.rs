//! Makes responses from the file that was found, and the request's conditions and ranges.

use std::borrow::Cow;
use std::io;
use std::ops::Range;
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_RANGE,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, EXPIRES, IF_MATCH, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_UNMODIFIED_SINCE, LAST_MODIFIED, LOCATION, RANGE, RETRY_AFTER,
    TRANSFER_ENCODING, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body as _;

use super::ServeDirOptions;
use super::representation::Representation;
use crate::body::{BodyOptions, BodyPart, BodyParts, FileBody};
use crate::file::is_missing;
use crate::listing::{self, Language};
use crate::objects::{OfObject, StoreError, StoreErrorKind};
use crate::semantics::conditional::{self, Outcome, Validators};
use crate::semantics::multipart::Multipart;
use crate::semantics::path;
use crate::semantics::range::{self, Ranges};
use crate::stats::ServerStats;

/// What can be sent, whole or in ranges.
pub(super) trait Sendable {
    /// Its length in bytes.
    fn len(&self) -> u64;
    fn validators(&self) -> Validators<'_>;
    /// The mark of a response with these ranges, if it is an object of a store.
    fn of_object(&self, ranges: &[Range<u64>]) -> Option<OfObject> {
        let _ = ranges;
        None
    }
    /// The body of one range.
    fn range(&self, range: Range<u64>, options: BodyOptions) -> FileBody;
    /// The body of several ranges.
    fn ranges(&self, ranges: Multipart, options: BodyOptions) -> FileBody;
}

/// The response with a file that was checked just now, subject to the request's conditions and
/// ranges.
pub(super) fn file<B>(
    file: &Representation,
    request: &Request<B>,
    options: &ServeDirOptions,
) -> Response<FileBody> {
    let fields = Cow::Borrowed(&file.fields);
    with_fields(file, fields, request.method(), request.headers(), options)
}

/// The same, with other fields than the file's own.
pub(super) fn with_fields(
    file: &impl Sendable,
    fields: Cow<'_, HeaderMap>,
    method: &Method,
    headers: &HeaderMap,
    options: &ServeDirOptions,
) -> Response<FileBody> {
    // Preconditions of other methods are about something else than the response.
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    if !is_read || !has_conditions(headers) {
        return whole(file, fields.into_owned(), StatusCode::OK, options);
    }
    match conditional::evaluate(method, headers, Some(&file.validators())) {
        Outcome::NotModified => not_modified(&fields),
        Outcome::PreconditionFailed => text(
            StatusCode::PRECONDITION_FAILED,
            "the file is not the version that the request names",
        ),
        Outcome::Proceed => match ranges(method, headers, file, options.one_range) {
            Ranges::Whole => whole(file, fields.into_owned(), StatusCode::OK, options),
            Ranges::One(range) => partial(file, fields.into_owned(), range, options),
            Ranges::Many(ranges) => multipart(file, fields.into_owned(), ranges, options),
            Ranges::Unsatisfiable => unsatisfiable(file),
        },
    }
}

/// The response to `method` with what would be the response to GET.
pub(super) fn for_method(method: &Method, response: Response<FileBody>) -> Response<FileBody> {
    match *method {
        Method::HEAD => without_content(response),
        _ => response,
    }
}

/// The same, counted if it has content of an object.
pub(super) fn counted(
    method: &Method,
    response: Response<FileBody>,
    stats: &ServerStats,
) -> Response<FileBody> {
    let of_object = response.extensions().get::<OfObject>();
    if let Some(of_object) = of_object.filter(|_| *method == Method::GET) {
        stats.begun(*of_object);
    }
    for_method(method, response)
}

/// The response to HEAD: that of a GET without its content. The body is removed here, because
/// HTTP/2 and layers would send it.
pub(super) fn without_content(response: Response<FileBody>) -> Response<FileBody> {
    let (mut head, body) = response.into_parts();
    let length = body.size_hint().exact().filter(|length| *length > 0);
    if let Some(length) = length
        && !head.headers.contains_key(TRANSFER_ENCODING)
    {
        head.headers.entry(CONTENT_LENGTH).or_insert(length.into());
    }
    Response::from_parts(head, FileBody::empty())
}

/// A file as the page of an error.
pub(super) fn page(
    page: &Representation,
    status: StatusCode,
    options: &ServeDirOptions,
) -> Response<FileBody> {
    let mut response = whole(page, page.fields.clone(), status, options);
    for field in [ETAG, LAST_MODIFIED, ACCEPT_RANGES, CACHE_CONTROL] {
        response.headers_mut().remove(field);
    }
    response
}

/// A file as the page of a single-page application, for a path that leads nowhere.
pub(super) fn application<B>(
    page: &Representation,
    request: &Request<B>,
    options: &ServeDirOptions,
) -> Response<FileBody> {
    let mut response = file(page, request, options);
    varies_by_accept(response.headers_mut());
    response
}

pub(super) fn varies_by_accept(headers: &mut HeaderMap) {
    headers.append(VARY, HeaderValue::from_static("accept"));
}

pub(super) fn varies_by_encoding(headers: &mut HeaderMap) {
    headers.append(VARY, HeaderValue::from_static("accept-encoding"));
}

fn has_conditions(headers: &HeaderMap) -> bool {
    // If-Range means nothing without Range.
    [
        IF_NONE_MATCH,
        RANGE,
        IF_MODIFIED_SINCE,
        IF_MATCH,
        IF_UNMODIFIED_SINCE,
    ]
    .iter()
    .any(|name| headers.contains_key(name))
}

/// RFC 9110 section 14.2: for GET only, and not if If-Range says that the client has another
/// version.
fn ranges(method: &Method, headers: &HeaderMap, file: &impl Sendable, one_only: bool) -> Ranges {
    let mut fields = headers.get_all(RANGE).iter();
    match (fields.next(), fields.next()) {
        (Some(field), None) if one_only && field.as_bytes().contains(&b',') => Ranges::Whole,
        (Some(field), None)
            if method == Method::GET && conditional::range_applies(headers, &file.validators()) =>
        {
            range::parse(field, file.len())
        }
        _ => Ranges::Whole,
    }
}

fn body_options(options: &ServeDirOptions) -> BodyOptions {
    BodyOptions {
        stats: std::sync::Arc::clone(&options.stats),
        polite: options.polite,
        read_buffer: options.read_buffer,
    }
}

fn respond(status: StatusCode, fields: HeaderMap, body: FileBody) -> Response<FileBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = fields;
    response
}

/// A response with content, which may be of an object.
fn respond_with(
    of_object: Option<OfObject>,
    status: StatusCode,
    fields: HeaderMap,
    body: FileBody,
) -> Response<FileBody> {
    let mut response = respond(status, fields, body);
    if let Some(of_object) = of_object {
        response.extensions_mut().insert(of_object);
    }
    response
}

fn whole(
    file: &impl Sendable,
    fields: HeaderMap,
    status: StatusCode,
    options: &ServeDirOptions,
) -> Response<FileBody> {
    let range = 0..file.len();
    let of_object = file.of_object(slice::from_ref(&range));
    let body = file.range(range, body_options(options));
    respond_with(of_object, status, fields, body)
}

fn partial(
    file: &impl Sendable,
    mut fields: HeaderMap,
    range: Range<u64>,
    options: &ServeDirOptions,
) -> Response<FileBody> {
    let total = file.len();
    let content_range = format!("bytes {}-{}/{total}", range.start, range.end - 1);
    insert(&mut fields, CONTENT_RANGE, content_range);
    fields.insert(CONTENT_LENGTH, (range.end - range.start).into());
    let of_object = file.of_object(slice::from_ref(&range));
    let body = file.range(range, body_options(options));
    respond_with(of_object, StatusCode::PARTIAL_CONTENT, fields, body)
}

fn multipart(
    file: &impl Sendable,
    mut fields: HeaderMap,
    ranges: Vec<Range<u64>>,
    options: &ServeDirOptions,
) -> Response<FileBody> {
    let content_type = fields.get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
    let of_object = file.of_object(&ranges);
    let multipart = Multipart::new(ranges, file.len(), content_type, &boundary());
    insert(&mut fields, CONTENT_TYPE, multipart.content_type());
    fields.insert(CONTENT_LENGTH, multipart.content_length().into());
    let body = file.ranges(multipart, body_options(options));
    respond_with(of_object, StatusCode::PARTIAL_CONTENT, fields, body)
}

impl Sendable for Representation {
    fn len(&self) -> u64 {
        self.len
    }

    fn validators(&self) -> Validators<'_> {
        self.validators()
    }

    fn of_object(&self, ranges: &[Range<u64>]) -> Option<OfObject> {
        self.of_object(ranges)
    }

    fn range(&self, range: Range<u64>, options: BodyOptions) -> FileBody {
        FileBody::of(self.content.clone(), range, true, &options)
    }

    fn ranges(&self, ranges: Multipart, options: BodyOptions) -> FileBody {
        let closing = BodyPart::bytes(ranges.closing);
        let parts = ranges.parts.into_iter().flat_map(|part| {
            [
                BodyPart::bytes(part.head),
                BodyPart::of(self.content.clone(), part.range),
            ]
        });
        BodyParts::new(parts.chain([closing]))
            .options(options)
            .into()
    }
}

/// A boundary that no file contains by chance and no client can predict: random keys of the
/// process, and a count.
fn boundary() -> String {
    use std::hash::{BuildHasher as _, RandomState};
    use std::sync::LazyLock;
    static KEYS: LazyLock<(RandomState, RandomState)> = LazyLock::new(Default::default);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Relaxed);
    format!(
        "{:016x}{:016x}",
        KEYS.0.hash_one(count),
        KEYS.1.hash_one(count)
    )
}

fn unsatisfiable(file: &impl Sendable) -> Response<FileBody> {
    let total = file.len();
    let mut response = text(
        StatusCode::RANGE_NOT_SATISFIABLE,
        &format!("the file has {total} bytes: none of them is in the range"),
    );
    insert(
        response.headers_mut(),
        CONTENT_RANGE,
        format!("bytes */{total}"),
    );
    response
}

/// The fields that RFC 9110 section 15.4.5 asks for; the date is hyper's.
fn not_modified(whole: &HeaderMap) -> Response<FileBody> {
    let mut fields = HeaderMap::new();
    for name in [
        CACHE_CONTROL,
        CONTENT_LOCATION,
        ETAG,
        EXPIRES,
        LAST_MODIFIED,
        VARY,
    ] {
        if let Some(value) = whole.get(&name) {
            fields.insert(name, value.clone());
        }
    }
    respond(StatusCode::NOT_MODIFIED, fields, FileBody::empty())
}

/// Redirects to the directory with a slash. Without a configured prefix the target is relative, so
/// that it is right below a router's prefix, too.
pub(super) fn redirect(
    relative: &[u8],
    query: Option<&str>,
    options: &ServeDirOptions,
) -> Response<FileBody> {
    let mut location = match &options.redirect_prefix {
        Some(prefix) => format!("{prefix}{}/", path::encode(relative)),
        None => format!(".{}/", path::encode(path::file_name(relative))),
    };
    if let Some(query) = query {
        location.push('?');
        location.push_str(query);
    }
    let mut response = text(
        StatusCode::MOVED_PERMANENTLY,
        "a directory: its path ends in /",
    );
    insert(response.headers_mut(), LOCATION, location);
    response
}

/// Redirects the root to the only file that is served.
pub(super) fn redirect_to_file(relative: &[u8], options: &ServeDirOptions) -> Response<FileBody> {
    let prefix = options.redirect_prefix.as_deref().unwrap_or(".");
    let mut response = text(StatusCode::FOUND, "one file is served here");
    let location = format!("{prefix}{}", path::encode(relative));
    insert(response.headers_mut(), LOCATION, location);
    response
}

/// The response to a GET that ended in this error.
pub(super) fn error(error: &io::Error) -> Response<FileBody> {
    if is_missing(error) || error.kind() == io::ErrorKind::NotFound {
        let mut response = text(StatusCode::NOT_FOUND, "nothing is served here");
        // A page says as much without it.
        response.extensions_mut().insert(Reason(String::new()));
        return response;
    }
    failure(error)
}

/// The response to a failure of this server. The system's message is not sent, because it tells too
/// much.
pub(super) fn failure(error: &io::Error) -> Response<FileBody> {
    use rustix::io::Errno;
    if let Some(error) = StoreError::of(error) {
        return store_failure(error);
    }
    if error.kind() == io::ErrorKind::ResourceBusy {
        let reason = "it is being written at the moment";
        return text(StatusCode::SERVICE_UNAVAILABLE, reason);
    }
    let (status, reason) = match Errno::from_io_error(error) {
        Some(Errno::ACCESS | Errno::PERM) => (StatusCode::FORBIDDEN, "it may not be read"),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "too many files are open at the moment",
        ),
        Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => {
            (StatusCode::INSUFFICIENT_STORAGE, "no space left")
        }
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "it could not be read"),
    };
    text(status, reason)
}

/// The response to a failure of the store. What the store said is not sent.
fn store_failure(error: &StoreError) -> Response<FileBody> {
    let (status, reason) = match error.kind() {
        StoreErrorKind::Bad => (StatusCode::BAD_GATEWAY, "the store cannot be read"),
        StoreErrorKind::Unavailable => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the store does not answer at the moment",
        ),
        StoreErrorKind::TimedOut => (
            StatusCode::GATEWAY_TIMEOUT,
            "the store did not answer in time",
        ),
    };
    let mut response = text(status, reason);
    if let Some(wait) = error.wait() {
        // In whole seconds, and not before the time.
        let seconds = wait.as_millis().div_ceil(1000);
        insert(response.headers_mut(), RETRY_AFTER, seconds.to_string());
    }
    response
}

/// The client does not speak HTTP properly, so the connection is closed.
pub(super) fn bad_request(reason: &str) -> Response<FileBody> {
    let mut response = text(StatusCode::BAD_REQUEST, reason);
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
    response
}

pub(super) const PLAIN_TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// The reason in the text of a response that has no other content. It is an extension of the
/// response, for [`with_error_page`].
#[derive(Clone)]
struct Reason(String);

/// One line of text with a status.
pub(super) fn text(status: StatusCode, reason: &str) -> Response<FileBody> {
    let mut fields = HeaderMap::new();
    fields.insert(CONTENT_TYPE, PLAIN_TEXT);
    let title = status.canonical_reason().unwrap_or("");
    let line = format!("{} {title}: {reason}\n", status.as_u16());
    let mut response = respond(status, fields, FileBody::full(line));
    response.extensions_mut().insert(Reason(reason.to_owned()));
    response
}

/// A page of our own.
pub(super) fn html(status: StatusCode, page: String) -> Response<FileBody> {
    let mut response = respond(status, HeaderMap::new(), FileBody::full(page));
    set_html(response.headers_mut());
    response
}

/// The fields of a page of our own: its type, and what it may load and run.
pub(super) fn set_html(fields: &mut HeaderMap) {
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    fields.insert(CONTENT_TYPE, html);
    let policy = HeaderValue::from_static(listing::CONTENT_SECURITY_POLICY);
    fields.insert(CONTENT_SECURITY_POLICY, policy);
}

/// A response to a browser that navigates: the text of an error becomes a page.
pub(super) fn with_error_page(
    mut response: Response<FileBody>,
    language: Language,
) -> Response<FileBody> {
    let status = response.status();
    if status.as_u16() < 400 {
        return response;
    }
    let Some(Reason(reason)) = response.extensions_mut().remove() else {
        return response;
    };
    *response.body_mut() = FileBody::full(listing::error_page(language, status, &reason));
    let fields = response.headers_mut();
    set_html(fields);
    // That of the text, in the response to HEAD.
    fields.remove(CONTENT_LENGTH);
    fields.append(VARY, HeaderValue::from_static("accept, accept-language"));
    response
}

pub(super) fn empty(status: StatusCode) -> Response<FileBody> {
    respond(status, HeaderMap::new(), FileBody::empty())
}

/// For values that are known to be valid. An invalid one is left out.
pub(super) fn insert(fields: &mut HeaderMap, name: http::HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        fields.insert(name, value);
    }
}
