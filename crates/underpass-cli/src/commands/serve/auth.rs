//! HTTP Basic authentication (RFC 7617) in front of a service.

use std::convert::Infallible;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};

use futures_util::future::Either;
use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Request, Response, StatusCode};
use tokio::sync::Semaphore;
use tower_service::Service;
use underpass_http::FileBody;

use crate::server::ReloadAction;

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
    pub(super) fn new(users: Users) -> Arc<Self> {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Arc::new(Self {
            users: RwLock::new(Arc::new(users)),
            hashing: Arc::new(Semaphore::new(cpus.div_ceil(2))),
            waiting: AtomicUsize::new(0),
        })
    }

    /// The action that reads `file` again. If it is wrong, the old users stay.
    pub(super) fn renewal(self: &Arc<Self>, given: &[String], file: &Path) -> ReloadAction {
        let (authenticator, given, file) = (Arc::clone(self), given.to_vec(), file.to_owned());
        Box::new(move || {
            let users = Users::new(&given, Some(&file)).map_err(|failure| {
                format!("{failure}; the previous names and passwords stay in use")
            })?;
            *authenticator
                .users
                .write()
                .unwrap_or_else(PoisonError::into_inner) = Arc::new(users);
            Ok(format!(
                "names and passwords: {} is read again",
                file.display()
            ))
        })
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

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let users = self.authenticator.users();
        let credentials = request.headers().get(AUTHORIZATION);
        match credentials.map_or(Check::Unknown, |value| users.check(value)) {
            Check::Known => Either::Left(self.inner.call(request)),
            Check::Unknown => Either::Right(Box::pin(async { Ok(unauthorized()) })),
            Check::Hashed(credentials) => {
                // The future needs the service that is ready, so a clone takes that service's
                // place.
                let other = self.inner.clone();
                let mut inner = std::mem::replace(&mut self.inner, other);
                let authenticator = Arc::clone(&self.authenticator);
                Either::Right(Box::pin(async move {
                    match authenticator.hash(users, credentials).await {
                        Verdict::Known => inner.call(request).await,
                        Verdict::Unknown => Ok(unauthorized()),
                        Verdict::Busy => Ok(busy()),
                    }
                }))
            }
        }
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
