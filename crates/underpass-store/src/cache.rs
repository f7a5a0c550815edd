//! The cache: which objects are known, and what is on the disk.

mod blocks;
mod catalog;
mod claims;
mod directory;
mod files;
pub(crate) mod index;
mod object;
mod plan;
mod settings;
mod shared;
mod stats;

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};

pub use object::Object;
pub use settings::CacheSettings;
pub use stats::CacheStats;

use crate::error::{ErrorKind, StoreError};
use crate::store::{ObjectInfo, Store};
use catalog::{Catalog, Usage};
use claims::ClaimWriter;
use directory::{Directory, FileName};
use files::Files;
use index::Header;
pub(crate) use shared::AFTER_FAILURE;
use shared::Shared;
use stats::Counters;

/// What an index takes of the disk; only those of huge objects take more.
const INDEX_ROOM: u64 = 4096;
/// How often what is too old is looked for.
const JANITOR: Duration = Duration::from_secs(60);

/// As many locks for opening files: those of other names seldom wait.
const OPENING: usize = 32;

/// The objects of a store, as files on a disk.
///
/// Clones are of the same cache. The directory is used by one process at a time; a second one gets
/// a place beside the first's. What is in it survives the process: blocks that an earlier run
/// claimed are read and their checksums compared before they are sent for the first time.
#[derive(Clone, Debug)]
pub struct Cache(Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    shared: Arc<Shared>,
    table: Mutex<Table>,
    /// Held while the files of a name are opened or made, by the name's first bits: two who ask for
    /// the same get the same object.
    opening: [tokio::sync::Mutex<()>; OPENING],
}

/// What is known of names, and which files are open.
#[derive(Debug, Default)]
struct Table {
    known: HashMap<String, Entry>,
    /// One object for one file, so that a block is fetched once, also by those who hold an object
    /// that the table has forgotten.
    open: HashMap<FileName, Weak<Object>>,
}

#[derive(Debug, Default)]
struct Entry {
    object: Option<Arc<Object>>,
    /// Until when, why there is none.
    absent: Option<(Instant, StoreError)>,
    asking: Option<watch::Receiver<Answer>>,
    /// How often it was changed from here. What was asked before does not count afterwards.
    changes: u64,
    /// When it was asked for, to forget the oldest.
    used: u64,
}

/// `None` while the store is being asked.
type Answer = Option<Result<Found, StoreError>>;

/// An object, as somebody finds it who waits for the answer.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) object: Arc<Object>,
    /// Its first block is on its way, because of the same request.
    pub(crate) is_begun: bool,
}

impl Found {
    /// One of which nothing was asked for.
    fn known(object: Arc<Object>) -> Self {
        Self {
            object,
            is_begun: false,
        }
    }
}

impl Cache {
    /// Opens a cache directory, and makes it if there is none. It reads the directory's names, so
    /// it takes a while where there are many.
    ///
    /// # Errors
    ///
    /// The directory cannot be made, read or written.
    ///
    /// ```no_run
    /// use underpass_store::{Cache, CacheSettings, Store, StoreSettings};
    ///
    /// # async fn example() -> Result<(), underpass_store::StoreError> {
    /// let store = Store::from_url("s3://photos", StoreSettings::from_env())?;
    /// let cache = Cache::open("/var/cache/photos".as_ref(), CacheSettings::default(), store)?;
    /// let object = cache.object("2026/may.jpg").await?;
    /// let mut offset = 0;
    /// while offset < object.len() {
    ///     let count = object.want(offset, object.len() - offset).await?;
    ///     // `count` bytes from `offset` on can be sent from `object.file()`, by sendfile.
    ///     offset += count;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn open(path: &Path, settings: CacheSettings, store: Store) -> Result<Self, StoreError> {
        let settings = settings.clamped();
        let directory = Directory::open(path, &|line| settings.warn.tell(line))?;
        let found = directory.scan().map_err(|error| {
            StoreError::disk(&format!("cannot read the cache {}", path.display()), &error)
        })?;
        let catalog = Catalog::new(directory, found, settings.max_bytes, settings.max_age);
        let warn = settings.warn.clone();
        let shared = Arc::new(Shared {
            claims: ClaimWriter::start(move |line| warn.tell(line))?,
            permits: Arc::new(Semaphore::new(settings.fetches)),
            window: plan::window(settings.block_size, settings.max_bytes),
            ahead: Arc::new(Semaphore::new(settings.fetches / 2)),
            store,
            settings,
            catalog,
            counters: Counters::default(),
            full: AtomicU64::new(0),
            epoch: Instant::now(),
            cache: OnceLock::new(),
        });
        let clean = Arc::downgrade(&shared);
        shared.store.runtime().spawn(async move {
            while let Some(shared) = clean.upgrade() {
                let all = Arc::clone(&shared);
                let work = move || all.catalog.remove_old(&all.counters);
                let _ = shared.blocking(work).await;
                drop(shared);
                tokio::time::sleep(JANITOR).await;
            }
        });
        let inner = Arc::new(Inner {
            shared,
            table: Mutex::default(),
            opening: Default::default(),
        });
        let table = Arc::downgrade(&inner);
        // Set here only.
        let _ = inner.shared.cache.set(Weak::clone(&table));
        inner.shared.catalog.on_removed(move |name| {
            if let Some(inner) = table.upgrade() {
                Self(inner).close(name);
            }
        });
        Ok(Self(inner))
    }

    /// The object of a key, as the store confirmed it within [`CacheSettings::revalidate`]. If it
    /// did not, it is asked once, whoever asks meanwhile.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`], which is remembered for [`CacheSettings::negative`]; or why the
    /// store could not be asked, which is remembered for a second.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: the answer is remembered for the next one who asks.
    pub async fn object(&self, key: &str) -> Result<Arc<Object>, StoreError> {
        self.find(key, false).await.map(|found| found.object)
    }

    /// Like [`object`](Self::object), for those who will want the object's first bytes. If the
    /// cache has nothing of the object, the same request asks for its first block too. So that
    /// comes sooner, and a small object takes the store one request instead of two.
    ///
    /// # Errors
    ///
    /// As [`object`](Self::object).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: the answer is remembered, and the block arrives.
    pub async fn object_to_read(&self, key: &str) -> Result<Arc<Object>, StoreError> {
        self.find(key, true).await.map(|found| found.object)
    }

    /// The object of a key. `to_read`: its first bytes will be wanted.
    pub(crate) async fn find(&self, key: &str, to_read: bool) -> Result<Found, StoreError> {
        let counters = &self.0.shared.counters;
        Counters::add(&counters.lookups, 1);
        let mut asking = match self.known(key, to_read) {
            Known::Object(object) => {
                Counters::add(&counters.fresh, 1);
                return Ok(Found::known(object));
            }
            Known::Absent(error) => {
                Counters::add(&counters.negative, 1);
                return Err(error);
            }
            Known::Asking(asking) => asking,
        };
        let stopped = || StoreError::new(ErrorKind::Internal, "the cache was stopped");
        let answer = asking
            .wait_for(Option::is_some)
            .await
            .map_err(|_| stopped())?;
        answer.clone().unwrap_or_else(|| Err(stopped()))
    }

    /// The object again, after its file was evicted while something of it was missing: the same
    /// version, in a new file. The old one is let go first, because its room is not free before.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Changed`]: the store has another version now, or none. Otherwise as
    /// [`object`](Self::object).
    pub async fn reopen(&self, object: Arc<Object>) -> Result<Arc<Object>, StoreError> {
        let before = object.info().clone();
        drop(object);
        self.same_version(&before).await
    }

    pub(crate) async fn same_version(
        &self,
        before: &ObjectInfo,
    ) -> Result<Arc<Object>, StoreError> {
        let again = self.object(&before.key).await?;
        if again.info().is_same_version(before) {
            return Ok(again);
        }
        let name = self.store().name_of(&before.key);
        let message = format!("{name} was replaced while it was being read");
        Err(StoreError::new(ErrorKind::Changed, message))
    }

    /// Has the next one who asks for a key ask the store, because it was changed from here.
    pub fn forget(&self, key: &str) {
        if let Some(entry) = self.lock().known.get_mut(key) {
            entry.absent = None;
            entry.asking = None;
            entry.changes += 1;
            if let Some(object) = &entry.object {
                object.replaced();
            }
        }
    }

    /// The store behind it.
    pub fn store(&self) -> &Store {
        &self.0.shared.store
    }

    /// What it did so far.
    pub fn stats(&self) -> CacheStats {
        let shared = &self.0.shared;
        let objects = self.lock().known.len() as u64;
        let (files, bytes) = (shared.catalog.count(), shared.catalog.bytes());
        shared.counters.read(objects, files, bytes)
    }

    /// Waits until what was fetched before is noted on the disk, so that it survives the process.
    pub async fn flush(&self) {
        self.0.shared.claims.flush().await;
    }

    fn known(&self, key: &str, to_read: bool) -> Known {
        let used = self.0.shared.now();
        let mut table = self.lock();
        if !table.known.contains_key(key) {
            table.make_room(self.0.shared.settings.open_objects);
        }
        let entry = table.known.entry(key.to_string()).or_default();
        entry.used = used;
        if let Some(object) = entry.object.as_ref().filter(|object| object.is_fresh()) {
            object.touch();
            return Known::Object(Arc::clone(object));
        }
        match &entry.absent {
            Some((until, error)) if Instant::now() < *until => return Known::Absent(error.clone()),
            _ => entry.absent = None,
        }
        // A sender that is gone without an answer was in a runtime that ended.
        if let Some(asking) = entry.asking.as_ref().filter(|it| it.has_changed().is_ok()) {
            return Known::Asking(asking.clone());
        }
        let (answer, asking) = watch::channel(None);
        entry.asking = Some(asking.clone());
        let (cache, key) = (self.clone(), key.to_string());
        self.0
            .shared
            .store
            .runtime()
            .spawn(async move { cache.ask(key, to_read, answer).await });
        Known::Asking(asking)
    }

    /// Asks the store, writes the answer down, and tells all who wait.
    async fn ask(self, key: String, to_read: bool, answer: watch::Sender<Answer>) {
        let shared = &self.0.shared;
        Counters::add(&shared.counters.revalidations, 1);
        let (before, changes) = match self.lock().known.get(&key) {
            Some(entry) => (entry.object.clone(), entry.changes),
            None => (None, 0),
        };
        let asked = if to_read && before.is_none() && !self.has_files_of(&key) {
            let count = u64::from(shared.settings.block_size);
            shared.store.begin(&key, count).await
        } else {
            let asked = shared.store.head(&key).await;
            asked.map(|info| (info, None))
        };
        let result = match asked {
            Ok((info, answer)) => {
                let found = self.found(info, before.as_ref()).await;
                found.map(|object| Found {
                    is_begun: answer.is_some_and(|answer| object.begin(answer)),
                    object,
                })
            }
            Err(error) => {
                let kept = self.not_found(error, before.as_ref()).await;
                kept.map(Found::known)
            }
        };
        let mut table = self.lock();
        let entry = table.known.entry(key).or_default();
        if entry.changes != changes {
            // It may be of before the change: it counts for those who asked before.
            if let Ok(found) = &result {
                found.object.replaced();
            }
            drop(table);
            answer.send_replace(Some(result));
            return;
        }
        entry.asking = None;
        match &result {
            Ok(found) => {
                entry.object = Some(Arc::clone(&found.object));
                entry.absent = None;
            }
            Err(error) => {
                let wait = match error.kind() {
                    ErrorKind::NotFound | ErrorKind::Denied => shared.settings.negative,
                    _ => error.retry_after().unwrap_or_default().max(AFTER_FAILURE),
                };
                entry.object = None;
                entry.absent = Some((Instant::now() + wait, error.clone()));
            }
        }
        drop(table);
        answer.send_replace(Some(result));
    }

    /// Whether there is a file of any version.
    fn has_files_of(&self, key: &str) -> bool {
        let Shared { store, catalog, .. } = &*self.0.shared;
        catalog.has_any(FileName::all_of(store.identity(), &store.full_key(key)))
    }

    async fn found(
        &self,
        info: ObjectInfo,
        before: Option<&Arc<Object>>,
    ) -> Result<Arc<Object>, StoreError> {
        if let Some(before) = before {
            if before.info() == &info && !before.is_ended() {
                before.confirm();
                return Ok(Arc::clone(before));
            }
            if !before.info().is_same_version(&info) {
                self.retire(before).await;
            }
        }
        let object = self.open_object(info).await?;
        object.confirm();
        Ok(object)
    }

    async fn not_found(
        &self,
        error: StoreError,
        before: Option<&Arc<Object>>,
    ) -> Result<Arc<Object>, StoreError> {
        let Some(before) = before else {
            return Err(error);
        };
        let shared = &self.0.shared;
        if error.is_not_found() {
            self.retire(before).await;
        }
        // Whoever is refused may be let in again, and then the file is still good. A wrong clock
        // here says nothing of the object, and nobody refused it.
        if !error.is_transient() && error.kind() != ErrorKind::ClockSkew {
            return Err(error);
        }
        match shared.settings.stale_if_error {
            Some(limit) if before.unconfirmed() <= limit && !before.is_ended() => {
                Counters::add(&shared.counters.stale, 1);
                before.fresh_for(AFTER_FAILURE);
                Ok(Arc::clone(before))
            }
            _ => Err(error),
        }
    }

    /// The store has another version, or none: this one's file leaves the disk.
    async fn retire(&self, object: &Arc<Object>) {
        object.replaced();
        let shared = &self.0.shared;
        Counters::add(&shared.counters.changed, 1);
        let (all, usage) = (Arc::clone(shared), Arc::clone(object.usage()));
        let _ = shared
            .blocking(move || all.catalog.remove(&usage, &all.counters))
            .await;
    }

    async fn open_object(&self, info: ObjectInfo) -> Result<Arc<Object>, StoreError> {
        let shared = &self.0.shared;
        let header = header(shared, &info);
        let name = FileName::of(shared.store.identity(), &header.key, &header.tag);
        let _opening = self.0.opening[name.shard(OPENING)].lock().await;
        if let Some(object) = self.lock().open.get(&name).and_then(Weak::upgrade)
            && !object.is_ended()
            && object.info() == &info
        {
            return Ok(object);
        }
        let usage = shared.catalog.usage(name);
        let mut opened = self.open_files(name, &header, &usage).await?;
        if let Err(error) = &opened
            && StoreError::disk("", error).kind() == ErrorKind::DiskFull
        {
            shared.disk_is_full(&StoreError::disk("the disk of the cache is full", error));
            let (all, theirs) = (Arc::clone(shared), Arc::clone(&usage));
            let bytes = u64::from(shared.settings.block_size);
            let free = move || all.catalog.free_others(bytes, &theirs, &all.counters);
            shared.blocking(free).await?;
            opened = self.open_files(name, &header, &usage).await?;
        }
        let files = opened.map_err(|error| {
            let name = shared.store.name_of(&info.key);
            StoreError::disk(&format!("cannot keep {name} in the cache"), &error)
        })?;
        if files.is_new {
            shared.catalog.reserve(&usage, INDEX_ROOM);
        }
        let object = Object::new(info, files, usage, shared);
        self.lock().open.insert(name, Arc::downgrade(&object));
        Ok(object)
    }

    /// Lets go of a file that was removed.
    fn close(&self, name: FileName) {
        let mut table = self.lock();
        let Some(object) = table.open.remove(&name).and_then(|it| it.upgrade()) else {
            return;
        };
        let entry = table.known.get_mut(object.key());
        let kept = entry.and_then(|entry| {
            let same = |kept: &mut Arc<Object>| Arc::ptr_eq(kept, &object);
            entry.object.take_if(same)
        });
        drop(table);
        drop(kept);
    }

    async fn open_files(
        &self,
        name: FileName,
        header: &Header,
        usage: &Arc<Usage>,
    ) -> Result<io::Result<Files>, StoreError> {
        let shared = &self.0.shared;
        let (all, header, usage) = (Arc::clone(shared), header.clone(), Arc::clone(usage));
        let open = move || files::open(all.catalog.directory(), name, &header, &usage);
        shared.blocking(open).await
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the table says of a key.
enum Known {
    Object(Arc<Object>),
    Absent(StoreError),
    Asking(watch::Receiver<Answer>),
}

impl Table {
    /// Forgets a tenth of the names when there are too many, oldest first. Objects that are in use
    /// stay open until they are not.
    fn make_room(&mut self, limit: usize) {
        if self.known.len() < limit {
            return;
        }
        let idle = self
            .known
            .iter()
            .filter(|(_, entry)| entry.asking.is_none());
        let mut ages: Vec<_> = idle.map(|(key, entry)| (entry.used, key.clone())).collect();
        ages.sort_unstable();
        for (_, key) in ages.into_iter().take(limit / 10 + 1) {
            self.known.remove(&key);
        }
        self.open.retain(|_, object| object.strong_count() > 0);
    }
}

fn header(shared: &Shared, info: &ObjectInfo) -> Header {
    let time = match (&info.etag, info.modified) {
        (None, Some(modified)) => httpdate::fmt_http_date(modified),
        _ => String::new(),
    };
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    Header {
        block_size: shared.settings.block_size,
        len: info.len,
        key: shared.store.full_key(&info.key),
        tag: format!("{} {} {time}", text(&info.etag), text(&info.version)),
    }
}
