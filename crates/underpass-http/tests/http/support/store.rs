//! A store of objects in this process, whose bytes arrive when the test says so.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use underpass_http::{
    Object, ObjectEntry, ObjectFuture, ObjectPage, Objects, ServeDir, StoreError,
};

/// The size of the blocks in which bytes arrive.
pub(crate) const BLOCK: usize = 64 << 10;

/// The names on one page of a listing.
const PAGE: usize = 3;

/// Only a test that fails waits this long.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(crate) struct Store(Mutex<State>);

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Arc<Stored>>,
    /// The names that were asked for.
    found: Vec<String>,
    failure: Option<StoreError>,
}

/// What an object was stored with.
#[derive(Clone, Default)]
pub(crate) struct Metadata {
    pub(crate) etag: Option<&'static str>,
    pub(crate) content_type: Option<&'static str>,
    pub(crate) content_encoding: Option<&'static str>,
    pub(crate) cache_control: Option<&'static str>,
    pub(crate) modified: Option<SystemTime>,
}

pub(crate) struct Stored {
    content: Vec<u8>,
    metadata: Metadata,
    /// Holes, and the blocks that have arrived.
    file: File,
    blocks: Mutex<Blocks>,
    changed: Condvar,
    arrived: Notify,
    is_fresh: AtomicBool,
    /// The same version in another file, once it has left this one.
    again: Mutex<Option<Arc<Stored>>>,
}

struct Blocks {
    arrived: Vec<bool>,
    /// Blocks arrive when they are asked for.
    at_once: bool,
    /// The offsets that were asked for.
    wanted: Vec<u64>,
    failure: Option<(io::ErrorKind, Option<StoreError>)>,
}

impl Store {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A store with these objects, whose blocks arrive when they are asked for.
    pub(crate) fn of(objects: &[(&str, &[u8])]) -> Arc<Self> {
        let store = Self::new();
        for (name, content) in objects {
            store.put(name, content, Metadata::default()).arrives();
        }
        store
    }

    pub(crate) fn serve(self: &Arc<Self>) -> ServeDir {
        ServeDir::objects(Arc::clone(self) as Arc<dyn Objects>)
    }

    /// Stores an object, of which nothing has arrived. A version before it is not fresh any more.
    pub(crate) fn put(&self, name: &str, content: &[u8], metadata: Metadata) -> Arc<Stored> {
        let stored = Arc::new(Stored::new(content, metadata));
        let before = self
            .state()
            .objects
            .insert(name.into(), Arc::clone(&stored));
        if let Some(before) = before {
            before.is_fresh.store(false, Ordering::SeqCst);
        }
        stored
    }

    /// From now on it answers nothing but this.
    pub(crate) fn fails(&self, failure: StoreError) {
        self.state().failure = Some(failure);
    }

    /// The names that were asked for since this was called last.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.state().found)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn page(&self, directory: &str, after: Option<&str>) -> io::Result<ObjectPage> {
        let state = self.state();
        if let Some(failure) = &state.failure {
            return Err(failure.clone().into());
        }
        let prefix = match directory {
            "" => String::new(),
            name => format!("{name}/"),
        };
        let mut entries = BTreeMap::new();
        for (name, stored) in &state.objects {
            let Some(rest) = name.strip_prefix(&prefix) else {
                continue;
            };
            let entry = match rest.split_once('/') {
                Some((first, _)) => ObjectEntry::directory(first),
                None => ObjectEntry::object(rest, stored.len(), stored.metadata.modified),
            };
            entries.insert(entry.name.clone(), entry);
        }
        let mut left = entries.into_values();
        let after = after.unwrap_or_default();
        let rest = left.by_ref().skip_while(|it| *it.name <= *after);
        let page: Vec<_> = rest.take(PAGE + 1).collect();
        let next = (page.len() > PAGE).then(|| page[PAGE - 1].name.clone());
        let shown = page.into_iter().take(PAGE).collect();
        Ok(ObjectPage::new(shown).next(next))
    }
}

impl Objects for Store {
    fn find(&self, name: &str) -> ObjectFuture<Arc<dyn Object>> {
        let mut state = self.state();
        state.found.push(name.to_owned());
        let found = match (&state.failure, state.objects.get(name)) {
            (Some(failure), _) => Err(failure.clone().into()),
            (None, Some(object)) => Ok(Arc::clone(object) as Arc<dyn Object>),
            (None, None) => Err(io::ErrorKind::NotFound.into()),
        };
        Box::pin(async {
            // Others get a turn meanwhile.
            tokio::task::yield_now().await;
            found
        })
    }

    fn is_directory(&self, name: &str) -> ObjectFuture<bool> {
        let page = self.page(name, None);
        Box::pin(async { Ok(!page?.entries.is_empty()) })
    }

    fn list(&self, directory: &str, after: Option<&str>) -> ObjectFuture<ObjectPage> {
        let page = self.page(directory, after);
        Box::pin(async { page })
    }
}

impl Stored {
    fn new(content: &[u8], metadata: Metadata) -> Self {
        let file = tempfile::tempfile().unwrap();
        file.set_len(content.len() as u64).unwrap();
        Self {
            content: content.to_vec(),
            metadata,
            file,
            blocks: Mutex::new(Blocks {
                arrived: vec![false; content.len().div_ceil(BLOCK)],
                at_once: false,
                wanted: Vec::new(),
                failure: None,
            }),
            changed: Condvar::new(),
            arrived: Notify::new(),
            is_fresh: AtomicBool::new(true),
            again: Mutex::default(),
        }
    }

    /// From now on blocks arrive when they are asked for.
    pub(crate) fn arrives(self: Arc<Self>) -> Arc<Self> {
        self.blocks().at_once = true;
        self
    }

    /// A block arrives.
    pub(crate) fn arrive(&self, block: usize) {
        self.write(&mut self.blocks(), block);
        self.arrived.notify_waiters();
    }

    fn write(&self, blocks: &mut Blocks, block: usize) {
        let range = block * BLOCK..self.content.len().min((block + 1) * BLOCK);
        self.file
            .write_all_at(&self.content[range.clone()], range.start as u64)
            .unwrap();
        blocks.arrived[block] = true;
    }

    /// No other block will arrive: there is another version, or the store does not answer.
    pub(crate) fn breaks(&self, failure: Option<StoreError>) {
        let kind = io::ErrorKind::InvalidData;
        self.blocks().failure = Some((kind, failure));
        self.arrived.notify_waiters();
    }

    /// No other block will arrive in this file: it has lost its name, and the object goes on in
    /// another one.
    pub(crate) fn leaves(&self, again: &Arc<Self>) {
        *self.again.lock().unwrap() = Some(Arc::clone(again));
        self.is_fresh.store(false, Ordering::SeqCst);
        let kind = io::ErrorKind::StaleNetworkFileHandle;
        self.blocks().failure = Some((kind, None));
        self.arrived.notify_waiters();
    }

    /// Waits until a byte of this block was asked for.
    #[track_caller]
    pub(crate) fn await_wanted(&self, block: usize) {
        let is_wanted = |at: &u64| *at as usize / BLOCK == block;
        let blocks = self.blocks();
        let waiting = self
            .changed
            .wait_timeout_while(blocks, PATIENCE, |it| !it.wanted.iter().any(is_wanted));
        let is_late = waiting.unwrap().1.timed_out();
        assert!(!is_late, "block {block} is not asked for");
    }

    /// The blocks that have arrived.
    pub(crate) fn present_blocks(&self) -> Vec<usize> {
        let blocks = self.blocks();
        let numbered = blocks.arrived.iter().enumerate();
        numbered.filter_map(|(at, is)| is.then_some(at)).collect()
    }

    fn blocks(&self) -> std::sync::MutexGuard<'_, Blocks> {
        self.blocks.lock().unwrap()
    }

    fn outcome(&self, offset: u64) -> Option<io::Result<()>> {
        let mut blocks = self.blocks();
        let block = offset as usize / BLOCK;
        if blocks.at_once && blocks.failure.is_none() {
            self.write(&mut blocks, block);
        }
        if blocks.arrived[block] {
            return Some(Ok(()));
        }
        let failure = blocks.failure.clone()?;
        Some(Err(match failure {
            (_, Some(error)) => error.into(),
            (kind, None) => io::Error::new(kind, "there is another version"),
        }))
    }
}

impl Object for Stored {
    fn file(&self) -> &File {
        &self.file
    }

    fn len(&self) -> u64 {
        self.content.len() as u64
    }

    fn is_fresh(&self) -> bool {
        self.is_fresh.load(Ordering::SeqCst)
    }

    fn present(&self, offset: u64, max: u64) -> u64 {
        let blocks = self.blocks();
        let first = offset as usize / BLOCK;
        let whole = blocks.arrived[first..].iter().take_while(|it| **it).count();
        let end = ((first + whole) * BLOCK).min(self.content.len()) as u64;
        end.saturating_sub(offset).min(max)
    }

    fn want(self: Arc<Self>, offset: u64, len: u64) -> ObjectFuture<()> {
        assert!(len > 0 && offset + len <= self.content.len() as u64);
        self.blocks().wanted.push(offset);
        self.changed.notify_all();
        Box::pin(async move {
            loop {
                let arrived = self.arrived.notified();
                if let Some(outcome) = self.outcome(offset) {
                    return outcome;
                }
                arrived.await;
            }
        })
    }

    fn reopen(self: Arc<Self>, offset: u64) -> ObjectFuture<Arc<dyn Object>> {
        let again = self.again.lock().unwrap().clone().expect("it has not left");
        drop(self);
        Box::pin(async move {
            Arc::clone(&again).want(offset, 1).await?;
            Ok(again as Arc<dyn Object>)
        })
    }

    fn has_left(&self) -> bool {
        self.again.lock().unwrap().is_some()
    }

    fn etag(&self) -> Option<&str> {
        self.metadata.etag
    }

    fn modified(&self) -> Option<SystemTime> {
        self.metadata.modified
    }

    fn content_type(&self) -> Option<&str> {
        self.metadata.content_type
    }

    fn content_encoding(&self) -> Option<&str> {
        self.metadata.content_encoding
    }

    fn cache_control(&self) -> Option<&str> {
        self.metadata.cache_control
    }
}
