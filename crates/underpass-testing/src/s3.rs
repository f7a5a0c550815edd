//! A small S3 store that misbehaves on command.
//!
//! ```
//! use underpass_testing::s3::{Fault, On, S3};
//!
//! let s3 = S3::start();
//! s3.put("photos/a.jpg", b"hello");
//! s3.fault(On::get("photos/a.jpg").times(2), Fault::Status(503));
//! assert_eq!(s3.requests().len(), 0);
//! assert!(s3.endpoint().starts_with("http://127.0.0.1:"));
//! ```
//!
//! It has one bucket, [`BUCKET`], and knows reading with ranges and conditions, listing by pages
//! and delimiter, writing with conditions, and uploads in parts. It does not check signatures, only
//! which key signed ([`S3::require_key`]).

mod answer;
mod connection;
mod text;
#[cfg(feature = "tls")]
mod tls;
mod xml;

use std::collections::{BTreeMap, HashMap};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The only bucket.
pub const BUCKET: &str = "bucket";

/// A store on a port of its own. It stops when it is dropped.
#[derive(Debug)]
pub struct S3 {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    stopped: AtomicBool,
    #[cfg(feature = "tls")]
    tls: Option<tls::Tls>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Stored>,
    uploads: HashMap<String, BTreeMap<u32, Vec<u8>>>,
    versions: u64,
    faults: Vec<(On, Fault)>,
    requests: Vec<Request>,
    key: Option<String>,
    connections: Vec<TcpStream>,
}

/// An object of the store.
#[derive(Clone, Debug)]
pub struct Stored {
    /// What it holds.
    pub content: Arc<Vec<u8>>,
    /// With its quotes.
    pub etag: String,
    /// Fields that are sent with it, such as `content-type`.
    pub fields: Vec<(String, String)>,
    modified: SystemTime,
}

/// A request that the store got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `HEAD`, `PUT`, `POST` or `DELETE`.
    pub method: String,
    /// The first part of the path.
    pub bucket: String,
    /// Without the bucket, decoded; empty for lists.
    pub key: String,
    /// What follows `?`, as it came.
    pub query: String,
    /// All fields, names in lower case.
    pub fields: Vec<(String, String)>,
}

/// Which requests a fault is for.
#[derive(Clone, Debug, Default)]
pub struct On {
    method: Option<&'static str>,
    key: Option<String>,
    range: Option<String>,
    skip: usize,
    left: Option<usize>,
}

/// What the store does wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// An answer without a body.
    Status(u16),
    /// An answer with `Retry-After`, in seconds.
    RetryAfter(u16, u64),
    /// An error of S3: status, code, message.
    Error(u16, &'static str, &'static str),
    /// A range is answered with the whole object, and status 200.
    IgnoreRange,
    /// The object is sent whatever the conditions are.
    IgnoreConditions,
    /// The body is said to be as long as it is, and ends after so many bytes.
    ShortBody(usize),
    /// The connection is reset after so many bytes of the body.
    Reset(usize),
    /// The entity tag of the answer is another one.
    WrongTag,
    /// One byte of the body, then one more each time this passes.
    Drip(Duration),
    /// So many bytes in a second.
    Slow(u64),
    /// The request is not answered until this passes.
    Delay(Duration),
    /// The request is not answered until [`S3::release`].
    Hang,
    /// The body stops after so many bytes until [`S3::release`].
    Stop(usize),
    /// The answer begins with an interim one (status 100), and goes on at [`S3::release`].
    Interim,
    /// The answer says that it is this much earlier than it is.
    OldDate(Duration),
    /// Nothing that S3 would say.
    Nonsense,
}

impl On {
    /// Every request.
    pub fn any() -> Self {
        Self::default()
    }

    /// Requests for the bytes of an object, or of all objects if it is empty.
    pub fn get(key: &str) -> Self {
        Self::method("GET", key)
    }

    /// Requests for what is said of an object, or of all objects if it is empty.
    pub fn head(key: &str) -> Self {
        Self::method("HEAD", key)
    }

    /// Requests that write an object, or any object if it is empty.
    pub fn put(key: &str) -> Self {
        Self::method("PUT", key)
    }

    /// Requests for lists.
    pub fn list() -> Self {
        Self::method("LIST", "")
    }

    fn method(method: &'static str, key: &str) -> Self {
        Self {
            method: Some(method),
            key: (!key.is_empty()).then(|| key.to_string()),
            ..Self::default()
        }
    }

    /// Those whose field `Range` begins so, such as `bytes=0-`.
    #[must_use]
    pub fn range(mut self, begins: &str) -> Self {
        self.range = Some(begins.into());
        self
    }

    /// The first so many of them only.
    #[must_use]
    pub fn times(mut self, times: usize) -> Self {
        self.left = Some(times);
        self
    }

    /// Not the first so many of them.
    #[must_use]
    pub fn after(mut self, skip: usize) -> Self {
        self.skip = skip;
        self
    }

    /// Whether the fault happens now. Counts the request.
    fn takes(&mut self, request: &Request) -> bool {
        let method = match (request.method.as_str(), request.key.as_str()) {
            ("GET", "") => "LIST",
            (method, _) => method,
        };
        let other_method = self.method.is_some_and(|it| it != method);
        if other_method || self.key.as_ref().is_some_and(|it| *it != request.key) {
            return false;
        }
        if let Some(begins) = &self.range
            && !request
                .field("range")
                .is_some_and(|it| it.starts_with(begins))
        {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        match &mut self.left {
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
            None => true,
        }
    }
}

impl Request {
    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(it, _)| it == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl S3 {
    /// Starts a store on a free port of 127.0.0.1.
    ///
    /// # Panics
    ///
    /// There is no free port.
    pub fn start() -> Self {
        Self::of(Shared::default())
    }

    /// Starts a store whose [`endpoint`](Self::endpoint) says https.
    ///
    /// # Panics
    ///
    /// There is no free port.
    #[cfg(feature = "tls")]
    pub fn start_with_tls() -> Self {
        Self::of(Shared {
            tls: Some(tls::Tls::new()),
            ..Shared::default()
        })
    }

    fn of(shared: Shared) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(shared);
        let theirs = Arc::clone(&shared);
        std::thread::spawn(move || accept(&listener, &theirs));
        Self { port, shared }
    }

    /// `http://127.0.0.1:PORT`
    pub fn endpoint(&self) -> String {
        #[cfg(feature = "tls")]
        if self.shared.tls.is_some() {
            return format!("https://127.0.0.1:{}", self.port);
        }
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The certificate of the authority that signed the store's, in PEM.
    ///
    /// # Panics
    ///
    /// The store has none.
    #[cfg(feature = "tls")]
    pub fn authority(&self) -> &str {
        let tls = self.shared.tls.as_ref();
        &tls.expect("a store with TLS").authority
    }

    /// The variables that have a client use this store: names and values.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL", self.endpoint()),
            ("AWS_ACCESS_KEY_ID", "test".into()),
            ("AWS_SECRET_ACCESS_KEY", "secret".into()),
            ("AWS_REGION", "us-east-1".into()),
        ]
    }

    /// Makes or replaces an object. Returns its entity tag.
    pub fn put(&self, key: &str, content: impl Into<Vec<u8>>) -> String {
        self.put_with(key, content, &[])
    }

    /// Makes or replaces an object that is sent with fields. Returns its entity tag.
    pub fn put_with(
        &self,
        key: &str,
        content: impl Into<Vec<u8>>,
        fields: &[(&str, &str)],
    ) -> String {
        let fields = fields
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()));
        self.lock().store(key, content.into(), fields.collect())
    }

    /// Removes an object.
    pub fn remove(&self, key: &str) {
        self.lock().objects.remove(key);
    }

    /// An object, if it is there.
    pub fn object(&self, key: &str) -> Option<Stored> {
        self.lock().objects.get(key).cloned()
    }

    /// Uploads in parts that were neither finished nor given up.
    pub fn open_uploads(&self) -> usize {
        self.lock().uploads.len()
    }

    /// Does something wrong, from now on. If several faults are for one request, all happen.
    pub fn fault(&self, on: On, fault: Fault) {
        self.lock().faults.push((on, fault));
    }

    /// Does everything right, from now on. Requests that hang are answered.
    pub fn release(&self) {
        self.lock().faults.clear();
        self.shared.changed.notify_all();
    }

    /// Refuses requests that this key did not sign.
    pub fn require_key(&self, key: &str) {
        self.lock().key = Some(key.into());
    }

    /// The requests so far, those that hang included.
    pub fn requests(&self) -> Vec<Request> {
        self.lock().requests.clone()
    }

    /// How many requests of a method there were for a key so far; for lists, `LIST` and no key.
    pub fn count(&self, method: &str, key: &str) -> usize {
        let lists = method == "LIST";
        let method = if lists { "GET" } else { method };
        let requests = self.requests().into_iter();
        requests
            .filter(|it| it.method == method && it.key == key)
            .count()
    }

    /// How many connections there were so far.
    pub fn connections(&self) -> usize {
        self.lock().connections.len()
    }

    /// Closes the connections that there are.
    pub fn disconnect(&self) {
        for connection in &self.lock().connections {
            // It may be closed already.
            let _ = connection.shutdown(std::net::Shutdown::Both);
        }
    }

    /// Waits until there were as many requests.
    ///
    /// # Panics
    ///
    /// There were not within a minute.
    pub fn wait_for(&self, count: usize) {
        let state = self.lock();
        let few = |state: &mut State| state.requests.len() < count;
        let waited = self
            .shared
            .changed
            .wait_timeout_while(state, Duration::from_secs(60), few);
        let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(
            !timeout.timed_out(),
            "{} of {count} requests",
            state.requests.len()
        );
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Relaxed);
        for connection in self.lock().connections.drain(..) {
            // It may be closed already.
            let _ = connection.shutdown(std::net::Shutdown::Both);
        }
        self.release();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while a request hangs.
    fn hang(&self) {
        let hangs = |state: &mut State| {
            let hang = |(_, fault): &(On, Fault)| {
                matches!(fault, Fault::Hang | Fault::Interim | Fault::Stop(_))
            };
            !self.stopped.load(Relaxed) && state.faults.iter().any(hang)
        };
        let _state = self.changed.wait_while(self.lock(), hangs);
    }
}

impl State {
    fn store(&mut self, key: &str, content: Vec<u8>, fields: Vec<(String, String)>) -> String {
        self.versions += 1;
        // What a hash would be: another one for each content and version.
        let etag = format!(
            "\"{:032x}\"",
            u128::from(self.versions) << 64 | content.len() as u128
        );
        let stored = Stored {
            content: Arc::new(content),
            etag: etag.clone(),
            fields,
            modified: UNIX_EPOCH + Duration::from_secs(1_700_000_000 + self.versions),
        };
        self.objects.insert(key.into(), stored);
        etag
    }

    /// The faults of a request, which is noted.
    fn note(&mut self, request: &Request) -> Vec<Fault> {
        self.requests.push(request.clone());
        let faults = self.faults.iter_mut();
        faults
            .filter_map(|(on, fault)| on.takes(request).then(|| fault.clone()))
            .collect()
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for connection in listener.incoming() {
        if shared.stopped.load(Relaxed) {
            return;
        }
        let Ok(connection) = connection else {
            continue;
        };
        let mut state = shared.lock();
        state.connections.extend(connection.try_clone());
        drop(state);
        let shared = Arc::clone(shared);
        std::thread::spawn(move || connection::serve(&connection, &shared));
    }
}
