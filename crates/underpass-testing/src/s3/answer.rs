//! What S3 would answer, and what it would not.

use std::ops::Range;
use std::sync::Arc;

use super::text::{decode, http_date, iso_date};
use super::{BUCKET, Fault, Request, Shared, State, Stored, xml};

/// An answer that is not sent yet.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) fields: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    /// Said of a body that is not sent: that of HEAD.
    pub(super) length: Option<usize>,
}

impl Answer {
    fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            fields: Vec::new(),
            body: body.into(),
            length: None,
        }
    }

    fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.into(), value.into()));
        self
    }
}

/// The answer to a request, with the faults that concern what it says.
pub(super) fn answer(
    shared: &Shared,
    request: &Request,
    body: Vec<u8>,
    faults: &[Fault],
) -> Answer {
    for fault in faults {
        match fault {
            Fault::Status(status) => return Answer::new(*status, ""),
            Fault::RetryAfter(status, seconds) => {
                return Answer::new(*status, "").field("retry-after", &seconds.to_string());
            }
            Fault::Error(status, code, message) => return error(*status, code, message),
            Fault::Nonsense => return Answer::new(200, "<html>It works!</html>"),
            _ => {}
        }
    }
    let mut state = shared.lock();
    if let Some(key) = &state.key {
        let signed = request.field("authorization").unwrap_or_default();
        if !signed.contains(&format!("Credential={key}/")) {
            return error(403, "InvalidAccessKeyId", "no such key");
        }
    }
    if request.bucket != BUCKET {
        return error(404, "NoSuchBucket", "The specified bucket does not exist");
    }
    let ignores = |what: fn(&Fault) -> bool| faults.iter().any(what);
    let conditions = !ignores(|it| matches!(it, Fault::IgnoreConditions));
    let method = request.method.as_str();
    let mut answer = match (method, request.key.as_str()) {
        ("GET", "") => list(&state, &request.query),
        ("GET" | "HEAD", _) => {
            let ranges = !ignores(|it| matches!(it, Fault::IgnoreRange));
            read(&state, request, conditions, ranges)
        }
        ("PUT" | "POST" | "DELETE", _) => write(&mut state, request, body, conditions),
        _ => error(405, "MethodNotAllowed", "no such method"),
    };
    if ignores(|it| matches!(it, Fault::WrongTag)) {
        let tag = answer.fields.iter_mut().find(|(name, _)| name == "etag");
        tag.expect("an object").1 = "\"another\"".into();
    }
    answer
}

fn error(status: u16, code: &str, message: &str) -> Answer {
    Answer::new(status, xml::error(code, message))
}

fn parameter(query: &str, name: &str) -> Option<String> {
    let mut pairs = query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let found = pairs.find(|(it, _)| *it == name);
    found.map(|(_, value)| decode(&value.replace('+', " ")))
}

fn list(state: &State, query: &str) -> Answer {
    let prefix = parameter(query, "prefix").unwrap_or_default();
    let delimiter = parameter(query, "delimiter").filter(|it| !it.is_empty());
    let after = parameter(query, "continuation-token").or_else(|| parameter(query, "start-after"));
    let after = after.unwrap_or_default();
    let limit = parameter(query, "max-keys")
        .and_then(|it| it.parse().ok())
        .unwrap_or(1000);
    let mut page = xml::Page::default();
    for (key, object) in state.objects.range(prefix.clone()..) {
        let Some(rest) = key.strip_prefix(&prefix) else {
            break;
        };
        let common = delimiter.as_ref().and_then(|delimiter| {
            let end = rest.find(delimiter.as_str())? + delimiter.len();
            Some(format!("{prefix}{}", &rest[..end]))
        });
        let name = common.clone().unwrap_or_else(|| key.clone());
        if name <= after || page.last.as_ref() == Some(&name) {
            continue;
        }
        if page.count == limit {
            page.next.clone_from(&page.last);
            break;
        }
        page.count += 1;
        page.last = Some(name);
        match common {
            Some(common) => page.directory(&common),
            None => page.object(
                key,
                object.content.len(),
                &object.etag,
                &iso_date(object.modified),
            ),
        }
    }
    Answer::new(200, page.finish()).field("content-type", "application/xml")
}

fn read(state: &State, request: &Request, conditions: bool, ranges: bool) -> Answer {
    let Some(object) = state.objects.get(&request.key) else {
        return error(404, "NoSuchKey", "The specified key does not exist.");
    };
    if conditions && !met(request, object) {
        return error(
            412,
            "PreconditionFailed",
            "At least one of the conditions did not hold",
        );
    }
    if conditions && request.field("if-none-match") == Some(object.etag.as_str()) {
        return Answer::new(304, "").field("etag", &object.etag);
    }
    let len = object.content.len();
    let range = request
        .field("range")
        .filter(|_| ranges)
        .map(|it| range(it, len));
    let mut answer = match range {
        Some(None) => {
            return error(
                416,
                "InvalidRange",
                "The requested range is not satisfiable",
            );
        }
        Some(Some(range)) => {
            let told = format!("bytes {}-{}/{len}", range.start, range.end - 1);
            Answer::new(206, &object.content[range]).field("content-range", &told)
        }
        None => Answer::new(200, Arc::unwrap_or_clone(Arc::clone(&object.content))),
    };
    if request.method == "HEAD" {
        answer.length = Some(answer.body.len());
        answer.body.clear();
    }
    answer.fields.extend(object.fields.iter().cloned());
    answer
        .field("etag", &object.etag)
        .field("last-modified", &http_date(object.modified))
        .field("accept-ranges", "bytes")
}

fn met(request: &Request, object: &Stored) -> bool {
    if let Some(tag) = request.field("if-match") {
        return tag == object.etag || tag == "*";
    }
    match request.field("if-unmodified-since") {
        Some(date) => date == http_date(object.modified),
        None => true,
    }
}

/// `None` if there is nothing in it.
fn range(field: &str, len: usize) -> Option<Range<usize>> {
    let (start, end) = field.strip_prefix("bytes=")?.split_once('-')?;
    let start: usize = start.parse().ok()?;
    let end = end
        .parse()
        .map_or(len, |last: usize| last.saturating_add(1).min(len));
    (start < end).then_some(start..end)
}

fn write(state: &mut State, request: &Request, body: Vec<u8>, conditions: bool) -> Answer {
    let key = request.key.as_str();
    let upload = parameter(&request.query, "uploadId");
    match (request.method.as_str(), upload) {
        ("POST", None) => {
            state.versions += 1;
            let id = format!("upload{}", state.versions);
            state
                .uploads
                .insert(id.clone(), std::collections::BTreeMap::new());
            Answer::new(200, xml::begun(key, &id))
        }
        ("PUT", Some(id)) => {
            let number = parameter(&request.query, "partNumber").and_then(|it| it.parse().ok());
            match (state.uploads.get_mut(&id), number) {
                (Some(parts), Some(number)) => {
                    parts.insert(number, body);
                    Answer::new(200, "").field("etag", &format!("\"part{number}\""))
                }
                _ => error(404, "NoSuchUpload", "no such upload"),
            }
        }
        ("POST", Some(id)) => {
            if conditions && !may_write(state, request) {
                return error(412, "PreconditionFailed", "the condition does not hold");
            }
            let Some(parts) = state.uploads.remove(&id) else {
                return error(404, "NoSuchUpload", "no such upload");
            };
            let content = parts.into_values().flatten().collect();
            let etag = state.store(key, content, Vec::new());
            Answer::new(200, xml::completed(key, &etag))
        }
        ("DELETE", Some(id)) => {
            state.uploads.remove(&id);
            Answer::new(204, "")
        }
        ("DELETE", None) => {
            state.objects.remove(key);
            Answer::new(204, "")
        }
        _ if conditions && !may_write(state, request) => {
            error(412, "PreconditionFailed", "the condition does not hold")
        }
        _ => {
            let kept = |name: &str| {
                let known = ["content-type", "cache-control", "content-encoding"];
                known.contains(&name) || name.starts_with("x-amz-meta-")
            };
            let fields = request.fields.iter().filter(|(name, _)| kept(name));
            let fields = fields.cloned().collect();
            let etag = state.store(key, body, fields);
            Answer::new(200, "").field("etag", &etag)
        }
    }
}

fn may_write(state: &State, request: &Request) -> bool {
    let object = state.objects.get(&request.key);
    if request.field("if-none-match") == Some("*") && object.is_some() {
        return false;
    }
    match request.field("if-match") {
        Some(tag) => object.is_some_and(|object| object.etag == tag),
        None => true,
    }
}
