//! How a cache behaves.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How a cache behaves. The default is a cache of 10 GiB.
#[derive(Clone)]
#[non_exhaustive]
pub struct CacheSettings {
    /// As many bytes have a checksum of their own, and are kept or fetched as one. From 64 KiB to
    /// 64 MiB; 4 MiB by default. A file that was made with another size is fetched again. Bytes
    /// are sent as they arrive, and one request fetches up to 16 MiB for whoever reads in order.
    pub block_size: u32,
    /// As many bytes of the disk are used. What was used least recently leaves first.
    pub max_bytes: u64,
    /// What nobody used for so long leaves the disk, whether there is room or not.
    pub max_age: Option<Duration>,
    /// The store is asked about an object again no sooner than this after its last answer.
    pub revalidate: Duration,
    /// For so long, an object that the store did not have is not asked for again.
    pub negative: Duration,
    /// If the store cannot be asked, an object is given out that it last confirmed no longer ago
    /// than this. `None` gives out an error instead.
    pub stale_if_error: Option<Duration>,
    /// As many objects are kept open, each with a descriptor, and as many absences are remembered.
    pub open_objects: usize,
    /// As many requests fetch blocks at a time. Read-ahead uses at most half of them.
    pub fetches: usize,
    pub(crate) warn: Warn,
}

/// Where lines go that a user should read.
#[derive(Clone)]
pub(crate) struct Warn(Arc<dyn Fn(&str) + Send + Sync>);

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            block_size: 4 << 20,
            max_bytes: 10 << 30,
            max_age: None,
            revalidate: Duration::from_secs(10),
            negative: Duration::from_secs(2),
            stale_if_error: None,
            open_objects: open_objects(),
            fetches: 32,
            warn: Warn(Arc::new(|line| eprintln!("{line}"))),
        }
    }
}

impl CacheSettings {
    /// Has lines that a user should read go elsewhere than to standard error: that the directory is
    /// used by another process, that its disk is full, that it is damaged. Each is told once while
    /// it lasts.
    #[must_use]
    pub fn on_warning(mut self, warn: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.warn = Warn(Arc::new(warn));
        self
    }

    /// Within its limits.
    pub(crate) fn clamped(mut self) -> Self {
        self.block_size = self.block_size.clamp(64 << 10, 64 << 20);
        self.open_objects = self.open_objects.max(1);
        self.fetches = self.fetches.max(2);
        self
    }
}

impl Warn {
    pub(crate) fn tell(&self, line: &str) {
        (self.0)(line);
    }
}

impl fmt::Debug for CacheSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheSettings")
            .field("block_size", &self.block_size)
            .field("max_bytes", &self.max_bytes)
            .field("max_age", &self.max_age)
            .field("revalidate", &self.revalidate)
            .field("negative", &self.negative)
            .field("stale_if_error", &self.stale_if_error)
            .field("open_objects", &self.open_objects)
            .field("fetches", &self.fetches)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Warn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Warn")
    }
}

/// A quarter of the descriptors that this process may have: the others are for connections.
fn open_objects() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let limit = limit.current.unwrap_or(u64::MAX) / 4;
    limit.clamp(16, 16_384) as usize
}
