//! What is kept of a path: its file, its precompressed siblings, and the fields they are sent with.

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
use crate::clock;
use crate::file::{Content, Opened, Root, Wait};
use crate::prepared::PreparedResponse;
use crate::semantics::conditional::{Validators, last_modified};
use crate::semantics::entity_tag;
use crate::semantics::media_type::{self, MediaType};
use crate::semantics::negotiate::{self, Encoding};
use crate::sys::{OpenFile, page_cache};

pub(super) struct Resource {
    pub(super) plain: Arc<Representation>,
    pub(super) coded: Vec<(Encoding, Arc<Representation>)>,
    /// What a plain GET is answered with, where that does not depend on its fields.
    pub(super) prepared: Option<PreparedResponse>,
    /// Only a thread that may wait asks for their state.
    is_remote: bool,
    /// When it was looked up: milliseconds of [`clock`], and the number of uploads before.
    looked_up: u64,
    uploads: u64,
}

/// A file as it is sent.
pub(super) struct Representation {
    pub(super) content: Content,
    /// Bytes of the content.
    pub(super) len: u64,
    /// Everything that a 200 is sent with.
    pub(super) fields: HeaderMap,
    pub(super) media_type: MediaType,
    file: Arc<OpenFile>,
    /// The content may be older than its version tells.
    is_doubtful: AtomicBool,
    etag: String,
    modified: Option<SystemTime>,
}

/// What a resource is made from.
pub(super) struct LookupContext<'a> {
    pub(super) root: &'a Root,
    pub(super) options: &'a ServeDirOptions,
    /// Its path below the root.
    pub(super) relative: &'a [u8],
    /// The number of uploads before `relative` was opened.
    pub(super) uploads: u64,
    /// What it may wait for.
    pub(super) wait: Wait,
}

impl Resource {
    /// Takes the open file that the source leads to; what `before` knew and still holds is kept.
    ///
    /// # Errors
    /// What opening or reading gave; what would have to be waited for.
    pub(super) fn new(
        source: &LookupContext<'_>,
        file: OpenFile,
        before: Option<&Self>,
    ) -> io::Result<Self> {
        let is_remote = source.root.is_remote(&file);
        let siblings = source.siblings(&file)?;
        let maker = RepresentationBuilder {
            source,
            varies: !siblings.is_empty(),
        };
        let plain = maker.make(file, None, before.map(|it| &it.plain))?;
        let mut coded = Vec::new();
        for (encoding, file) in siblings {
            let before = before.and_then(|it| it.coded(encoding));
            let coding = Some((encoding, &plain.media_type));
            coded.push((encoding, maker.make(file, coding, before)?));
        }
        let is_simple = coded.is_empty() && !is_remote;
        Ok(Self {
            prepared: is_simple.then(|| plain.prepare()).flatten(),
            plain,
            coded,
            is_remote,
            looked_up: clock::now(),
            uploads: source.uploads,
        })
    }

    fn coded(&self, encoding: Encoding) -> Option<&Arc<Representation>> {
        let found = self.coded.iter().find(|(one, _)| *one == encoding);
        found.map(|(_, representation)| representation)
    }

    /// The representation that a request asks for.
    pub(super) fn choose(&self, headers: &HeaderMap) -> &Arc<Representation> {
        if self.coded.is_empty() {
            return &self.plain;
        }
        negotiate::choose(headers, |encoding| self.coded(encoding).is_some())
            .and_then(|encoding| self.coded(encoding))
            .unwrap_or(&self.plain)
    }

    /// Whether the path may still be believed to lead here. What is at its end has to be looked at all the same.
    /// `uploads` is the number of uploads so far.
    pub(super) fn is_believed(&self, valid_for: u64, uploads: u64) -> bool {
        let age = clock::now().saturating_sub(self.looked_up);
        age < valid_for && self.uploads == uploads
    }

    pub(super) fn is_remote(&self) -> bool {
        self.is_remote
    }

    pub(super) fn representations(&self) -> impl Iterator<Item = &Arc<Representation>> {
        let coded = self.coded.iter().map(|(_, representation)| representation);
        std::iter::once(&self.plain).chain(coded)
    }

    /// Each representation has one.
    pub(super) fn descriptors(&self) -> u64 {
        1 + self.coded.len() as u64
    }
}

impl LookupContext<'_> {
    fn may_wait(&self) -> bool {
        self.wait > Wait::Nothing
    }

    /// The page of a single-page application names the scripts of one release, so it is asked for again each time,
    /// whichever path it has.
    fn cache_control(&self) -> Option<HeaderValue> {
        if self.options.spa.as_deref() == Some(self.relative) {
            return Some(HeaderValue::from_static("no-cache"));
        }
        self.options.cache_control.clone()
    }

    /// The precompressed siblings that are not older than their file.
    fn siblings(&self, plain: &OpenFile) -> io::Result<Vec<(Encoding, OpenFile)>> {
        let mut siblings = Vec::new();
        for encoding in &self.options.encodings {
            let name = [self.relative, b".", encoding.extension().as_bytes()].concat();
            match self.root.open(&name, self.options.symlinks, self.wait) {
                Ok(file) => {
                    let file = OpenFile::new(file)?;
                    if file.is_regular() && !is_older(&file, plain) {
                        siblings.push((*encoding, file));
                    }
                }
                Err(error) if Wait::needed(&error).is_some() => return Err(error),
                Err(_) => {}
            }
        }
        Ok(siblings)
    }
}

/// Whether a sibling was made from an older file. Compressors give it its file's time, some in whole seconds only.
fn is_older(sibling: &OpenFile, plain: &OpenFile) -> bool {
    let (sibling, plain) = (sibling.version().modified, plain.version().modified);
    sibling.0 < plain.0 || sibling.0 == plain.0 && sibling.1 != 0 && sibling.1 < plain.1
}

struct RepresentationBuilder<'a> {
    source: &'a LookupContext<'a>,
    /// The answer depends on Accept-Encoding.
    varies: bool,
}

impl RepresentationBuilder<'_> {
    fn make(
        &self,
        file: OpenFile,
        coding: Option<(Encoding, &MediaType)>,
        before: Option<&Arc<Representation>>,
    ) -> io::Result<Arc<Representation>> {
        if let Some(before) = before
            && before.file.version() == file.version()
            && before.fields.contains_key(VARY) == self.varies
            && !before.is_spoiled()
            && before.has_no_doubt()
        {
            return Ok(Arc::clone(before));
        }
        let opened = Opened::new(file, self.source.may_wait())?;
        let media_type = match coding {
            Some((_, plain)) => plain.clone(),
            None => self
                .source
                .options
                .media_types
                .of(self.source.relative, || {
                    opened
                        .content
                        .beginning(media_type::BEGINNING, self.source.may_wait())
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
        if let Some(cache_control) = self.source.cache_control() {
            fields.insert(CACHE_CONTROL, cache_control);
        }
        Representation {
            content: opened.content,
            len: opened.len,
            file: opened.file,
            is_doubtful: AtomicBool::new(opened.is_doubtful),
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
    fn prepare(&self) -> Option<PreparedResponse> {
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

    /// Whether its bytes, its length and its tag still are the file's. One fstat(2), which waits for the server of a
    /// remote file system.
    pub(super) fn is_current(&self) -> bool {
        !self.is_spoiled() && self.file.is_current() && self.has_no_doubt()
    }

    /// Whether what was found out a moment ago may be sent: its bytes are those of one version. Never waits.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self.content, Content::Memory(_)) || self.file.check(0).is_ok()
    }

    fn is_spoiled(&self) -> bool {
        matches!(&self.content, Content::Mapped(mapping) if mapping.is_spoiled())
    }

    /// A small file that changed just before it was read could have changed again since, at the same time as far as its
    /// clock is fine: while that is so it is read, and compared.
    fn has_no_doubt(&self) -> bool {
        if entity_tag::is_weak(&self.etag) && !self.file.version().may_hide_a_change() {
            // By now it can have a strong one.
            return false;
        }
        let Content::Memory(content) = &self.content else {
            return true;
        };
        if !self.is_doubtful.load(Relaxed) {
            return true;
        }
        let may_change_again = self.file.version().may_hide_a_change();
        let is_same = self.file.reads_as(content);
        if is_same && !may_change_again {
            self.is_doubtful.store(false, Relaxed);
        }
        is_same
    }
}
