//! Conditional requests (RFC 9110 section 13).

use std::time::{Duration, SystemTime};

use http::header::{
    HeaderMap, HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE,
};
use http::{HeaderValue, Method};

use super::entity_tag::{self, Tags};

/// The validators of a representation: what tells one version from another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Validators<'a> {
    /// An entity tag with its quotes; it begins with `W/` if it is weak.
    pub etag: &'a str,
    /// When it was last changed, as [`last_modified`] gives it.
    pub modified: Option<SystemTime>,
}

/// The result of a request's preconditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// They hold: the method is to be performed.
    Proceed,
    /// 304: the client's copy is current.
    NotModified,
    /// 412: the method must not be performed.
    PreconditionFailed,
}

/// A file's modification time in whole seconds, as HTTP has it.
///
/// `None` for times that an HTTP-date cannot express, before 1970 and after 9999, and for those
/// that [say nothing]: such a file has no `Last-Modified`.
///
/// [say nothing]: entity_tag::is_no_time
pub(crate) fn last_modified(seconds: i64) -> Option<SystemTime> {
    const YEAR_10000: u64 = 253_402_300_800;
    if entity_tag::is_no_time(seconds) {
        return None;
    }
    let seconds = u64::try_from(seconds).ok().filter(|it| *it < YEAR_10000)?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Evaluates preconditions in the order of RFC 9110 section 13.2.2, steps 1 to 4. Step 5 is
/// [`range_applies`].
///
/// `current` is None if nothing exists yet, as before a PUT that creates a file. To be called only
/// if the response without preconditions would be a 2xx (section 13.2.1).
pub(crate) fn evaluate(
    method: &Method,
    headers: &HeaderMap,
    current: Option<&Validators<'_>>,
) -> Outcome {
    let modified = current.and_then(|it| it.modified);
    // Steps 1 and 2: is it still the version that the client means to act on?
    let unchanged = if headers.contains_key(IF_MATCH) {
        names_current(headers, &IF_MATCH, current, entity_tag::strong)
    } else {
        let limit = date(headers, &IF_UNMODIFIED_SINCE);
        !matches!((modified, limit), (Some(modified), Some(limit)) if modified > limit)
    };
    if !unchanged {
        return Outcome::PreconditionFailed;
    }
    // Steps 3 and 4: does the client have this version already?
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let known = if headers.contains_key(IF_NONE_MATCH) {
        names_current(headers, &IF_NONE_MATCH, current, entity_tag::weak)
    } else {
        let since = date(headers, &IF_MODIFIED_SINCE).filter(|_| reads);
        matches!((modified, since), (Some(modified), Some(since)) if modified <= since)
    };
    match (known, reads) {
        (false, _) => Outcome::Proceed,
        (true, true) => Outcome::NotModified,
        (true, false) => Outcome::PreconditionFailed,
    }
}

/// Whether `If-Range` lets `Range` count (RFC 9110 section 13.1.5); true without an `If-Range`.
///
/// Tags are compared strongly. A date has to equal the last modification and to be
/// [strong](is_strong). The file may have changed twice within that second, and the client may have
/// the earlier version; the server cannot know. The client has to prevent this: only the client
/// knows when it got its response. It must not send a date that was not strong then, and no date at
/// all if it was given a tag, as it is by this server.
pub(crate) fn range_applies(headers: &HeaderMap, current: &Validators<'_>) -> bool {
    let field = match sole(headers, &IF_RANGE) {
        Sole::Absent => return true,
        Sole::Several => return false,
        Sole::One(field) => field,
    };
    if let Some(tag) = entity_tag::single(field.as_bytes()) {
        return entity_tag::strong(&tag, current.etag);
    }
    let date = http_date(field);
    date == current.modified && date.is_some_and(is_strong)
}

/// Whether the second of a modification is over, so that no other can have the same date (RFC 9110
/// section 8.8.2.2).
fn is_strong(modified: SystemTime) -> bool {
    let age = SystemTime::now().duration_since(modified);
    age.is_ok_and(|age| age >= Duration::from_secs(1))
}

/// Whether a field of entity tags is `*` and the resource exists, or contains the current tag.
///
/// A member that is not a tag ends its line, because what follows cannot be parsed.
fn names_current(
    headers: &HeaderMap,
    name: &HeaderName,
    current: Option<&Validators<'_>>,
    same: fn(&entity_tag::Tag<'_>, &str) -> bool,
) -> bool {
    let Some(current) = current else { return false };
    headers.get_all(name).iter().any(|line| {
        let line = line.as_bytes();
        line.trim_ascii() == b"*" || Tags::of(line).any(|tag| same(&tag, current.etag))
    })
}

/// The date in a field. None if it is malformed or repeated; then the field is ignored (sections
/// 13.1.3 and 13.1.4).
fn date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    match sole(headers, name) {
        Sole::One(field) => http_date(field),
        Sole::Absent | Sole::Several => None,
    }
}

fn http_date(field: &HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(field.to_str().ok()?).ok()
}

/// The value of a field that may occur only once.
enum Sole<'a> {
    Absent,
    One(&'a HeaderValue),
    Several,
}

fn sole<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Sole<'a> {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (None, _) => Sole::Absent,
        (Some(line), None) => Sole::One(line),
        (Some(_), Some(_)) => Sole::Several,
    }
}

#[cfg(test)]
mod tests;
