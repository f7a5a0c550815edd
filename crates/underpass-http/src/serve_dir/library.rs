//! From a request's path to what is there, through the open-file cache.

use std::io;
use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::Options;
use super::entry::Entry;
use super::upload;
use crate::body::pages;
use crate::file::{Content, Root, is_missing};
use crate::semantics::path::{self, BadPath};
use crate::shortcut::{Prepared, Shortcut};

const INDEX: &[u8] = b"index.html";

pub(super) struct Library {
    pub(super) root: Root,
    pub(super) options: Options,
    /// By the path as it was sent: a hit decodes nothing.
    cache: Cache<Box<str>, Arc<Entry>, Weight>,
    valid_for: u64,
}

/// What a path leads to.
pub(super) enum Found {
    File(Arc<Entry>),
    /// A directory to be listed; its path below the root.
    Directory(Vec<u8>),
    /// A directory that was asked for without its slash; its own name.
    Redirect(Vec<u8>),
    Bad(BadPath),
    Missing,
}

#[derive(Clone)]
struct Weight;

impl Weighter<Box<str>, Arc<Entry>> for Weight {
    fn weight(&self, _: &Box<str>, entry: &Arc<Entry>) -> u64 {
        entry.weight()
    }
}

impl Library {
    pub(super) fn new(root: Root, options: Options) -> Self {
        let entries = options.cache.entries;
        Self {
            root,
            cache: Cache::with_weighter(entries, entries as u64, Weight),
            valid_for: u64::try_from(options.cache.valid_for.as_millis()).unwrap_or(u64::MAX),
            options,
        }
    }

    pub(super) fn set(&mut self, set: impl FnOnce(&mut Options)) {
        set(&mut self.options);
        *self = self.renewed();
    }

    /// The same, with an empty cache.
    pub(super) fn renewed(&self) -> Self {
        Self::new(self.root.again(), self.options.clone())
    }

    /// What is known of a path and may be believed without asking.
    pub(super) fn cached(&self, path: &str) -> Option<Arc<Entry>> {
        let entry = self.fresh(path)?;
        self.options.stats.cache_hits.add(1);
        Some(entry)
    }

    fn fresh(&self, path: &str) -> Option<Arc<Entry>> {
        let entry = self.cache.get(path)?;
        entry.is_fresh(self.valid_for).then_some(entry)
    }

    /// Whatever was known of a path is not so any more.
    pub(super) fn forget(&self, path: &str) {
        self.cache.remove(path);
    }

    /// Asks the file system.
    ///
    /// # Errors
    /// What it answered; `WouldBlock` if it may not `wait` and would have to.
    fn find(&self, path: &str, wait: bool) -> io::Result<Found> {
        let decoded = match path::decode(path) {
            Ok(decoded) => decoded,
            Err(bad) => return Ok(Found::Bad(bad)),
        };
        if decoded.hidden && !self.options.hidden || upload::is_ours(&decoded.relative) {
            return Ok(Found::Missing);
        }
        let relative = &*decoded.relative;
        let file = match self.root.open(relative, self.options.symlinks, wait) {
            Err(error) if is_missing(&error) => return Ok(Found::Missing),
            opened => opened?,
        };
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            self.find_in(path, relative, decoded.trailing_slash, wait)
        } else if metadata.is_file() && !decoded.trailing_slash {
            self.keep(path, relative, file, wait)
        } else {
            Ok(Found::Missing)
        }
    }

    fn find_in(&self, path: &str, relative: &[u8], slash: bool, wait: bool) -> io::Result<Found> {
        if !slash {
            let name = path::file_name(relative);
            return Ok(Found::Redirect(name.to_owned()));
        }
        if self.options.index {
            let index = match relative {
                b"" => INDEX.to_owned(),
                relative => [relative, b"/", INDEX].concat(),
            };
            match self.root.open(&index, self.options.symlinks, wait) {
                Ok(file) if file.metadata()?.is_file() => {
                    return self.keep(path, &index, file, wait);
                }
                Ok(_) => {}
                Err(error) if is_missing(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(if self.options.listing {
            Found::Directory(relative.to_owned())
        } else {
            Found::Missing
        })
    }

    fn keep(
        &self,
        path: &str,
        relative: &[u8],
        file: std::fs::File,
        wait: bool,
    ) -> io::Result<Found> {
        let before = self.cache.get(path);
        let entry = Entry::new(
            &self.root,
            relative,
            file,
            &self.options,
            before.as_deref(),
            wait,
        )?;
        let entry = Arc::new(entry);
        let stats = &self.options.stats;
        match before {
            Some(_) => stats.cache_revalidations.add(1),
            None => stats.cache_misses.add(1),
        }
        self.cache.insert(path.into(), Arc::clone(&entry));
        Ok(Found::File(entry))
    }
}

impl Shortcut for Library {
    fn answer(&self, path: &str) -> Option<Prepared> {
        let entry = self.fresh(path)?;
        let at_hand = match &entry.plain.content {
            Content::Memory(_) => true,
            Content::Mapped(mapping) => pages::is_at_hand(mapping),
            Content::Unmapped(_) => false,
        };
        let answer = entry.prepared.clone().filter(|_| at_hand)?;
        // What is not answered here is looked up, and counted, by the service.
        self.options.stats.cache_hits.add(1);
        Some(answer)
    }
}

/// Looks a path up: at once if the kernel knows all about it, else on a blocking thread.
///
/// # Errors
/// What the file system answered, if it is not that nothing is there.
pub(super) async fn look_up(library: &Arc<Library>, path: &str) -> io::Result<Found> {
    match library.find(path, false) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        found => return found,
    }
    let (library, path) = (Arc::clone(library), path.to_owned());
    blocking(move || library.find(&path, true)).await
}

/// Runs what may wait for the disk where nobody else waits.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}
