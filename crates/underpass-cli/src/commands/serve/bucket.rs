//! A bucket of a store that is served, and the cache of its objects.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use underpass_http::{
    FoundObject, NewObject, Object, ObjectFuture, ObjectPage, Objects, Precondition, StoreError,
};
use underpass_store::{
    Cache, CacheSettings, CacheStats, CachedObjects, ErrorKind, Store, StoreSettings, StoreStats,
};

use crate::args::ServeArgs;
use crate::exit::Failure;
use crate::report;
use crate::server::{self, MetricEncoder};

/// How often a failure of the store is told at most.
const TELL_AGAIN: Duration = Duration::from_secs(10);

/// How a bucket is named on the command line.
const SCHEME: &str = "s3://";

#[derive(Clone)]
pub(super) struct Bucket {
    cache: Cache,
    objects: Arc<ToldObjects>,
    revalidate: Duration,
}

impl Bucket {
    /// Opens the bucket that was named, if it was one. The store is not asked yet.
    pub(super) fn of(args: &ServeArgs) -> Result<Option<Self>, Failure> {
        let named = args.path.to_str().filter(|it| it.starts_with(SCHEME));
        let Some(url) = named else {
            return match args.bucket.given() {
                None => Ok(None),
                Some(option) => Err(Failure::usage(format_args!(
                    "{} is not a bucket: {option} is for s3://BUCKET/PREFIX",
                    args.path.display()
                ))),
            };
        };
        let store = Store::from_url(url, StoreSettings::from_env()).map_err(Failure::usage)?;
        refuse_options(args)?;
        let Some(directory) = &args.bucket.cache else {
            return Err(Failure::usage(format_args!(
                "{url} needs --cache DIR, the directory in which objects are kept on this machine"
            )));
        };
        if directory.exists() && !directory.is_dir() {
            return Err(Failure::failed(format_args!(
                "--cache {}: not a directory",
                directory.display()
            )));
        }
        let settings = settings(args);
        let cache = Cache::open(directory, settings.clone(), store).map_err(Failure::failed)?;
        let objects = Arc::new(ToldObjects {
            objects: CachedObjects::new(cache.clone()),
            failures: Arc::default(),
        });
        let revalidate = settings.revalidate;
        Ok(Some(Self {
            cache,
            objects,
            revalidate,
        }))
    }

    /// For how long a path may lead to the same objects. Their own freshness is looked at for
    /// every request.
    pub(super) fn revalidate(&self) -> Duration {
        self.revalidate
    }

    pub(super) fn failures(&self) -> Arc<StoreFailures> {
        Arc::clone(&self.objects.failures)
    }

    pub(super) fn objects(&self) -> Arc<dyn Objects> {
        Arc::clone(&self.objects) as Arc<dyn Objects>
    }

    /// Asks the store for anything, so that a bucket that cannot be read is told of at the start.
    pub(super) async fn look(self) {
        match self.cache.store().check().await {
            Ok(()) => {}
            // Whoever may not list may still read.
            Err(error) if error.kind() == ErrorKind::Denied => {
                report::notice(format_args!(
                    "{error}; without lists, only objects are served"
                ));
            }
            Err(error) => self.objects.failed(&StoreError::bad(error.to_string())),
        }
    }

    /// Waits until what was fetched is noted on the disk, so that the next start has it.
    pub(super) fn keep(&self) {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        if let Ok(runtime) = runtime {
            runtime.block_on(self.cache.flush());
        }
    }

    pub(super) fn collector(&self) -> Box<dyn Collector> {
        Box::new(CacheCollector(self.cache.clone()))
    }
}

fn settings(args: &ServeArgs) -> CacheSettings {
    let given = &args.bucket;
    let mut settings = CacheSettings::default().on_warning(|line| report::notice(line));
    settings.max_bytes = given.cache_size.unwrap_or(settings.max_bytes);
    settings.max_age = given.cache_max_age;
    settings.open_objects = server::kept_open(args.memory.cache_entries);
    settings.revalidate = given.revalidate.unwrap_or(settings.revalidate);
    settings.stale_if_error = given.stale_if_error;
    settings
}

/// Fails if an option was given that is for directories of a file system.
fn refuse_options(args: &ServeArgs) -> Result<(), Failure> {
    let table = [
        ("--symlinks", args.files.symlinks),
        ("--archive", args.archives.archive),
    ];
    match table.iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((option, _)) => Err(Failure::usage(format_args!(
            "{} is a bucket: {option} needs a directory to serve",
            args.path.display()
        ))),
    }
}

/// Tells failures of the store on standard error, but not each when there are many.
#[derive(Debug, Default)]
pub(super) struct StoreFailures(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    last: Option<Instant>,
    /// Failures since then.
    more: u64,
}

impl StoreFailures {
    pub(super) fn tell(&self, line: impl fmt::Display) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.last.is_some_and(|last| last.elapsed() < TELL_AGAIN) {
            told.more += 1;
            return;
        }
        let more = std::mem::take(&mut told.more);
        told.last = Some(Instant::now());
        drop(told);
        match more {
            0 => report::notice(line),
            more => report::notice(format_args!("{line} ({more} more failures before)")),
        }
    }
}

/// Objects whose failures are told on standard error.
struct ToldObjects {
    objects: Arc<CachedObjects>,
    failures: Arc<StoreFailures>,
}

impl Objects for ToldObjects {
    fn find(&self, name: &str) -> ObjectFuture<Arc<dyn Object>> {
        self.objects.find(name)
    }

    fn find_to_read(&self, name: &str) -> ObjectFuture<FoundObject> {
        self.objects.find_to_read(name)
    }

    fn is_directory(&self, name: &str) -> ObjectFuture<bool> {
        self.objects.is_directory(name)
    }

    fn list(&self, directory: &str, after: Option<&str>) -> ObjectFuture<ObjectPage> {
        self.objects.list(directory, after)
    }

    fn forget(&self, name: &str) {
        self.objects.forget(name);
    }

    fn create(&self, name: &str, precondition: Precondition) -> ObjectFuture<Box<dyn NewObject>> {
        self.objects.create(name, precondition)
    }

    fn failed(&self, error: &StoreError) {
        self.failures.tell(error);
    }
}

/// The counters of a cache, for Prometheus.
struct CacheCollector(Cache);

impl fmt::Debug for CacheCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheCollector").finish_non_exhaustive()
    }
}

impl Collector for CacheCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (stats, client) = (self.0.stats(), self.0.store().stats());
        let mut to = MetricEncoder(encoder);
        let asked = stats.lookups.saturating_sub(stats.fresh + stats.negative);
        to.labelled(
            ("underpass_store_lookups", None),
            "Names that were looked up: known and fresh, known to be absent, or asked of the store",
            "known",
            &[
                ("fresh", stats.fresh),
                ("absent", stats.negative),
                ("asked", asked),
            ],
        )?;
        for (name, help, count) in counters(&stats, &client) {
            to.counter(name, help, count)?;
        }
        for (name, help, level) in gauges(&stats, &client) {
            to.gauge(name, help, level)?;
        }
        Ok(())
    }
}

/// The name, the description and the value of a metric.
type Metric = (&'static str, &'static str, u64);

fn counters(stats: &CacheStats, client: &StoreStats) -> [Metric; 12] {
    [
        (
            "underpass_store_requests",
            "Requests to the store, repeated ones included",
            client.requests,
        ),
        (
            "underpass_store_retries",
            "Of these requests, the ones that were sent again after a failure",
            client.retries,
        ),
        (
            "underpass_store_fills",
            "Blocks fetched from the store",
            stats.fills,
        ),
        (
            "underpass_store_read_ahead",
            "Of these blocks, the ones that nobody had asked for yet",
            stats.read_ahead,
        ),
        (
            "underpass_store_failed_fills",
            "Blocks that could not be fetched",
            stats.failed_fills,
        ),
        (
            "underpass_store_received_bytes",
            "Bytes of bodies that came from the store",
            stats.bytes_from_store,
        ),
        (
            "underpass_store_stale",
            "Objects served unconfirmed because the store did not answer",
            stats.stale,
        ),
        (
            "underpass_store_changed",
            "Objects that were replaced in the store while they were in the cache",
            stats.changed,
        ),
        (
            "underpass_store_damaged",
            "Blocks of an earlier run whose checksum was wrong, and that were fetched again",
            stats.damaged,
        ),
        (
            "underpass_store_evictions",
            "Files removed from the cache",
            stats.evictions,
        ),
        (
            "underpass_store_evicted_bytes",
            "Bytes that they took",
            stats.evicted_bytes,
        ),
        (
            "underpass_store_disk_full",
            "Times that the disk of the cache was full",
            stats.disk_full,
        ),
    ]
}

fn gauges(stats: &CacheStats, client: &StoreStats) -> [Metric; 5] {
    [
        (
            "underpass_store_objects",
            "Objects and absences known now",
            stats.objects,
        ),
        (
            "underpass_store_files",
            "Files in the cache now",
            stats.files,
        ),
        (
            "underpass_store_disk_bytes",
            "Bytes that they take",
            stats.bytes_on_disk,
        ),
        (
            "underpass_store_fetching",
            "Blocks being fetched now",
            stats.fetching,
        ),
        (
            "underpass_store_circuit_open",
            "1 while requests to the store fail at once because too many have failed, otherwise 0",
            client.circuit_open.into(),
        ),
    ]
}
