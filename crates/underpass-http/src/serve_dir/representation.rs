//! A representation: the content of a file, and the fields that are sent with it.

use std::io;
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
            && before.file.version() == file.version()
            && before.fields.contains_key(VARY) == self.varies
            && before.is_by(self.rules)
            && !before.is_spoiled()
            && before.is_up_to_date()
        {
            return Ok(Arc::clone(before));
        }
        let opened = Opened::new(file, self.may_wait)?;
        let media_type = match coding {
            Some((_, plain)) => plain.clone(),
            None => self.media_type(|| {
                opened
                    .content
                    .beginning(media_type::BEGINNING, self.may_wait)
            })?,
        };
        let encoding = coding.map(|(encoding, _)| encoding);
        Ok(Arc::new(self.represent(opened, encoding, media_type)))
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
        let etag = entity_tag::of(version, encoding);
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
        if let Some(encoding) = encoding {
            fields.append(CONTENT_ENCODING, HeaderValue::from_static(encoding.token()));
        }
        if self.varies {
            fields.insert(VARY, HeaderValue::from_static("accept-encoding"));
        }
        if let Some(rules) = self.rules {
            rules.settings(self.relative).add_fields(&mut fields);
        }
        if let Some(cache_control) = self.cache_control() {
            fields.insert(CACHE_CONTROL, cache_control);
        }
        Representation {
            content: opened.content,
            len: opened.len,
            file: opened.file,
            may_be_outdated: AtomicBool::new(opened.may_be_outdated),
            fields,
            media_type,
            rules: self.rules.cloned(),
            etag,
            modified,
        }
    }

    /// The page of a single-page application names the scripts of one release. So clients have to
    /// ask for it again each time, whichever path it has.
    fn cache_control(&self) -> Option<HeaderValue> {
        if self.options.spa.as_deref() == Some(self.relative) {
            return Some(HeaderValue::from_static("no-cache"));
        }
        let settings = self.rules.map(|rules| rules.settings(self.relative));
        let by_rule = settings.and_then(|it| it.cache_control);
        by_rule.or(self.options.cache_control.as_ref()).cloned()
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

    fn is_spoiled(&self) -> bool {
        matches!(&self.content, Content::Mapped(mapping) if mapping.is_spoiled())
    }

    /// A small file that changed just before it was read may have changed again without a new time,
    /// if the file system's clock is coarse. While that is possible, the file is read again and
    /// compared.
    fn is_up_to_date(&self) -> bool {
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
