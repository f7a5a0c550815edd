//! What survives the process, and what does not.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;
use underpass_store::{Cache, CacheSettings, Store, StoreSettings};
use underpass_testing::bytes;
use underpass_testing::s3::S3;

use crate::support::{BLOCK, Setup, cache_settings, eventually, open, read_all, store};

/// Waits until nobody uses a cache directory any more: threads of a cache that was dropped end a
/// moment later.
async fn unused(directory: &Path) {
    let lock = directory.join("underpass-0/lock");
    eventually("the directory is not used", || {
        File::open(&lock)
            .is_ok_and(|lock| flock(&lock, FlockOperation::NonBlockingLockShared).is_ok())
    })
    .await;
}

/// What is left of a setup whose cache was closed and opened again.
pub(crate) struct Again {
    pub(crate) s3: S3,
    pub(crate) cache: Cache,
    _directory: TempDir,
    warnings: Arc<Mutex<Vec<String>>>,
}

pub(crate) async fn again(setup: Setup, settings: CacheSettings) -> Again {
    setup.cache.flush().await;
    let Setup {
        s3,
        cache,
        directory,
        warnings,
    } = setup;
    drop(cache);
    unused(directory.path()).await;
    let cache = open(directory.path(), settings, store(&s3), &warnings);
    Again {
        s3,
        cache,
        _directory: directory,
        warnings,
    }
}

#[tokio::test]
async fn what_was_fetched_is_verified_and_not_fetched_again() {
    let setup = Setup::new();
    let content = bytes(1, 3 * BLOCK);
    setup.s3.put("key", content.clone());
    let object = setup.cache.object("key").await.unwrap();
    object.want(0, 1).await.unwrap();
    // The first block, and one that is read ahead.
    eventually("two blocks are fetched", || setup.cache.stats().fills == 2).await;
    drop(object);
    let again = again(setup, cache_settings()).await;
    let object = again.cache.object("key").await.unwrap();
    assert_eq!(
        object.present(0, 1),
        0,
        "nothing is sent before it is verified"
    );
    assert!(read_all(&object).await.unwrap() == content);
    let stats = again.cache.stats();
    assert_eq!((stats.verified, stats.damaged, stats.fills), (2, 0, 1));
    let gets = again.s3.count("GET", "key");
    assert_eq!(gets, 2, "the first two blocks, then the third");
    assert_eq!(again.warnings.lock().unwrap().len(), 0);
}

const OBJECTS: u64 = 6;

/// Reads what children that were killed had claimed, and everything else.
#[tokio::test]
async fn pitfall_55_a_process_that_is_killed_leaves_no_claim_of_what_is_not_there() {
    let s3 = S3::start();
    let directory = tempfile::tempdir().unwrap();
    let (mut verified, warnings) = (0, Arc::default());
    for round in 0..12 {
        let content = |number| bytes(round * OBJECTS + number, 9 * BLOCK + number as usize);
        for number in 0..OBJECTS {
            s3.put(&format!("{round}/{number}"), content(number));
        }
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "crashes::child_of_the_crash_test"]);
        child.env("STORE_TEST_CACHE", directory.path());
        child.env("STORE_TEST_ENDPOINT", s3.endpoint());
        child.env("STORE_TEST_PREFIX", format!("{round}"));
        // Some are killed when they have hardly begun, and some after everything is there.
        let enough = s3.requests().len() + round as usize * 6 + 1;
        let mut child = child.stdout(Stdio::null()).spawn().unwrap();
        eventually("the child has asked for enough, or is done", || {
            s3.requests().len() >= enough || child.try_wait().unwrap().is_some()
        })
        .await;
        child.kill().unwrap();
        child.wait().unwrap();

        let cache = open(directory.path(), cache_settings(), store(&s3), &warnings);
        for number in 0..OBJECTS {
            let object = cache.object(&format!("{round}/{number}")).await.unwrap();
            assert!(read_all(&object).await.unwrap() == content(number));
        }
        let stats = cache.stats();
        assert_eq!(stats.damaged, 0, "a claim of what is not there");
        verified += stats.verified;
        drop(cache);
        unused(directory.path()).await;
    }
    assert!(verified > 0, "nothing survived");
    assert_eq!(*warnings.lock().unwrap(), [""; 0]);
}

/// Not a test by itself: reads all objects through a cache until it is killed.
#[tokio::test]
async fn child_of_the_crash_test() {
    let Ok(directory) = std::env::var("STORE_TEST_CACHE") else {
        return;
    };
    let [endpoint, prefix] =
        ["STORE_TEST_ENDPOINT", "STORE_TEST_PREFIX"].map(|name| std::env::var(name).unwrap());
    let settings = StoreSettings::default().option("endpoint", &endpoint);
    let store = Store::from_url("s3://bucket", settings).unwrap();
    let cache = Cache::open(directory.as_ref(), cache_settings(), store).unwrap();
    for number in 0..OBJECTS {
        let object = cache.object(&format!("{prefix}/{number}")).await.unwrap();
        read_all(&object).await.unwrap();
    }
    cache.flush().await;
}

#[tokio::test]
async fn pitfall_55_a_hole_that_is_claimed_is_not_sent() {
    let setup = Setup::new();
    let content = bytes(1, 4 * BLOCK);
    setup.s3.put("key", content.clone());
    let object = setup.cache.object("key").await.unwrap();
    read_all(&object).await.unwrap();
    // As a disk would lose it: zeros, and the right length.
    let file = object.file();
    file.write_all_at(&vec![0; BLOCK], 2 * BLOCK as u64)
        .unwrap();
    drop(object);
    let again = again(setup, cache_settings()).await;
    let object = again.cache.object("key").await.unwrap();
    assert!(read_all(&object).await.unwrap() == content);
    let stats = again.cache.stats();
    assert_eq!((stats.verified, stats.damaged, stats.fills), (3, 1, 1));
    let warnings = again.warnings.lock().unwrap();
    assert!(
        warnings[0].contains("block 2 of s3://bucket/key is damaged"),
        "{warnings:?}"
    );
}

#[tokio::test]
async fn pitfall_55_an_index_that_is_torn_claims_less() {
    let setup = Setup::new();
    let content = bytes(1, 4 * BLOCK);
    setup.s3.put("key", content.clone());
    let object = setup.cache.object("key").await.unwrap();
    read_all(&object).await.unwrap();
    drop(object);
    setup.cache.flush().await;
    let files = files(setup.directory.path());
    let is_index = |it: &PathBuf| it.extension().is_some_and(|it| it == "index");
    let index = files.into_iter().find(is_index).unwrap();
    let length = || std::fs::metadata(&index).unwrap().len();
    let whole = length();
    let torn = OpenOptions::new().write(true).open(&index).unwrap();
    torn.set_len(whole - 1).unwrap();
    let again = again(setup, cache_settings()).await;
    let object = again.cache.object("key").await.unwrap();
    assert!(read_all(&object).await.unwrap() == content);
    let stats = again.cache.stats();
    assert_eq!((stats.verified, stats.fills), (3, 1));
    again.cache.flush().await;
    assert_eq!(length(), whole, "claimed again, and nothing else");
}

fn files(below: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(below).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let below = |path: PathBuf| {
        if path.is_dir() {
            files(&path)
        } else {
            vec![path]
        }
    };
    paths.flat_map(below).collect()
}

#[tokio::test]
async fn what_survives_is_removed_when_it_is_too_old() {
    let setup = Setup::new();
    setup.s3.put("key", bytes(1, 2 * BLOCK));
    let object = setup.cache.object("key").await.unwrap();
    read_all(&object).await.unwrap();
    drop(object);
    let on_disk = setup.cache.stats().bytes_on_disk;
    assert!(on_disk >= 2 * BLOCK as u64);
    let mut settings = cache_settings();
    settings.max_age = Some(Duration::ZERO);
    let again = again(setup, settings).await;
    eventually("what is old is gone", || again.cache.stats().files == 0).await;
    assert_eq!(again.cache.stats().bytes_on_disk, 0);
    assert_eq!(again.cache.stats().evictions, 1);
}

#[tokio::test]
async fn what_survives_counts_as_room_that_is_taken() {
    let setup = Setup::new();
    setup.s3.put("old", bytes(1, 6 * BLOCK));
    setup.s3.put("new", bytes(2, 6 * BLOCK));
    let object = setup.cache.object("old").await.unwrap();
    read_all(&object).await.unwrap();
    drop(object);
    let mut settings = cache_settings();
    settings.max_bytes = 10 * BLOCK as u64;
    let again = again(setup, settings).await;
    let object = again.cache.object("new").await.unwrap();
    read_all(&object).await.unwrap();
    let stats = again.cache.stats();
    assert_eq!((stats.evictions, stats.files), (1, 1));
    assert!(stats.bytes_on_disk <= 10 * BLOCK as u64);
}
