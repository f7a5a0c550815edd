//! Disks that are full, and directories that cannot be used.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use underpass_store::{Cache, ErrorKind, Object};
use underpass_testing::s3::S3;
use underpass_testing::{bytes, needs};

use crate::support::{BLOCK, cache_settings, open, store};

/// A file system of 16 blocks, in memory.
struct SmallDisk {
    _below: TempDir,
    path: PathBuf,
}

impl SmallDisk {
    fn mount() -> Self {
        let below = tempfile::tempdir().unwrap();
        let path = below.path().join("disk");
        std::fs::create_dir(&path).unwrap();
        let size = format!("size={}", 16 * BLOCK);
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]);
        assert!(mount.arg(&path).status().unwrap().success());
        Self {
            _below: below,
            path,
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: threads of the cache may still have files open.
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

/// Reads an object as a server does whose disk is full now and then.
async fn read_by_and_by(cache: &Cache, key: &str) -> Vec<u8> {
    let mut object = cache.object(key).await.unwrap();
    let (mut content, mut failed) = (Vec::new(), 0);
    while content.len() < object.len() as usize {
        let at = content.len() as u64;
        let wanted = object.want(at, u64::MAX).await;
        match wanted.map_err(|error| error.kind()) {
            Ok(count) => {
                let mut bytes = vec![0; count as usize];
                object.file().read_exact_at(&mut bytes, at).unwrap();
                content.extend_from_slice(&bytes);
            }
            Err(ErrorKind::Evicted) => object = reopen(cache, object).await,
            // Files that left the cache are still being closed.
            Err(ErrorKind::DiskFull) if failed < 60 => {
                failed += 1;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    content
}

#[tokio::test]
async fn on_a_full_disk_other_objects_make_room() {
    if !needs::root() {
        return;
    }
    let (s3, disk, warnings) = (S3::start(), SmallDisk::mount(), Arc::default());
    let cache = open(&disk.path, cache_settings(), store(&s3), &warnings);
    for seed in 0..4 {
        let (key, content) = (format!("{seed}"), bytes(seed, 6 * BLOCK));
        s3.put(&key, content.clone());
        assert!(read_by_and_by(&cache, &key).await == content);
    }
    let stats = cache.stats();
    assert!(stats.disk_full > 0 && stats.evictions > 0, "{stats:?}");
    let warnings = warnings.lock().unwrap();
    assert!(warnings[0].contains("is still served"), "{warnings:?}");
    assert!(warnings.len() < stats.disk_full as usize || stats.disk_full == 1);
}

#[tokio::test]
async fn an_object_larger_than_the_disk_is_read_by_and_by() {
    if !needs::root() {
        return;
    }
    let (s3, disk, warnings) = (S3::start(), SmallDisk::mount(), Arc::default());
    let cache = open(&disk.path, cache_settings(), store(&s3), &warnings);
    let content = bytes(1, 40 * BLOCK);
    s3.put("key", content.clone());
    assert!(
        read_by_and_by(&cache, "key").await == content,
        "never a hole"
    );
    assert!(cache.stats().evictions > 0);
}

async fn reopen(cache: &Cache, object: Arc<Object>) -> Arc<Object> {
    let key = object.key().to_string();
    let mut again = cache.reopen(object).await;
    for _ in 0..60 {
        match again {
            // The old file is still being closed, by those who fetched for it.
            Err(error) if error.kind() == ErrorKind::DiskFull => {
                tokio::time::sleep(Duration::from_secs(1)).await;
                again = cache.object(&key).await;
            }
            other => return other.unwrap(),
        }
    }
    panic!("no room within a minute")
}

#[tokio::test]
async fn a_directory_that_cannot_be_used_is_told() {
    let s3 = S3::start();
    let open = |path: &Path| Cache::open(path, cache_settings(), store(&s3)).unwrap_err();
    let below = tempfile::tempdir().unwrap();
    let file = below.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = open(&file);
    assert_eq!(error.kind(), ErrorKind::Disk);
    let line = error.to_string();
    assert!(
        line.starts_with(&format!("cannot use the cache {}: ", file.display())),
        "{line}"
    );
}
