//! Looks request paths up, in the open-file cache and in the file system.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use http::HeaderMap;
use rustix::io::Errno;
use tokio::sync::Semaphore;

use super::ServeDirOptions;
use super::archives::SharedArchives;
use super::names::{Answers, DirectoryNames, Names, Source};
use super::open_file_cache::OpenFileCache;
use super::representation::Representation;
use super::resource::{LookupContext, Resource};
use crate::body::file_range;
use crate::changes;
use crate::file::{Content, Root, UPLOAD_PREFIX, Wait, is_missing};
use crate::objects::{Cached, OfObject};
use crate::prepared::{PreparedResponse, PreparedResponses};
use crate::semantics::path::{self, BadPath, Decoded};
use crate::sys::OpenFile;

const INDEX: &[u8] = b"index.html";

/// The most threads that wait for other mounts and remote file systems. One that hangs must not
/// block all of tokio's 512 blocking threads.
const MAX_REMOTE_WAITERS: usize = 64;

/// How often a path is looked up again because its file changed meanwhile.
const MAX_LOOKUPS: usize = 8;

/// How often a lookup asks a store. Each time it asks for all that it needs next: the name, its
/// precompressed siblings, an index, and small content.
const MAX_ASKED: usize = 32;

pub(super) struct FileLookup {
    pub(super) source: Source,
    pub(super) options: ServeDirOptions,
    /// If directories are sent as archives.
    pub(super) archives: Option<SharedArchives>,
    cache: Arc<OpenFileCache>,
    valid_for: u64,
    /// Permits for threads that may wait for [anything](Wait::Anything).
    remote_permits: Arc<Semaphore>,
}

/// What a path leads to.
pub(super) enum Found {
    File(Arc<Resource>),
    /// A directory to be listed: its path below the root.
    Directory(Vec<u8>),
    /// A directory whose path was sent without the slash at the end: its path below the root.
    Redirect(Vec<u8>),
    /// The root, where only one file is served: the path of that file.
    Only(Vec<u8>),
    Bad(BadPath),
    /// Nothing that is served. The error says why.
    Missing(io::Error),
}

impl FileLookup {
    /// Names below a directory.
    pub(super) fn new(root: Root, options: ServeDirOptions) -> Self {
        let names = DirectoryNames::new(Arc::new(root), options.symlinks);
        Self::of(Source::Directory(Arc::new(names)), options)
    }

    pub(super) fn of(source: Source, options: ServeDirOptions) -> Self {
        let entries = options.cache.entries;
        // An archive of objects would be fetched whole while it is sent, file after file.
        let archives = options.archives.clone().filter(|_| source.root().is_some());
        Self {
            archives: archives.map(SharedArchives::new),
            source,
            cache: OpenFileCache::new(entries),
            valid_for: u64::try_from(options.cache.valid_for.as_millis()).unwrap_or(u64::MAX),
            remote_permits: Arc::new(Semaphore::new(MAX_REMOTE_WAITERS)),
            options,
        }
    }

    pub(super) fn set(&mut self, set: impl FnOnce(&mut ServeDirOptions)) {
        set(&mut self.options);
        *self = self.renewed();
    }

    /// The same lookup, with an empty cache.
    pub(super) fn renewed(&self) -> Self {
        match &self.source {
            Source::Directory(names) => Self::new(names.root().clone_state(), self.options.clone()),
            store @ Source::Objects(_) => Self::of(store.clone(), self.options.clone()),
        }
    }

    /// The cached file of a path, if it has not changed and the request may have it. Never waits.
    pub(super) fn cached(
        &self,
        path: &str,
        headers: &HeaderMap,
        is_authenticated: impl FnOnce() -> bool,
    ) -> Option<Arc<Representation>> {
        let resource = self.fresh(path).filter(|it| !it.is_remote())?;
        if resource.is_restricted && !is_authenticated() {
            return None;
        }
        let file = resource.choose(headers)?;
        if !file.is_current() {
            return None;
        }
        self.options.stats.cache_hits.add(1);
        Some(Arc::clone(file))
    }

    fn fresh(&self, path: &str) -> Option<Arc<Resource>> {
        let resource = self.cache.get(path)?;
        resource
            .is_fresh(self.valid_for, changes::count())
            .then_some(resource)
    }

    /// The cached resource of a path on a remote file system, if its files have not changed. May
    /// wait.
    fn fresh_remote(&self, path: &str) -> Option<Arc<Resource>> {
        let resource = self.fresh(path).filter(|it| it.is_remote())?;
        let is_current = resource.representations().all(|it| it.is_current());
        is_current.then(|| {
            self.options.stats.cache_hits.add(1);
            resource
        })
    }

    /// Looks a path up: at once if the kernel has it cached, else on a blocking thread. For what a
    /// store has to be asked for, no thread waits; it is asked for the first bytes too if `to_read`
    /// says that they will probably be sent.
    ///
    /// # Errors
    /// Those of the file system or the store, except that nothing is there; `ResourceBusy` if the
    /// file keeps changing.
    pub(super) async fn look_up(self: &Arc<Self>, path: &str, to_read: bool) -> io::Result<Found> {
        match &self.source {
            Source::Directory(names) => {
                let names = Arc::clone(names) as Arc<dyn Names>;
                self.find_waiting(path, &names).await
            }
            Source::Objects(store) => {
                let answers = Arc::new(Answers::new(to_read));
                let names = Arc::clone(&answers) as Arc<dyn Names>;
                for _ in 0..MAX_ASKED {
                    let found = self.find_waiting(path, &names).await;
                    let asked = answers.ask(&**store).await;
                    let failed = match &asked {
                        Ok(asked) => !asked && found.is_err(),
                        Err(_) => true,
                    };
                    if failed {
                        // Perhaps because there is no room on a disk.
                        self.cache.let_go_now_and_then();
                    }
                    if !asked? {
                        return found;
                    }
                }
                Err(io::ErrorKind::ResourceBusy.into())
            }
        }
    }

    async fn find_waiting(
        self: &Arc<Self>,
        path: &str,
        names: &Arc<dyn Names>,
    ) -> io::Result<Found> {
        let mut wait = Wait::Nothing;
        for _ in 0..MAX_LOOKUPS {
            let found = self.find_with_wait(path, names, wait).await;
            match (&found, found.as_ref().err().and_then(Wait::needed)) {
                (_, Some(needed)) if needed > wait => wait = needed,
                // The file may have changed while the result was on its way back from the other
                // thread.
                (Ok(Found::File(resource)), _)
                    if wait > Wait::Nothing
                        && !resource.representations().all(|it| it.is_whole()) => {}
                _ => return found,
            }
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }

    /// Runs [`find`](Self::find) on a thread that may wait for what `wait` says.
    async fn find_with_wait(
        self: &Arc<Self>,
        path: &str,
        names: &Arc<dyn Names>,
        wait: Wait,
    ) -> io::Result<Found> {
        if wait == Wait::Nothing {
            return self.find(path, &**names, wait);
        }
        // The thread that waits holds the permit, even if the request is given up meanwhile.
        let permit = match wait {
            Wait::Anything => Some(Arc::clone(&self.remote_permits).acquire_owned().await),
            _ => None,
        };
        let (lookup, names, path) = (Arc::clone(self), Arc::clone(names), path.to_owned());
        blocking(move || {
            let _permit = permit;
            lookup.find(&path, &*names, wait)
        })
        .await
    }

    /// Looks a path up.
    ///
    /// # Errors
    /// Those of [`Names::open`].
    fn find(&self, path: &str, names: &dyn Names, wait: Wait) -> io::Result<Found> {
        let decoded = match path::decode(path) {
            Ok(decoded) => decoded,
            Err(bad) => return Ok(Found::Bad(bad)),
        };
        let relative = &*decoded.relative;
        if is_temporary_upload(relative) {
            return Ok(nothing());
        }
        match &self.options.only {
            Some(only) if relative == only => {}
            Some(only) if relative.is_empty() => return Ok(Found::Only(only.clone())),
            Some(_) => return Ok(nothing()),
            None if decoded.hidden && !self.options.hidden => return Ok(nothing()),
            None => {}
        }
        if wait == Wait::Anything
            && let Some(resource) = self.fresh_remote(path)
        {
            return Ok(Found::File(resource));
        }
        let changes = changes::count();
        // After the number of changes: if they are replaced in between, what is found is old.
        let rules = self.options.rules();
        if rules.as_ref().is_some_and(|rules| rules.denies(relative)) {
            return Ok(nothing());
        }
        let context = LookupContext {
            names,
            options: &self.options,
            asked: relative,
            relative,
            changes,
            rules: rules.as_ref(),
            wait,
        };
        let is_object = self.source.objects().is_some();
        if is_object && (decoded.trailing_slash || relative.is_empty()) {
            // Nothing but names makes a directory of a store.
            return self.find_in(path, true, context);
        }
        let file = match context.open(relative) {
            Err(error) if is_missing(&error) => {
                let found = self.find_instead(path, &decoded, error, context)?;
                if matches!(found, Found::Missing(_)) && names.has_names_below(relative)? {
                    return self.find_in(path, false, context);
                }
                return Ok(found);
            }
            opened => opened?,
        };
        if file.is_directory() {
            self.find_in(path, decoded.trailing_slash, context)
        } else if file.is_regular() && !decoded.trailing_slash {
            self.cache_resource(path, Some(file), &context, nothing)
        } else if file.is_regular() {
            Ok(Found::Missing(Errno::NOTDIR.into()))
        } else {
            Ok(nothing())
        }
    }

    /// Looks for what is served in place of a file that is not there: the same name with `.html`,
    /// or precompressed siblings alone.
    fn find_instead(
        &self,
        path: &str,
        decoded: &Decoded<'_>,
        missing: io::Error,
        context: LookupContext<'_>,
    ) -> io::Result<Found> {
        let (relative, options) = (&*decoded.relative, &self.options);
        let is_page = options.html_extension && !has_extension(relative);
        if decoded.trailing_slash || !is_page && options.encodings.is_empty() {
            return Ok(Found::Missing(missing));
        }
        let mut name = relative.to_owned();
        let mut file = None;
        if is_page {
            name.extend_from_slice(b".html");
            file = match context.open(&name) {
                Ok(file) => Some(file).filter(OpenFile::is_regular),
                Err(error) if is_missing(&error) => None,
                Err(error) => return Err(error),
            };
        }
        let context = LookupContext {
            relative: &name,
            ..context
        };
        self.cache_resource(path, file, &context, || Found::Missing(missing))
    }

    fn find_in(&self, path: &str, slash: bool, context: LookupContext<'_>) -> io::Result<Found> {
        let relative = context.relative;
        if !self.options.index && !self.options.listing {
            return Ok(nothing());
        }
        if !slash && self.options.redirect {
            return Ok(Found::Redirect(relative.to_owned()));
        }
        if self.options.index {
            let index = path::join(relative, INDEX);
            let context = LookupContext {
                relative: &index,
                ..context
            };
            match context.open(&index) {
                Ok(file) if file.is_regular() => {
                    return self.cache_resource(path, Some(file), &context, nothing);
                }
                Ok(_) => {}
                Err(error) if is_missing(&error) => {
                    return match self.cache_resource(path, None, &context, nothing)? {
                        Found::Missing(_) => self.directory(&context, relative, slash, error),
                        found => Ok(found),
                    };
                }
                Err(error) => return Err(error),
            }
        }
        self.directory(&context, relative, slash, io::ErrorKind::NotFound.into())
    }

    /// A directory without an index.
    fn directory(
        &self,
        context: &LookupContext<'_>,
        relative: &[u8],
        slash: bool,
        missing: io::Error,
    ) -> io::Result<Found> {
        let is_object = self.source.objects().is_some();
        let may_be_listed =
            self.options.listing && (!is_object || context.names.has_names_below(relative)?);
        Ok(if !may_be_listed {
            Found::Missing(missing)
        } else if slash {
            Found::Directory(relative.to_owned())
        } else {
            // The links of a listing are relative.
            Found::Redirect(relative.to_owned())
        })
    }

    /// Whether only authenticated requests may have what is at a path.
    pub(super) fn restricts(&self, relative: &[u8]) -> bool {
        let rules = self.options.rules();
        rules.is_some_and(|rules| rules.restricts(relative))
    }

    /// Makes a resource and caches it. If there is none, `otherwise` says what is there.
    fn cache_resource(
        &self,
        path: &str,
        file: Option<OpenFile>,
        context: &LookupContext<'_>,
        otherwise: impl FnOnce() -> Found,
    ) -> io::Result<Found> {
        let before = self.cache.get(path);
        let Some(resource) = Resource::new(context, file, before.as_deref())? else {
            return Ok(otherwise());
        };
        let resource = Arc::new(resource);
        let stats = &self.options.stats;
        match before {
            Some(_) => stats.cache_revalidations.add(1),
            None => stats.cache_misses.add(1),
        }
        self.cache.insert(path, Arc::clone(&resource));
        Ok(Found::File(resource))
    }
}

impl PreparedResponses for FileLookup {
    fn get(&self, path: &str) -> Option<PreparedResponse> {
        let resource = self.fresh(path)?;
        let answer = resource.prepared.as_ref()?;
        let plain = resource.plain()?;
        let is_cached = match &plain.content {
            Content::Memory(_) => true,
            Content::Mapped(mapping) => {
                mapping.file().has_arrived() && file_range::is_in_page_cache(mapping)
            }
            Content::Unmapped(_) => false,
        };
        if !is_cached || !plain.is_current() {
            return None;
        }
        // Counted only here: otherwise the service looks the path up, and counts it.
        self.options.stats.cache_hits.add(1);
        if answer.is_of_object {
            self.options.stats.begun(OfObject(Cached::Whole));
        }
        Some(answer.clone())
    }
}

fn nothing() -> Found {
    Found::Missing(io::ErrorKind::NotFound.into())
}

/// Whether the last component has an extension. A dot at the beginning makes none.
fn has_extension(relative: &[u8]) -> bool {
    Path::new(OsStr::from_bytes(relative)).extension().is_some()
}

/// Whether a path leads to an unfinished upload.
pub(super) fn is_temporary_upload(relative: &[u8]) -> bool {
    path::file_name(relative).starts_with(UPLOAD_PREFIX.as_bytes())
}

/// Runs `work`, which may wait for the disk, on a blocking thread.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}
