//! Parsers that only the fuzz targets reach directly.

use std::ops::Range;
use std::time::SystemTime;

use http::{HeaderMap, HeaderValue, Method};

use crate::semantics::conditional::{self, Outcome, Validators};
use crate::semantics::form_data::{Event, FormData};
use crate::semantics::multipart::Multipart;
use crate::semantics::negotiate;
use crate::semantics::path;
use crate::semantics::range::{self, Ranges};

/// The name below the root that a request path means.
pub fn decode(raw: &str) -> Result<Vec<u8>, String> {
    path::decode(raw)
        .map(|it| it.relative.into_owned())
        .map_err(|error| error.to_string())
}

/// The request path that means this name.
pub fn encode(relative: &[u8]) -> String {
    path::encode(relative)
}

/// The ranges that a field asks for: `None` for the whole content, an empty list for 416.
pub fn ranges(field: &HeaderValue, length: u64) -> Option<Vec<Range<u64>>> {
    match range::parse(field, length) {
        Ranges::Whole => None,
        Ranges::One(range) => Some(vec![range]),
        Ranges::Many(ranges) => Some(ranges),
        Ranges::Unsatisfiable => Some(Vec::new()),
    }
}

/// The announced length of a body of several ranges, and the number of bytes that would be sent.
pub fn multipart_lengths(ranges: Vec<Range<u64>>, total: u64) -> (u64, u64) {
    let multipart = Multipart::new(ranges, total, Some("text/plain"), "boundary");
    let parts = multipart.parts.iter();
    let sent = parts.map(|part| part.head.len() as u64 + (part.range.end - part.range.start));
    (
        multipart.content_length(),
        sent.sum::<u64>() + multipart.closing.len() as u64,
    )
}

/// The status that the preconditions lead to (200 if they hold), and whether a range would apply.
pub fn preconditions(
    method: &Method,
    headers: &HeaderMap,
    etag: &str,
    modified: Option<SystemTime>,
) -> (u16, bool) {
    let current = Validators { etag, modified };
    let status = match conditional::evaluate(method, headers, Some(&current)) {
        Outcome::Proceed => 200,
        Outcome::NotModified => 304,
        Outcome::PreconditionFailed => 412,
    };
    (status, conditional::range_applies(headers, &current))
}

/// The content coding that is chosen if a file has all of them, and whether JSON is preferred.
pub fn negotiate(headers: &HeaderMap) -> (Option<&'static str>, bool) {
    let coding = negotiate::choose(headers, true, |_| true);
    (
        coding.map(negotiate::Encoding::token),
        negotiate::prefers_json(headers),
    )
}

/// Parses the body of a form that arrives in pieces of `step` bytes. Returns the bytes of content
/// of each part; `None` if it is no form, or ends before its end.
pub fn form_parts(content_type: &str, body: &[u8], step: usize) -> Option<Vec<usize>> {
    let mut form = FormData::new(content_type).ok()?;
    let mut parts = Vec::new();
    for piece in body.chunks(step) {
        form.push(piece);
        while let Some(event) = form.next().ok()? {
            match event {
                Event::Part(_) => parts.push(0),
                Event::Data(bytes) => *parts.last_mut()? += bytes.len(),
                Event::PartEnd => {}
                Event::End => return Some(parts),
            }
        }
    }
    None
}
