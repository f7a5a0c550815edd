//! HTTP Basic authentication (RFC 7617) in front of a service.

use std::convert::Infallible;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::{Context, Poll};

use futures_util::future::Either;
use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Request, Response, StatusCode};
use tokio::sync::Semaphore;
use tower_service::Service;
use underpass_http::{Access, Authenticated, FileBody, PathRules};

use crate::exit::Failure;
use crate::server::{Watch, WatchedFiles};

mod password_hash;
mod users;

pub(crate) use users::{Users, name_in};

use users::{Check, Credentials};

/// Limit on requests that wait for a password hash. Those beyond it get 503.
const MOST_WAITING: usize = 256;

/// Checks passwords, and limits how many hashes are computed at once.
pub(super) struct Authenticator {
    /// Replaced when the file is read again.
    users: RwLock<Arc<Users>>,
    /// Names and passwords that are in no file.
    given: Mutex<Vec<String>>,
    file: Option<PathBuf>,
    /// Permits for half of the CPUs, so that password guessing leaves the others for requests.
    hashing: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// The result of checking credentials.
enum Verdict {
    Known,
    Unknown,
    /// Too many requests wait for a hash.
    Busy,
}

impl Authenticator {
    pub(super) fn new(users: Users, given: &[String], file: Option<&Path>) -> Arc<Self> {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Arc::new(Self {
            users: RwLock::new(Arc::new(users)),
            given: Mutex::new(given.to_vec()),
            file: file.map(Path::to_owned),
            hashing: Arc::new(Semaphore::new(cpus.div_ceil(2))),
            waiting: AtomicUsize::new(0),
        })
    }

    /// What reads the file again when it has changed, and at signals. If it is wrong, the old users
    /// stay.
    pub(super) fn watch(self: &Arc<Self>) -> Option<Watch> {
        let (authenticator, file) = (Arc::clone(self), self.file.clone()?);
        let watched = WatchedFiles::new(vec![file.clone()]);
        let read = move || {
            let given = authenticator.given();
            let users = authenticator.read(&given).map_err(|failure| {
                format!("{failure}; the previous names and passwords stay in use")
            })?;
            authenticator.replace(users, given);
            let file = file.display();
            Ok(format!("names and passwords: {file} is read again"))
        };
        Some(Watch::new(watched, Box::new(read)))
    }

    /// The users with these names and passwords, and those of the file.
    pub(super) fn read(&self, given: &[String]) -> Result<Users, Failure> {
        Users::new(given, self.file.as_deref())
    }

    /// Uses other names and passwords from now on.
    pub(super) fn replace(&self, users: Users, given: Vec<String>) {
        *self.given.lock().unwrap_or_else(PoisonError::into_inner) = given;
        *self.users.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(users);
    }

    fn given(&self) -> Vec<String> {
        let given = self.given.lock();
        given.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn users(&self) -> Arc<Users> {
        Arc::clone(&self.users.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Computes the password hash on a thread for blocking work.
    async fn hash(&self, users: Arc<Users>, credentials: Credentials) -> Verdict {
        let Some(_waiting) = Waiting::enter(&self.waiting) else {
            return Verdict::Busy;
        };
        let Ok(permit) = Arc::clone(&self.hashing).acquire_owned().await else {
            return Verdict::Unknown;
        };
        // A browser sends several requests at once, so another request may have verified it
        // meanwhile.
        if users.is_verified(&credentials) {
            return Verdict::Known;
        }
        let hashing = tokio::task::spawn_blocking(move || {
            let known = users.verify(&credentials);
            // The permit is held until here, even if the client is gone.
            drop(permit);
            known
        });
        match hashing.await {
            Ok(true) => Verdict::Known,
            _ => Verdict::Unknown,
        }
    }
}

/// Counts a waiting request until this is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicUsize) -> Option<Self> {
        let this = (count.fetch_add(1, Relaxed), Self(count));
        (this.0 < MOST_WAITING).then_some(this.1)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Passes a request on to `inner` if `authenticator` accepts its credentials.
#[derive(Clone)]
pub(super) struct Auth<S> {
    pub(super) inner: S,
    pub(super) authenticator: Arc<Authenticator>,
    /// Which paths are for everybody.
    pub(super) rules: Option<PathRules>,
}

type Answer = Result<Response<FileBody>, Infallible>;

impl<S, B> Service<Request<B>> for Auth<S>
where
    S: Service<Request<B>, Response = Response<FileBody>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = Response<FileBody>;
    type Error = Infallible;
    type Future = Either<S::Future, Pin<Box<dyn Future<Output = Answer> + Send>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let users = self.authenticator.users();
        let is_open = self.is_open(&request);
        let credentials = request.headers().get(AUTHORIZATION);
        match credentials.map_or(Check::Unknown, |value| users.check(value)) {
            Check::Known => {
                request.extensions_mut().insert(Authenticated);
                Either::Left(self.inner.call(request))
            }
            // An index, for example, may need what its directory does not.
            Check::Unknown if is_open => {
                let response = self.inner.call(request);
                Either::Right(Box::pin(async { Ok(with_challenge(response.await?)) }))
            }
            Check::Unknown => Either::Right(Box::pin(async { Ok(unauthorized()) })),
            Check::Hashed(credentials) => {
                // The future needs the service that is ready, so a clone takes that service's
                // place.
                let other = self.inner.clone();
                let mut inner = std::mem::replace(&mut self.inner, other);
                let authenticator = Arc::clone(&self.authenticator);
                Either::Right(Box::pin(async move {
                    match authenticator.hash(users, credentials).await {
                        Verdict::Known => {
                            request.extensions_mut().insert(Authenticated);
                            inner.call(request).await
                        }
                        Verdict::Unknown if is_open => {
                            Ok(with_challenge(inner.call(request).await?))
                        }
                        Verdict::Unknown => Ok(unauthorized()),
                        Verdict::Busy => Ok(busy()),
                    }
                }))
            }
        }
    }
}

impl<S> Auth<S> {
    /// Whether everybody may read what is asked for. Without a rule that says so, nobody may
    /// without a password. To write always needs one.
    fn is_open<B>(&self, request: &Request<B>) -> bool {
        let rules = self.rules.as_ref().filter(|_| request.method().is_safe());
        rules.is_some_and(|rules| rules.access(request.uri().path()) == Some(Access::Allow))
    }
}

/// The response, or if that is a refusal, one that asks for a password.
fn with_challenge(response: Response<FileBody>) -> Response<FileBody> {
    match response.status() {
        StatusCode::UNAUTHORIZED => unauthorized(),
        _ => response,
    }
}

fn unauthorized() -> Response<FileBody> {
    let mut response = Response::new(FileBody::full("401 Unauthorized\n"));
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    let headers = response.headers_mut();
    let challenge = HeaderValue::from_static("Basic realm=\"underpass\", charset=\"UTF-8\"");
    headers.insert(WWW_AUTHENTICATE, challenge);
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(CONTENT_TYPE, text);
    response
}

fn busy() -> Response<FileBody> {
    let mut response = Response::new(FileBody::full("too many passwords are being verified\n"));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let headers = response.headers_mut();
    headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(CONTENT_TYPE, text);
    response
}
