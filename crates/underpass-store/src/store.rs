//! The client of an S3-compatible store.

mod circuit;
mod client;
mod direct;
mod exchange;
mod list;
mod page;
mod patience;
mod read;
mod retry;
mod settings;
mod upload;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Instant, SystemTime};

use http::header::{HeaderName, HeaderValue};
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::{Attribute, Attributes, GetOptions, ObjectMeta, ObjectStore};
use tokio::runtime::{Handle, Runtime};

pub use circuit::CircuitSettings;
pub(crate) use direct::Body;
pub use list::{ListEntry, ListPage};
pub use patience::Timeouts;
pub(crate) use read::{Begun, Sink};
pub use retry::Retry;
pub use settings::StoreSettings;
pub use upload::{Condition, PutSettings, Stored, Upload};

use crate::error::{ErrorKind, StoreError};
use circuit::Circuit;
use exchange::{CURRENT, Exchange};

/// A bucket, or what is below a prefix of it, in any store that speaks S3.
///
/// Clones are of the same store, and share connections, the circuit breaker and the runtime that
/// does the work. That runtime belongs to the store: a request goes on whatever becomes of the
/// runtime that asks.
///
/// Keys are relative to the prefix: in `s3://photos/2026`, the key `may/a.jpg` is the object
/// `2026/may/a.jpg` of the bucket `photos`. A key that has an empty part, `.` or `..` as a part,
/// control characters, or more than 1024 bytes is refused as [`ErrorKind::Invalid`], and is not in
/// lists.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    /// `s3://bucket/prefix/`
    name: String,
    /// The endpoint too: what tells two stores apart.
    identity: String,
    prefix: String,
    reader: AmazonS3,
    writer: AmazonS3,
    settings: StoreSettings,
    circuit: Circuit,
    requests: AtomicU64,
    retries: AtomicU64,
    runtime: Workers,
}

/// What the store says of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectInfo {
    /// Relative to the store's prefix.
    pub key: String,
    /// In bytes.
    pub len: u64,
    /// With its quotes, as in the field `ETag`.
    pub etag: Option<String>,
    /// If the bucket keeps versions.
    pub version: Option<String>,
    /// In whole seconds.
    pub modified: Option<SystemTime>,
    /// `Content-Type`
    pub content_type: Option<String>,
    /// `Cache-Control`
    pub cache_control: Option<String>,
    /// `Content-Encoding`
    pub content_encoding: Option<String>,
    /// `Content-Disposition`
    pub content_disposition: Option<String>,
    /// `Content-Language`
    pub content_language: Option<String>,
    /// What follows `x-amz-meta-`, and its value, ordered by name.
    pub metadata: Vec<(String, String)>,
}

/// How many requests a store got from here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStats {
    /// Requests, repeated ones included. Those that the client repeats itself while it uploads are
    /// not counted.
    pub requests: u64,
    /// Requests that were repeated.
    pub retries: u64,
    /// Whether requests fail at once, because too many failed before.
    pub circuit_open: bool,
}

impl Store {
    /// The store of a URL, `s3://BUCKET/PREFIX`. Nothing is sent yet; [`check`](Self::check) does.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`]: the URL or a setting is not valid.
    ///
    /// ```
    /// use underpass_store::{Store, StoreSettings};
    ///
    /// let settings = StoreSettings::default().option("endpoint", "http://127.0.0.1:8333");
    /// let store = Store::from_url("s3://photos/2026", settings)?;
    /// assert_eq!(store.to_string(), "s3://photos/2026/");
    /// # Ok::<(), underpass_store::StoreError>(())
    /// ```
    pub fn from_url(url: &str, settings: StoreSettings) -> Result<Self, StoreError> {
        let (bucket, prefix) = settings::parse_url(url)?;
        let runtime = Workers::start(settings.workers)?;
        let (reader, writer, endpoint) = settings.clients(&bucket, runtime.handle())?;
        let circuit = Circuit::new(settings.circuit.clone());
        Ok(Self(Arc::new(Inner {
            name: format!("s3://{bucket}/{prefix}"),
            identity: format!("{endpoint} {bucket}"),
            prefix,
            reader,
            writer,
            settings,
            circuit,
            requests: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            runtime,
        })))
    }

    /// Asks the store for one name, and so learns whether the bucket is there and the credentials
    /// are good.
    ///
    /// # Errors
    ///
    /// What the store said. [`ErrorKind::Denied`] can mean that the credentials may read objects
    /// but not list them.
    pub async fn check(&self) -> Result<(), StoreError> {
        self.any_below("").await.map(drop)
    }

    /// What the store says of an object.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`], or why the store could not be asked.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the request.
    pub async fn head(&self, key: &str) -> Result<ObjectInfo, StoreError> {
        let path = self.path(key)?;
        let on = self.name_of(key);
        let ask = || {
            let options = GetOptions {
                head: true,
                ..GetOptions::default()
            };
            self.0.reader.get_opts(&path, options)
        };
        let answer = self.attempt("look up", &on, Exchange::default, ask).await?;
        Ok(ObjectInfo::new(key, answer.meta, &answer.attributes))
    }

    /// The counts so far.
    pub fn stats(&self) -> StoreStats {
        StoreStats {
            requests: self.0.requests.load(Relaxed),
            retries: self.0.retries.load(Relaxed),
            circuit_open: self.0.circuit.is_open(),
        }
    }

    /// The runtime that does the work.
    pub(crate) fn runtime(&self) -> &Handle {
        self.0.runtime.handle()
    }

    /// What tells the objects of two stores apart, with [`full_key`](Self::full_key).
    pub(crate) fn identity(&self) -> &str {
        &self.0.identity
    }

    pub(crate) fn full_key(&self, key: &str) -> String {
        format!("{}{key}", self.0.prefix)
    }

    /// `s3://bucket/prefix/key`, printable.
    pub(crate) fn name_of(&self, key: &str) -> String {
        let plain = key.chars().filter(|it| !it.is_control()).take(200);
        format!("{}{}", self.0.name, plain.collect::<String>())
    }

    fn path(&self, key: &str) -> Result<Path, StoreError> {
        page::path(&self.full_key(key)).map_err(|why| {
            let message = format!("no object can be called {}: {why}", self.name_of(key));
            StoreError::new(ErrorKind::Invalid, message)
        })
    }

    /// Sends a request until it succeeds, or will not succeed, or has been sent often enough.
    async fn attempt<T, F>(
        &self,
        what: &str,
        on: &str,
        exchange: impl Fn() -> Exchange,
        mut request: impl FnMut() -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        let mut tries = Tries::new(self);
        loop {
            let pass = tries.admit(what, on)?;
            let exchange = exchange();
            let error = match CURRENT.scope(exchange.clone(), request()).await {
                Ok(answer) => {
                    self.0.circuit.succeeded();
                    return Ok(answer);
                }
                Err(error) => exchange.error(what, on, &error),
            };
            tries.failed(pass, error).await?;
        }
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.name)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.0.name).finish()
    }
}

/// The attempts at one request.
struct Tries<'a> {
    store: &'a Store,
    started: Instant,
    failed: u32,
}

impl<'a> Tries<'a> {
    fn new(store: &'a Store) -> Self {
        Self {
            store,
            started: Instant::now(),
            failed: 0,
        }
    }

    /// Before each attempt.
    fn admit(&self, what: &str, on: &str) -> Result<circuit::Pass, StoreError> {
        let pass = self.store.0.circuit.admit(Instant::now()).map_err(|left| {
            let message = format!(
                "cannot {what} {on}: too many requests failed; the store is asked again in {} ms",
                left.as_millis()
            );
            StoreError::new(ErrorKind::CircuitOpen, message)
        })?;
        self.store.0.requests.fetch_add(1, Relaxed);
        Ok(pass)
    }

    /// After a failed attempt: waits until the next one, or returns the error.
    async fn failed(&mut self, pass: circuit::Pass, error: StoreError) -> Result<(), StoreError> {
        let circuit = &self.store.0.circuit;
        if error.is_transient() {
            circuit.failed(pass, Instant::now());
        } else {
            // That is an answer.
            circuit.succeeded();
        }
        self.failed += 1;
        let retry = &self.store.0.settings.retry;
        let elapsed = self.started.elapsed();
        match retry::next_wait(retry, self.failed, elapsed, &error, fastrand::f64()) {
            None => Err(error),
            Some(wait) => {
                self.store.0.retries.fetch_add(1, Relaxed);
                tokio::time::sleep(wait).await;
                Ok(())
            }
        }
    }
}

impl ObjectInfo {
    fn new(key: &str, meta: ObjectMeta, attributes: &Attributes) -> Self {
        let text = |attribute| attributes.get(&attribute).map(|it| it.as_ref().to_string());
        let mut metadata: Vec<_> = attributes
            .iter()
            .filter_map(|(attribute, value)| match attribute {
                Attribute::Metadata(name) => Some((name.to_string(), value.as_ref().to_string())),
                _ => None,
            })
            .collect();
        metadata.sort();
        let modified = SystemTime::from(meta.last_modified);
        Self {
            key: key.into(),
            len: meta.size,
            etag: meta.e_tag,
            version: meta.version,
            // What is not said is read as 1970.
            modified: Some(modified).filter(|it| *it > SystemTime::UNIX_EPOCH),
            content_type: text(Attribute::ContentType),
            cache_control: text(Attribute::CacheControl),
            content_encoding: text(Attribute::ContentEncoding),
            content_disposition: text(Attribute::ContentDisposition),
            content_language: text(Attribute::ContentLanguage),
            metadata,
        }
    }

    /// Whether both are of the same bytes, as far as a store says so.
    pub(crate) fn is_same_version(&self, other: &Self) -> bool {
        let same_time = self.etag.is_some() || self.modified == other.modified;
        self.len == other.len
            && self.etag == other.etag
            && self.version == other.version
            && same_time
    }
}

/// One that waits for the network is enough for a disk; a second one decrypts meanwhile.
const WORKERS: usize = 2;

/// The runtime of a store. It ends without waiting, also where waiting is not allowed.
struct Workers(Option<Runtime>);

impl Workers {
    fn start(threads: usize) -> Result<Self, StoreError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(if threads == 0 { WORKERS } else { threads })
            .thread_name("store")
            .enable_all()
            .build()
            .map_err(|error| {
                let message = format!("cannot start the threads of the store: {error}");
                StoreError::new(ErrorKind::Internal, message)
            })?;
        Ok(Self(Some(runtime)))
    }

    fn handle(&self) -> &Handle {
        // Only `drop` takes it.
        self.0
            .as_ref()
            .expect("it runs until it is dropped")
            .handle()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// A field that makes a request conditional.
fn field(name: HeaderName, value: &str) -> Result<(HeaderName, HeaderValue), StoreError> {
    let value = HeaderValue::from_str(value).map_err(|_| {
        StoreError::new(
            ErrorKind::Invalid,
            format!("{value:?} is not an entity tag"),
        )
    })?;
    Ok((name, value))
}
