//! POST: the files of a form, which browsers send without a script, too.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, IF_NONE_MATCH, LOCATION, ORIGIN};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Body;

use super::temporary_file::Outcome;
use super::{Receiving, UploadError, begin, next, refuse_names};
use crate::body::{BoxError, FileBody};
use crate::listing::{self, Language};
use crate::path_rules::Authenticated;
use crate::semantics::form_data::{Event, FormData, Malformed, PartHead};
use crate::semantics::negotiate::accepts_html;
use crate::semantics::path;
use crate::serve_dir::lookup::FileLookup;
use crate::serve_dir::response;

/// The most files in one form. Their outcomes are kept in memory until the response.
const MAX_FILES: usize = 1000;

/// The most names that are tried to keep both files.
const MAX_NAMES: usize = 100;

/// The longest value of `exists`.
const MAX_CHOICE: usize = 16;

/// What to do with a file whose name is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum IfExists {
    /// Store it as `NAME (2).EXT`.
    #[default]
    KeepBoth,
    Skip,
    Replace,
}

/// Responds to a POST: stores the files of the form in the directory of the path.
pub(in crate::serve_dir) async fn post<B>(
    lookup: Arc<FileLookup>,
    request: Request<B>,
) -> Response<FileBody>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let language = Language::of(request.headers());
    let html = accepts_html(request.headers());
    let directory = match directory(&request) {
        Ok(directory) => directory,
        Err(UploadError(status, reason)) => return response::text(status, &reason),
    };
    let (head, body) = request.into_parts();
    let mut form = Form {
        lookup,
        directory,
        if_exists: IfExists::default(),
        authenticated: head.extensions.get::<Authenticated>().is_some(),
        outcomes: Vec::new(),
        failed: None,
    };
    let content_type = head.headers.get(CONTENT_TYPE);
    let content_type = content_type.and_then(|it| it.to_str().ok());
    if let Err(UploadError(status, reason)) =
        form.take(content_type.unwrap_or_default(), body).await
    {
        if form.outcomes.is_empty() {
            return response::text(status, &reason);
        }
        form.fail(b"", UploadError(status, reason));
    }
    form.respond(language, html)
}

/// The directory that the path names, if the request may be a form of a page of this server.
fn directory<B>(request: &Request<B>) -> Result<Vec<u8>, UploadError> {
    if !is_own(request.headers()) {
        let reason =
            "forms of other web sites are not accepted: this form's Origin is not this Host";
        return Err(UploadError::new(StatusCode::FORBIDDEN, reason));
    }
    let decoded = path::decode(request.uri().path())
        .map_err(|reason| UploadError::new(StatusCode::BAD_REQUEST, reason.to_string()))?;
    if !decoded.trailing_slash {
        let reason = "a form is sent to a directory: its path ends in /";
        return Err(UploadError::new(StatusCode::CONFLICT, reason));
    }
    Ok(decoded.relative.into_owned())
}

/// Whether a request does not come from a page of another site. A form needs no permission of this
/// server to be sent (CORS), and browsers add their passwords to it. So browsers say where it comes
/// from, and everything else is no browser.
fn is_own(headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return site == "same-origin" || site == "none";
    }
    let Some(origin) = headers.get(ORIGIN) else {
        return true;
    };
    let origin = origin.as_bytes();
    let host = headers.get(HOST).map(HeaderValue::as_bytes);
    let authority = [&b"http://"[..], b"https://"]
        .into_iter()
        .find_map(|scheme| origin.strip_prefix(scheme));
    authority
        .zip(host)
        .is_some_and(|(authority, host)| authority.eq_ignore_ascii_case(host))
}

struct Form {
    lookup: Arc<FileLookup>,
    /// Its path below the root.
    directory: Vec<u8>,
    if_exists: IfExists,
    authenticated: bool,
    /// Each file's name, and what became of it.
    outcomes: Vec<(String, String)>,
    /// The status of the first file that failed.
    failed: Option<StatusCode>,
}

/// What the bytes of a part are for.
enum Part {
    File(Vec<u8>, Box<Receiving>),
    Choice(Vec<u8>),
    /// They have no meaning, or it is over with their file.
    Ignored,
}

impl Form {
    /// Stores the files as they arrive. An error is one of the form, after which nothing more can
    /// be read.
    async fn take<B>(&mut self, content_type: &str, body: B) -> Result<(), UploadError>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let malformed = |Malformed(reason)| UploadError::new(StatusCode::BAD_REQUEST, reason);
        let mut form = FormData::new(content_type).map_err(|Malformed(reason)| {
            UploadError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, reason)
        })?;
        let mut body = pin!(body);
        let mut part = Part::Ignored;
        loop {
            match form.next().map_err(malformed)? {
                Some(Event::Part(head)) => part = self.begin(head).await?,
                Some(Event::Data(bytes)) => part = self.add(part, bytes).await,
                Some(Event::PartEnd) => {
                    self.end(part).await;
                    part = Part::Ignored;
                }
                Some(Event::End) => break,
                None => match next(body.as_mut()).await? {
                    Some(bytes) => form.push(&bytes),
                    None => return Err(malformed(Malformed("the form ends before its end"))),
                },
            }
        }
        // What follows the form has no meaning. It is read, so that the connection can go on.
        while next(body.as_mut()).await?.is_some() {}
        Ok(())
    }

    async fn begin(&mut self, head: PartHead) -> Result<Part, UploadError> {
        let Some(name) = head.file_name else {
            let is_choice = head.name == b"exists";
            return Ok(if is_choice {
                Part::Choice(Vec::new())
            } else {
                Part::Ignored
            });
        };
        // Browsers send this if no file was chosen.
        if name.is_empty() {
            return Ok(Part::Ignored);
        }
        if self.outcomes.len() >= MAX_FILES {
            let reason = format!("a form can have up to {MAX_FILES} files");
            return Err(UploadError::new(StatusCode::PAYLOAD_TOO_LARGE, reason));
        }
        Ok(match self.create(&name).await {
            Ok((name, receiving)) => Part::File(name, Box::new(receiving)),
            Err(error) => self.fail(&name, error),
        })
    }

    /// Begins to store a file. Returns the name that the file will have.
    async fn create(&self, name: &[u8]) -> Result<(Vec<u8>, Receiving), UploadError> {
        let name = path::file_name(name);
        if matches!(name, b"" | b"." | b"..") || name.contains(&0) {
            return Err(UploadError::new(
                StatusCode::BAD_REQUEST,
                "that is no name of a file",
            ));
        }
        for number in 1..=MAX_NAMES {
            let name = numbered(name, number);
            let relative = path::join(&self.directory, &name);
            let hidden = path::decode(&path::encode(&relative)).is_ok_and(|it| it.hidden);
            refuse_names(&self.lookup, &relative, hidden, self.authenticated)?;
            match begin(&self.lookup, relative, self.conditions()).await {
                Ok(receiving) => return Ok((name, receiving)),
                Err(UploadError(StatusCode::PRECONDITION_FAILED, _))
                    if self.if_exists == IfExists::KeepBoth => {}
                Err(error) => return Err(error),
            }
        }
        let reason = format!("there are {MAX_NAMES} files of that name");
        Err(UploadError::new(StatusCode::CONFLICT, reason))
    }

    /// The fields that a PUT would have.
    fn conditions(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if self.if_exists != IfExists::Replace {
            headers.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
        }
        headers
    }

    async fn add(&mut self, part: Part, bytes: Bytes) -> Part {
        match part {
            Part::File(name, receiving) => match receiving.push(bytes).await {
                Ok(receiving) => Part::File(name, Box::new(receiving)),
                Err(error) => self.fail(&name, error),
            },
            Part::Choice(mut value) if value.len() + bytes.len() <= MAX_CHOICE => {
                value.extend_from_slice(&bytes);
                Part::Choice(value)
            }
            Part::Choice(_) | Part::Ignored => Part::Ignored,
        }
    }

    async fn end(&mut self, part: Part) {
        match part {
            Part::File(name, receiving) => match self.publish(*receiving).await {
                Ok(done) => self.note(&name, done.to_owned()),
                Err(error) => _ = self.fail(&name, error),
            },
            Part::Choice(value) => {
                self.if_exists = match &*value {
                    b"skip" => IfExists::Skip,
                    b"replace" => IfExists::Replace,
                    _ => IfExists::KeepBoth,
                }
            }
            Part::Ignored => {}
        }
    }

    async fn publish(&self, receiving: Receiving) -> Result<&'static str, UploadError> {
        Ok(match receiving.publish(self.conditions()).await? {
            Outcome::Created(_) => "stored",
            Outcome::Replaced(_) => "replaced the old file",
        })
    }

    fn note(&mut self, name: &[u8], outcome: String) {
        let name = String::from_utf8_lossy(name).into_owned();
        self.outcomes.push((name, outcome));
    }

    /// Notes a file that is not stored.
    fn fail(&mut self, name: &[u8], UploadError(status, reason): UploadError) -> Part {
        let skipped = status == StatusCode::PRECONDITION_FAILED;
        let outcome = if skipped && self.if_exists == IfExists::Skip {
            "skipped: there is a file of that name".to_owned()
        } else {
            self.failed.get_or_insert(status);
            format!("not stored: {reason}")
        };
        self.note(name, outcome);
        Part::Ignored
    }

    /// Leads the browser back to the directory if every file was stored, and else tells what became
    /// of each.
    fn respond(self, language: Language, html: bool) -> Response<FileBody> {
        let stored = |(_, outcome): &(String, String)| !outcome.contains(':');
        if html && self.outcomes.iter().all(stored) {
            let mut response = response::empty(StatusCode::SEE_OTHER);
            let headers = response.headers_mut();
            headers.insert(LOCATION, HeaderValue::from_static("./"));
            return response;
        }
        let status = self.failed.unwrap_or(StatusCode::OK);
        if html {
            return response::html(status, listing::upload_page(language, &self.outcomes));
        }
        let line =
            |(name, outcome): &(String, String)| format!("{}: {outcome}\n", name.escape_debug());
        let mut response = response::empty(status);
        *response.body_mut() = FileBody::full(self.outcomes.iter().map(line).collect::<String>());
        response
            .headers_mut()
            .insert(CONTENT_TYPE, response::PLAIN_TEXT);
        response
    }
}

/// `NAME (2).EXT` for `NAME.EXT`; the name itself for 1.
fn numbered(name: &[u8], number: usize) -> Vec<u8> {
    if number == 1 {
        return name.to_owned();
    }
    let dot = memchr::memrchr(b'.', name).filter(|at| *at > 0);
    let (stem, extension) = name.split_at(dot.unwrap_or(name.len()));
    [stem, format!(" ({number})").as_bytes(), extension].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_before_extensions() {
        for (name, second) in [
            ("a.txt", "a (2).txt"),
            ("a", "a (2)"),
            (".a", ".a (2)"),
            ("a.tar.gz", "a.tar (2).gz"),
        ] {
            assert_eq!(numbered(name.as_bytes(), 2), second.as_bytes());
            assert_eq!(numbered(name.as_bytes(), 1), name.as_bytes());
        }
    }

    #[test]
    fn other_sites_are_recognised() {
        for (fields, own) in [
            (&[][..], true),
            (&[("origin", "http://a:80"), ("host", "a:80")], true),
            (&[("origin", "https://A"), ("host", "a")], true),
            (&[("origin", "http://b"), ("host", "a")], false),
            (&[("origin", "null"), ("host", "a")], false),
            (
                &[("origin", "http://a"), ("sec-fetch-site", "cross-site")],
                false,
            ),
            (
                &[("origin", "http://a"), ("sec-fetch-site", "same-site")],
                false,
            ),
            (
                &[("origin", "http://b"), ("sec-fetch-site", "same-origin")],
                true,
            ),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            assert_eq!(is_own(&headers), own, "{fields:?}");
        }
    }
}
