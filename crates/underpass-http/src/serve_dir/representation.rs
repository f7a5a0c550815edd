//! A representation: the content of a file, and the fields that are sent with it.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::SystemTime;

use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG,
    LAST_MODIFIED, VARY,
};
use http::{HeaderMap, HeaderValue};

use super::ServeDirOptions;
use crate::file::{Content, Opened};
use crate::objects::{Cached, Object, OfObject};
use crate::path_rules::ActiveRules;
use crate::prepared::PreparedResponse;
use crate::semantics::conditional::{Validators, last_modified};
use crate::semantics::entity_tag;
use crate::semantics::media_type::{self, MediaType};
use crate::semantics::negotiate::Encoding;
use crate::sys::{OpenFile, page_cache};

/// A file, ready to be sent.
pub(super) struct Representation {
    pub(super) content: Content,
    /// Bytes of the content.
    pub(super) len: u64,
    /// All fields of a response with status 200.
    pub(super) fields: HeaderMap,
    pub(super) media_type: MediaType,
    /// The rules by which the fields were made.
    rules: Option<ActiveRules>,
    file: Arc<OpenFile>,
    /// The content may be older than the file although the version is the same.
    may_be_outdated: AtomicBool,
    /// The content was fetched from the store for a response that was not made yet.
    is_just_fetched: AtomicBool,
    etag: String,
    modified: Option<SystemTime>,
}

/// Makes the representations of one resource.
pub(super) struct RepresentationBuilder<'a> {
    pub(super) options: &'a ServeDirOptions,
    /// The path of the resource below the root.
    pub(super) relative: &'a [u8],
    pub(super) rules: Option<&'a ActiveRules>,
    /// Reading may wait for the disk.
    pub(super) may_wait: bool,
    /// The response depends on Accept-Encoding.
    pub(super) varies: bool,
}

impl RepresentationBuilder<'_> {
    pub(super) fn make(
        &self,
        file: OpenFile,
        coding: Option<(Encoding, &MediaType)>,
        before: Option<&Arc<Representation>>,
    ) -> io::Result<Arc<Representation>> {
        if let Some(before) = before
            && before.file.is_same(&file)
            && before.fields.contains_key(VARY) == self.varies
            && before.is_by(self.rules)
            && !before.is_spoiled()
            && before.is_up_to_date()
        {
            return Ok(Arc::clone(before));
        }
        let is_just_fetched = file.is_just_fetched();
        let opened = Opened::new(file, self.may_wait)?;
        let media_type = match coding {
            Some((_, plain)) => plain.clone(),
            None => self.media_type_of(&opened)?,
        };
        let encoding = coding.map(|(encoding, _)| encoding);
        let mut made = self.represent(opened, encoding, media_type);
        made.is_just_fetched = is_just_fetched.into();
        Ok(Arc::new(made))
    }

    fn media_type_of(&self, opened: &Opened) -> io::Result<MediaType> {
        let Some(object) = opened.file.object() else {
            let content = &opened.content;
            let wait = self.may_wait;
            return self.media_type(|| content.beginning(media_type::BEGINNING, wait));
        };
        let settings = self.rules.map(|rules| rules.settings(self.relative));
        let is_by_rule = settings.is_some_and(|it| it.media_type.is_some());
        let stored = object.content_type().filter(|it| says_something(it));
        if let Some(Ok(value)) = stored.filter(|_| !is_by_rule).map(HeaderValue::from_str) {
            let is_gzip = false;
            return Ok(MediaType { value, is_gzip });
        }
        let mut by_name = self.media_type_by_name()?;
        by_name.is_gzip &= object.content_encoding().is_none();
        Ok(by_name)
    }

    /// The media type of a file of which only precompressed siblings are there.
    pub(super) fn media_type_by_name(&self) -> io::Result<MediaType> {
        self.media_type(|| Ok(Vec::new()))
    }

    fn media_type(&self, beginning: impl FnOnce() -> io::Result<Vec<u8>>) -> io::Result<MediaType> {
        let settings = self.rules.map(|rules| rules.settings(self.relative));
        if let Some(value) = settings.and_then(|it| it.media_type) {
            return Ok(MediaType {
                value: value.clone(),
                is_gzip: false,
            });
        }
        self.options.media_types.of(self.relative, beginning)
    }

    fn represent(
        &self,
        opened: Opened,
        encoding: Option<Encoding>,
        media_type: MediaType,
    ) -> Representation {
        let version = opened.file.version();
        let object = opened.file.object();
        let etag = match object {
            Some(object) => entity_tag::of_object(object.etag(), version),
            None => entity_tag::of(version, encoding),
        };
        // Not later than now (RFC 9110 section 8.8.2.1).
        let modified = last_modified(version.modified.0).map(|it| it.min(SystemTime::now()));
        let mut fields = HeaderMap::with_capacity(8);
        fields.insert(CONTENT_TYPE, media_type.value.clone());
        fields.insert(CONTENT_LENGTH, opened.len.into());
        fields.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        if let Ok(etag) = HeaderValue::try_from(&etag) {
            fields.insert(ETAG, etag);
        }
        if let Some(modified) = modified.map(httpdate::fmt_http_date)
            && let Ok(modified) = HeaderValue::try_from(modified)
        {
            fields.insert(LAST_MODIFIED, modified);
        }
        // Codings are listed in the order in which they were applied.
        if media_type.is_gzip {
            fields.append(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if let Some(stored) = object.filter(|_| encoding.is_none())
            && let Some(Ok(value)) = stored.content_encoding().map(HeaderValue::from_str)
        {
            fields.append(CONTENT_ENCODING, value);
        }
        if let Some(encoding) = encoding {
            fields.append(CONTENT_ENCODING, HeaderValue::from_static(encoding.token()));
        }
        if self.varies {
            fields.insert(VARY, HeaderValue::from_static("accept-encoding"));
        }
        if let Some(rules) = self.rules {
            rules.settings(self.relative).add_fields(&mut fields);
        }
        let stored = object.and_then(|it| it.cache_control());
        if let Some(cache_control) = self.cache_control(stored) {
            fields.insert(CACHE_CONTROL, cache_control);
        }
        Representation {
            content: opened.content,
            len: opened.len,
            file: opened.file,
            may_be_outdated: AtomicBool::new(opened.may_be_outdated),
            is_just_fetched: AtomicBool::new(false),
            fields,
            media_type,
            rules: self.rules.cloned(),
            etag,
            modified,
        }
    }

    /// The page of a single-page application names the scripts of one release. So clients have to
    /// ask for it again each time, whichever path it has.
    fn cache_control(&self, stored: Option<&str>) -> Option<HeaderValue> {
        if self.options.spa.as_deref() == Some(self.relative) {
            return Some(HeaderValue::from_static("no-cache"));
        }
        let settings = self.rules.map(|rules| rules.settings(self.relative));
        let by_rule = settings.and_then(|it| it.cache_control);
        let stored = stored.and_then(|it| HeaderValue::from_str(it).ok());
        let by_option = || self.options.cache_control.clone();
        by_rule.cloned().or(stored).or_else(by_option)
    }
}

impl Representation {
    pub(super) fn validators(&self) -> Validators<'_> {
        Validators {
            etag: &self.etag,
            modified: self.modified,
        }
    }

    fn is_by(&self, rules: Option<&ActiveRules>) -> bool {
        match (&self.rules, rules) {
            (Some(own), Some(rules)) => own.are(rules),
            (own, rules) => own.is_none() && rules.is_none(),
        }
    }

    /// Prepares the response to a plain GET, if the file is in memory or no larger than one window
    /// of the page cache.
    pub(super) fn prepare(&self) -> Option<PreparedResponse> {
        let body = match &self.content {
            Content::Memory(body) => body.clone(),
            Content::Mapped(mapping) if mapping.len() <= page_cache::WINDOW => {
                mapping.bytes(0..mapping.len())
            }
            _ => return None,
        };
        let mut fields = Vec::new();
        for (name, value) in &self.fields {
            fields.extend_from_slice(name.as_str().as_bytes());
            fields.extend_from_slice(b": ");
            fields.extend_from_slice(value.as_bytes());
            fields.extend_from_slice(b"\r\n");
        }
        fields.extend_from_slice(b"\r\n");
        Some(PreparedResponse {
            fields: fields.into(),
            body,
            is_of_object: self.object().is_some(),
        })
    }

    /// Whether the file has not changed. One fstat(2), which waits for the server of a remote file
    /// system.
    pub(super) fn is_current(&self) -> bool {
        !self.is_spoiled() && self.file.is_current() && self.is_up_to_date()
    }

    /// Whether all bytes are of one version, so that the file can be sent after a lookup on another
    /// thread. Never waits.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self.content, Content::Memory(_)) || self.file.check(0).is_ok()
    }

    /// The object that its bytes are of, if they are of a store.
    pub(super) fn object(&self) -> Option<&Arc<dyn Object>> {
        self.file.object()
    }

    /// How much of a response with these ranges is in the object's local file, if it is of one.
    pub(super) fn of_object(&self, ranges: &[Range<u64>]) -> Option<OfObject> {
        let object = self.object()?;
        let waited =
            self.is_just_fetched.load(Relaxed) && self.is_just_fetched.swap(false, Relaxed);
        let cached = if waited {
            Cached::Nothing
        } else {
            Cached::of(&**object, ranges)
        };
        Some(OfObject(cached))
    }

    fn is_spoiled(&self) -> bool {
        matches!(&self.content, Content::Mapped(mapping) if mapping.is_spoiled())
    }

    /// A small file that changed just before it was read may have changed again without a new time,
    /// if the file system's clock is coarse. While that is possible, the file is read again and
    /// compared.
    fn is_up_to_date(&self) -> bool {
        if self.file.object().is_some() {
            return true;
        }
        if entity_tag::is_weak(&self.etag) && !self.file.version().may_hide_a_change() {
            // By now the file can have a strong tag, so it is looked up again.
            return false;
        }
        let Content::Memory(content) = &self.content else {
            return true;
        };
        if !self.may_be_outdated.load(Relaxed) {
            return true;
        }
        let may_change_again = self.file.version().may_hide_a_change();
        let is_same = self.file.reads_as(content);
        if is_same && !may_change_again {
            self.may_be_outdated.store(false, Relaxed);
        }
        is_same
    }
}

/// Whether a stored type says what an object is. Stores give these types to what was uploaded
/// without one.
fn says_something(content_type: &str) -> bool {
    const NOTHING: [&str; 3] = ["", "application/octet-stream", "binary/octet-stream"];
    !NOTHING.contains(&&*content_type.trim().to_ascii_lowercase())
}
