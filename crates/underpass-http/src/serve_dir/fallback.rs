//! What responds to requests that find nothing.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use tower_service::Service;

use crate::body::{BoxError, FileBody};

type Answer = Pin<Box<dyn Future<Output = Response<FileBody>> + Send>>;

/// No fallback: [`ServeDir`](super::ServeDir) responds with 404.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFallback;

/// A service that requests are passed to, see [`ServeDir::fallback`](super::ServeDir::fallback).
#[derive(Clone, Debug)]
pub struct Fallback<F> {
    service: F,
    status: Option<StatusCode>,
}

impl<F> Fallback<F> {
    pub(super) fn new(service: F, status: Option<StatusCode>) -> Self {
        Self { service, status }
    }
}

/// Responds to requests that find nothing: [`NoFallback`], or a [`Fallback`] whose service accepts
/// the request.
pub trait NotFoundHandler<B>: sealed::Sealed + Clone + Send + 'static {
    #[doc(hidden)]
    fn answer(self, request: Request<B>) -> Option<Answer>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::NoFallback {}
    impl<F> Sealed for super::Fallback<F> {}
}

impl<B> NotFoundHandler<B> for NoFallback {
    fn answer(self, _: Request<B>) -> Option<Answer> {
        None
    }
}

impl<B, F, R> NotFoundHandler<B> for Fallback<F>
where
    B: Send + 'static,
    F: Service<Request<B>, Response = Response<R>, Error = Infallible> + Clone + Send + 'static,
    F::Future: Send + 'static,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    fn answer(mut self, request: Request<B>) -> Option<Answer> {
        Some(Box::pin(async move {
            let Ok(()) = std::future::poll_fn(|cx| self.service.poll_ready(cx)).await;
            let Ok(mut response) = self.service.call(request).await;
            if let Some(status) = self.status {
                *response.status_mut() = status;
            }
            response.map(FileBody::other)
        }))
    }
}
