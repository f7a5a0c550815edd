//! The options of a [`ServeDir`](super::ServeDir).

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use super::archives::Archives;
use crate::body::READ_BUFFER;
use crate::file::Symlinks;
use crate::path_rules::{ActiveRules, PathRules};
use crate::semantics::media_type::MediaTypes;
use crate::semantics::negotiate::Encoding;
use crate::stats::ServerStats;

/// Options of the open-file cache.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Cache {
    /// Files that are kept open, with their precompressed siblings: at most half of the process's
    /// limit of descriptors (`ulimit -n`). Some are closed when the process runs out of
    /// descriptors. Default: 4,096; 0 keeps none.
    pub entries: usize,
    /// How long a path may still lead to a file that was replaced or removed. A file that was
    /// written to in place is noticed at once, and so is an upload. Default: 1 s.
    pub valid_for: Duration,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            entries: 4096,
            valid_for: Duration::from_secs(1),
        }
    }
}

impl Cache {
    /// Sets [`entries`](Self#structfield.entries).
    #[must_use]
    pub fn entries(self, entries: usize) -> Self {
        Self { entries, ..self }
    }

    /// Sets [`valid_for`](Self#structfield.valid_for).
    #[must_use]
    pub fn valid_for(self, valid_for: Duration) -> Self {
        Self { valid_for, ..self }
    }
}

/// Options of uploads.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Uploads {
    /// The largest file, in bytes. Larger ones are answered 413. Default: 1 GiB.
    pub max_bytes: u64,
    /// Whether browsers may send forms: POST of `multipart/form-data` to a directory. Forms of
    /// other web sites are refused. A listing then has such a form. Default: false.
    pub forms: bool,
}

impl Default for Uploads {
    fn default() -> Self {
        Self {
            max_bytes: 1 << 30,
            forms: false,
        }
    }
}

impl Uploads {
    /// Sets [`max_bytes`](Self#structfield.max_bytes).
    #[must_use]
    pub fn max_bytes(self, max_bytes: u64) -> Self {
        Self { max_bytes, ..self }
    }

    /// Sets [`forms`](Self#structfield.forms).
    #[must_use]
    pub fn forms(self, forms: bool) -> Self {
        Self { forms, ..self }
    }
}

/// All options.
#[derive(Clone, Debug)]
pub(super) struct ServeDirOptions {
    pub(super) index: bool,
    pub(super) html_extension: bool,
    pub(super) redirect: bool,
    pub(super) redirect_prefix: Option<String>,
    pub(super) one_range: bool,
    pub(super) fallback_for_methods: bool,
    pub(super) listing: bool,
    pub(super) archives: Option<Archives>,
    pub(super) error_pages: bool,
    pub(super) hidden: bool,
    /// The one file that is served, by its path below the root.
    pub(super) only: Option<Vec<u8>>,
    pub(super) symlinks: Symlinks,
    pub(super) encodings: Vec<Encoding>,
    pub(super) media_types: MediaTypes,
    pub(super) cache_control: Option<HeaderValue>,
    pub(super) spa: Option<Vec<u8>>,
    pub(super) not_found_page: Option<Vec<u8>>,
    pub(super) path_rules: Option<PathRules>,
    pub(super) polite: bool,
    pub(super) read_buffer: u64,
    pub(super) cache: Cache,
    pub(super) uploads: Option<Uploads>,
    pub(super) stats: Arc<ServerStats>,
}

impl Default for ServeDirOptions {
    fn default() -> Self {
        Self {
            index: true,
            html_extension: false,
            redirect: true,
            redirect_prefix: None,
            one_range: false,
            fallback_for_methods: false,
            listing: false,
            archives: None,
            error_pages: false,
            hidden: false,
            only: None,
            symlinks: Symlinks::default(),
            encodings: Vec::new(),
            media_types: MediaTypes::default(),
            cache_control: None,
            spa: None,
            not_found_page: None,
            path_rules: None,
            polite: false,
            read_buffer: READ_BUFFER,
            cache: Cache::default(),
            uploads: None,
            stats: Arc::default(),
        }
    }
}

impl ServeDirOptions {
    /// The rules for paths as they are now.
    pub(super) fn rules(&self) -> Option<ActiveRules> {
        let encodings = self.encodings.iter();
        let siblings = encodings.map(|encoding| encoding.extension());
        self.path_rules
            .as_ref()
            .map(|rules| rules.current(siblings))
    }

    /// Whether files may be uploaded by forms.
    pub(super) fn takes_forms(&self) -> bool {
        self.uploads.as_ref().is_some_and(|uploads| uploads.forms)
    }
}
