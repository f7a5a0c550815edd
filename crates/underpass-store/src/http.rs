//! The objects of a cache, for `underpass_http::ServeDir`.

mod upload;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use underpass_http::{
    FoundObject, NewObject, ObjectEntry, ObjectFuture, ObjectPage, Objects, Precondition,
};

use crate::cache::AFTER_FAILURE;
use crate::{Cache, ErrorKind, ListEntry, Object, ObjectInfo, StoreError};

/// For how long it is remembered whether there is something below a name.
const REMEMBERED: Duration = Duration::from_secs(2);

/// As long as a response waits for room on a full disk, to go on in a new file.
const PATIENCE: Duration = Duration::from_secs(30);

/// Of so many names at most.
const NAMES: usize = 10_000;

/// The objects of a cache, as a server wants them.
///
/// ```no_run
/// use underpass_http::ServeDir;
/// use underpass_store::{Cache, CacheSettings, CachedObjects, Store, StoreSettings};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Store::from_url("s3://photos/2026", StoreSettings::from_env())?;
/// let cache = Cache::open("/var/cache/photos".as_ref(), CacheSettings::default(), store)?;
/// let photos = ServeDir::objects(CachedObjects::new(cache)).listing(true);
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
/// underpass_http::serve_dir(listener, photos).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct CachedObjects {
    cache: Cache,
    directories: Arc<Mutex<HashMap<String, (Instant, bool)>>>,
}

impl CachedObjects {
    /// The objects of `cache`.
    pub fn new(cache: Cache) -> Arc<Self> {
        Arc::new(Self {
            cache,
            directories: Arc::default(),
        })
    }

    fn directories(&self) -> MutexGuard<'_, HashMap<String, (Instant, bool)>> {
        let directories = self.directories.lock();
        directories.unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, name: &str) -> Option<bool> {
        let directories = self.directories();
        let (at, is_there) = directories.get(name)?;
        (at.elapsed() < REMEMBERED).then_some(*is_there)
    }

    fn remember(&self, name: String, is_there: bool) {
        let mut directories = self.directories();
        if directories.len() >= NAMES {
            directories.retain(|_, (at, _)| at.elapsed() < REMEMBERED);
        }
        // Somebody asks for many names that are not there: what was known is not worth the memory.
        if directories.len() >= NAMES {
            directories.clear();
        }
        directories.insert(name, (Instant::now(), is_there));
    }
}

impl Objects for CachedObjects {
    fn find(&self, name: &str) -> ObjectFuture<Arc<dyn underpass_http::Object>> {
        let (cache, name) = (self.cache.clone(), name.to_owned());
        Box::pin(async move {
            let found = cache.object(&name).await;
            let object = found.map_err(|error| io_error(&error))?;
            Ok(object as Arc<dyn underpass_http::Object>)
        })
    }

    fn find_to_read(&self, name: &str) -> ObjectFuture<FoundObject> {
        let (cache, name) = (self.cache.clone(), name.to_owned());
        Box::pin(async move {
            let found = cache.find(&name, true).await;
            let found = found.map_err(|error| io_error(&error))?;
            Ok(FoundObject::new(found.object).fetched(found.is_begun))
        })
    }

    fn is_directory(&self, name: &str) -> ObjectFuture<bool> {
        let (this, name) = (self.clone(), name.to_owned());
        Box::pin(async move {
            if let Some(is_there) = this.known(&name) {
                return Ok(is_there);
            }
            let listed = this.cache.store().any_below(&format!("{name}/")).await;
            let is_there = match listed {
                Ok(is_there) => is_there,
                // Whoever may not list has no directories, and what is not there is not there.
                Err(error) if error.kind() == ErrorKind::Denied => false,
                Err(error) => return Err(io_error(&error)),
            };
            this.remember(name, is_there);
            Ok(is_there)
        })
    }

    fn forget(&self, name: &str) {
        self.cache.forget(name);
        let mut directories = self.directories();
        for (at, _) in name.match_indices('/') {
            directories.remove(&name[..at]);
        }
    }

    fn create(&self, name: &str, precondition: Precondition) -> ObjectFuture<Box<dyn NewObject>> {
        let begun = upload::begin(self.cache.store(), name, precondition);
        Box::pin(async { begun })
    }

    fn list(&self, directory: &str, after: Option<&str>) -> ObjectFuture<ObjectPage> {
        let directory = match directory {
            "" => String::new(),
            name => format!("{name}/"),
        };
        let (cache, after) = (self.cache.clone(), after.map(str::to_owned));
        Box::pin(async move {
            let listed = cache.store().list(&directory, after.as_deref()).await;
            let page = listed.map_err(|error| io_error(&error))?;
            let entries = page.entries.into_iter().map(entry).collect();
            Ok(ObjectPage::new(entries).next(page.next))
        })
    }
}

fn entry(listed: ListEntry) -> ObjectEntry {
    match listed {
        ListEntry::Directory { name } => ObjectEntry::directory(name),
        ListEntry::Object {
            name,
            len,
            modified,
            ..
        } => ObjectEntry::object(name, len, Some(modified)),
    }
}

impl underpass_http::Object for Object {
    fn file(&self) -> &File {
        self.file()
    }

    fn len(&self) -> u64 {
        self.len()
    }

    fn is_fresh(&self) -> bool {
        // It is asked for every request, also for those that need nothing else of the cache.
        self.touch();
        self.is_fresh()
    }

    fn present(&self, offset: u64, max: u64) -> u64 {
        self.present(offset, max)
    }

    fn want(self: Arc<Self>, offset: u64, len: u64) -> ObjectFuture<()> {
        Box::pin(async move {
            let wanted = Self::want(&self, offset, len).await;
            wanted.map(drop).map_err(|error| io_error(&error))
        })
    }

    fn reopen(self: Arc<Self>, offset: u64) -> ObjectFuture<Arc<dyn underpass_http::Object>> {
        let (cache, before) = (self.cache(), self.info().clone());
        drop(self);
        Box::pin(async move {
            let stopped = || underpass_http::StoreError::unavailable("the cache was stopped");
            let moved = go_on(&cache.ok_or_else(stopped)?, &before, offset).await;
            let object = moved.map_err(|error| io_error(&error))?;
            Ok(object as Arc<dyn underpass_http::Object>)
        })
    }

    fn has_left(&self) -> bool {
        self.usage().is_evicted()
    }

    fn etag(&self) -> Option<&str> {
        self.etag()
    }

    fn modified(&self) -> Option<SystemTime> {
        self.modified()
    }

    fn content_type(&self) -> Option<&str> {
        self.content_type()
    }

    fn content_encoding(&self) -> Option<&str> {
        self.content_encoding()
    }

    fn cache_control(&self) -> Option<&str> {
        self.cache_control()
    }
}

/// The same version in a new file, in which the byte at `offset` is present. On a full disk it
/// waits for the old file's room, which is free when what was handed out of it has been sent.
async fn go_on(cache: &Cache, before: &ObjectInfo, offset: u64) -> Result<Arc<Object>, StoreError> {
    let until = Instant::now() + PATIENCE;
    loop {
        let object = cache.same_version(before).await;
        let wanted = match &object {
            Ok(object) => object.want(offset, 1).await.map(drop),
            Err(error) => Err(error.clone()),
        };
        let is_late = Instant::now() >= until;
        match wanted.map_err(|error| (error.kind(), error)) {
            Ok(()) => return object,
            // It left again, before it was asked for anything.
            Err((ErrorKind::Evicted, _)) if !is_late => {}
            Err((ErrorKind::DiskFull, _)) if !is_late => {
                // Not held meanwhile: it may have room, too.
                drop(object);
                tokio::time::sleep(AFTER_FAILURE).await;
            }
            Err((_, error)) => return Err(error),
        }
    }
}

/// The error as a server sees it: it says what clients are answered.
fn io_error(error: &StoreError) -> io::Error {
    let reason = error.to_string();
    let error = match error.kind() {
        // No object can have such a name.
        ErrorKind::NotFound | ErrorKind::Invalid => {
            return io::Error::new(io::ErrorKind::NotFound, reason);
        }
        ErrorKind::Changed | ErrorKind::Precondition => {
            return io::Error::new(io::ErrorKind::InvalidData, reason);
        }
        // The store has such names, but nobody here may read them: 403.
        ErrorKind::Denied => return rustix::io::Errno::ACCESS.into(),
        ErrorKind::Evicted => {
            return io::Error::new(io::ErrorKind::StaleNetworkFileHandle, reason);
        }
        ErrorKind::TimedOut => underpass_http::StoreError::timed_out(reason),
        ErrorKind::Throttled | ErrorKind::CircuitOpen | ErrorKind::DiskFull | ErrorKind::Disk => {
            let wait = error.retry_after().unwrap_or(Duration::from_secs(1));
            underpass_http::StoreError::unavailable(reason).retry_after(wait)
        }
        _ => underpass_http::StoreError::bad(reason),
    };
    error.into()
}
