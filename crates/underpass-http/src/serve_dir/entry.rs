//! What is kept of a path: its file, its precompressed siblings, and the fields they are sent with.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG,
    LAST_MODIFIED, VARY,
};
use http::{HeaderMap, HeaderValue};

use super::Options;
use crate::clock;
use crate::file::{Content, Opened, Root, Version, residency};
use crate::semantics::conditional::{Validators, last_modified};
use crate::semantics::entity_tag;
use crate::semantics::media_type::{self, MediaType};
use crate::semantics::negotiate::Encoding;
use crate::shortcut::Prepared;

pub(super) struct Entry {
    pub(super) plain: Arc<Representation>,
    pub(super) coded: Vec<(Encoding, Arc<Representation>)>,
    /// What a plain GET is answered with, where that does not depend on its fields.
    pub(super) prepared: Option<Prepared>,
    checked: AtomicU64,
}

/// A file as it is sent.
pub(super) struct Representation {
    pub(super) content: Content,
    pub(super) version: Version,
    /// Everything that a 200 is sent with.
    pub(super) fields: HeaderMap,
    pub(super) media_type: MediaType,
    etag: String,
    modified: Option<SystemTime>,
}

impl Entry {
    /// Takes the open file that `relative` leads to; what `before` knew and still holds is kept.
    ///
    /// # Errors
    /// What opening or reading gave; `WouldBlock` if it may not `wait` and would have to.
    pub(super) fn new(
        root: &Root,
        relative: &[u8],
        file: File,
        options: &Options,
        before: Option<&Self>,
        wait: bool,
    ) -> io::Result<Self> {
        let mut siblings = Vec::new();
        for encoding in &options.encodings {
            let name = [relative, b".", encoding.extension().as_bytes()].concat();
            match root.open(&name, options.symlinks, wait) {
                Ok(file) if file.metadata()?.is_file() => siblings.push((*encoding, file)),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
                Err(_) => {}
            }
        }
        let maker = Maker {
            relative,
            options,
            varies: !siblings.is_empty(),
            wait,
        };
        let plain = maker.make(file, None, before.map(|it| &it.plain))?;
        let mut coded = Vec::new();
        for (encoding, file) in siblings {
            let before = before.and_then(|it| it.coded(encoding));
            let coding = Some((encoding, &plain.media_type));
            coded.push((encoding, maker.make(file, coding, before)?));
        }
        Ok(Self {
            prepared: if coded.is_empty() {
                plain.prepare()
            } else {
                None
            },
            plain,
            coded,
            checked: AtomicU64::new(clock::now()),
        })
    }

    pub(super) fn coded(&self, encoding: Encoding) -> Option<&Arc<Representation>> {
        let found = self.coded.iter().find(|(one, _)| *one == encoding);
        found.map(|(_, representation)| representation)
    }

    /// Whether what is known may still be believed.
    pub(super) fn is_fresh(&self, valid_for: u64) -> bool {
        let age = clock::now().saturating_sub(self.checked.load(Relaxed));
        age < valid_for && !self.plain.is_spoiled()
    }

    /// Descriptors and entries are bounded together.
    pub(super) fn weight(&self) -> u64 {
        1 + self.coded.len() as u64
    }
}

struct Maker<'a> {
    relative: &'a [u8],
    options: &'a Options,
    /// The answer depends on Accept-Encoding.
    varies: bool,
    wait: bool,
}

impl Maker<'_> {
    fn make(
        &self,
        file: File,
        coding: Option<(Encoding, &MediaType)>,
        before: Option<&Arc<Representation>>,
    ) -> io::Result<Arc<Representation>> {
        let version = Version::of(&file.metadata()?);
        if let Some(before) = before
            && before.version == version
            && before.fields.contains_key(VARY) == self.varies
            && !before.is_spoiled()
        {
            return Ok(Arc::clone(before));
        }
        let opened = Opened::new(file, version, self.wait)?;
        let media_type = match coding {
            Some((_, plain)) => plain.clone(),
            None => self.options.media_types.of(self.relative, || {
                opened.content.beginning(media_type::BEGINNING, self.wait)
            })?,
        };
        let encoding = coding.map(|(encoding, _)| encoding);
        Ok(Arc::new(self.represent(opened, encoding, media_type)))
    }

    fn represent(
        &self,
        opened: Opened,
        encoding: Option<Encoding>,
        media_type: MediaType,
    ) -> Representation {
        let Opened { content, version } = opened;
        let (seconds, nanoseconds) = version.modified;
        let etag = entity_tag::of(
            version.len,
            seconds,
            nanoseconds as u32,
            version.inode,
            encoding,
        );
        // Not later than now (RFC 9110 section 8.8.2.1).
        let modified = last_modified(seconds).map(|it| it.min(SystemTime::now()));
        let mut fields = HeaderMap::with_capacity(8);
        fields.insert(CONTENT_TYPE, media_type.value.clone());
        fields.insert(CONTENT_LENGTH, version.len.into());
        fields.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        if let Ok(etag) = HeaderValue::try_from(&etag) {
            fields.insert(ETAG, etag);
        }
        if let Some(modified) = modified.map(httpdate::fmt_http_date)
            && let Ok(modified) = HeaderValue::try_from(modified)
        {
            fields.insert(LAST_MODIFIED, modified);
        }
        // In the order in which they were applied.
        if media_type.is_gzip {
            fields.append(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if let Some(encoding) = encoding {
            fields.append(CONTENT_ENCODING, HeaderValue::from_static(encoding.token()));
        }
        if self.varies {
            fields.insert(VARY, HeaderValue::from_static("accept-encoding"));
        }
        if let Some(cache_control) = &self.options.cache_control {
            fields.insert(CACHE_CONTROL, cache_control.clone());
        }
        Representation {
            content,
            version,
            fields,
            media_type,
            etag,
            modified,
        }
    }
}

impl Representation {
    pub(super) fn validators(&self) -> Validators<'_> {
        Validators {
            etag: &self.etag,
            modified: self.modified,
        }
    }

    /// For a file whose presence in the page cache is known of as a whole.
    fn prepare(&self) -> Option<Prepared> {
        let body = match &self.content {
            Content::Memory(body) => body.clone(),
            Content::Mapped(mapping) if mapping.len() <= residency::WINDOW => {
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
        Some(Prepared {
            fields: fields.into(),
            body,
        })
    }

    fn is_spoiled(&self) -> bool {
        matches!(&self.content, Content::Mapped(mapping) if mapping.is_spoiled())
    }
}
