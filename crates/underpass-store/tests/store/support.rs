//! A store, a cache of it, and reading through the cache.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use underpass_store::{Cache, CacheSettings, Object, Store, StoreError, StoreSettings};
use underpass_testing::s3::{BUCKET, S3};

/// The smallest that there is.
pub(crate) const BLOCK: usize = 64 << 10;

/// A store that misbehaves on command, and a cache of it.
pub(crate) struct Setup {
    pub(crate) s3: S3,
    pub(crate) cache: Cache,
    pub(crate) directory: TempDir,
    pub(crate) warnings: Arc<Mutex<Vec<String>>>,
}

/// Nothing waits for long, and nothing fails because the machine is busy.
pub(crate) fn store_settings(s3: &S3) -> StoreSettings {
    let mut settings = StoreSettings::default();
    for (name, value) in s3.environment() {
        settings = settings.option(name, &value);
    }
    settings.retry.first_wait = Duration::from_millis(1);
    settings.retry.longest_wait = Duration::from_millis(5);
    settings.retry.attempts = 3;
    settings.circuit.failures = 0;
    settings.timeouts.connect = Duration::from_secs(60);
    settings.timeouts.answer = Duration::from_secs(60);
    settings.timeouts.idle = Duration::from_secs(60);
    settings.timeouts.request = Duration::from_secs(60);
    settings
}

pub(crate) fn store(s3: &S3) -> Store {
    Store::from_url(&format!("s3://{BUCKET}"), store_settings(s3)).unwrap()
}

pub(crate) fn cache_settings() -> CacheSettings {
    let mut settings = CacheSettings::default();
    settings.block_size = BLOCK as u32;
    settings.revalidate = Duration::from_secs(3600);
    settings.negative = Duration::from_secs(3600);
    settings
}

impl Setup {
    pub(crate) fn new() -> Self {
        Self::with(|_| {}, |_| {})
    }

    pub(crate) fn with(
        change_store: impl FnOnce(&mut StoreSettings),
        change_cache: impl FnOnce(&mut CacheSettings),
    ) -> Self {
        let s3 = S3::start();
        let mut settings = store_settings(&s3);
        change_store(&mut settings);
        let store = Store::from_url(&format!("s3://{BUCKET}"), settings).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let warnings = Arc::default();
        let mut settings = cache_settings();
        change_cache(&mut settings);
        let cache = open(directory.path(), settings, store, &warnings);
        Self {
            s3,
            cache,
            directory,
            warnings,
        }
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        self.warnings.lock().unwrap().clone()
    }
}

pub(crate) fn open(
    directory: &Path,
    settings: CacheSettings,
    store: Store,
    warnings: &Arc<Mutex<Vec<String>>>,
) -> Cache {
    let lines = Arc::clone(warnings);
    let settings = settings.on_warning(move |line| lines.lock().unwrap().push(line.into()));
    Cache::open(directory, settings, store).unwrap()
}

/// Reads a range as a server would: what is present, from the file.
pub(crate) async fn read(object: &Object, offset: u64, len: u64) -> Result<Vec<u8>, StoreError> {
    let mut content = Vec::new();
    let end = object.len().min(offset + len);
    let mut at = offset;
    while at < end {
        let count = object.want(at, end - at).await?;
        assert!(count > 0 && count <= object.present(at, end - at));
        let mut bytes = vec![0; count as usize];
        object.file().read_exact_at(&mut bytes, at).unwrap();
        content.extend_from_slice(&bytes);
        at += count;
    }
    Ok(content)
}

pub(crate) async fn read_all(object: &Object) -> Result<Vec<u8>, StoreError> {
    read(object, 0, object.len()).await
}

/// Waits for what takes a moment, a minute at most.
pub(crate) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within a minute: {what}");
}
