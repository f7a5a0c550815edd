//! The tower service: dispatches a request by its method, looks its path up, and responds if
//! nothing is found.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::ALLOW;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use tower_service::Service;

use super::fallback::NotFoundHandler;
use super::lookup::{FileLookup, Found};
use super::resource::Resource;
use super::{ServeDir, list_directory, response, upload};
use crate::body::{BoxError, FileBody};
use crate::semantics::media_type;
use crate::semantics::negotiate::accepts_html;
use crate::semantics::path;

impl<B, F> Service<Request<B>> for ServeDir<F>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    F: NotFoundHandler<B>,
{
    type Response = Response<FileBody>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture {
        let lookup = &self.lookup;
        match *request.method() {
            Method::GET | Method::HEAD => {
                let (path, headers) = (request.uri().path(), request.headers());
                if let Some(file) = lookup.cached(path, headers) {
                    let response = response::file(&file, &request, &lookup.options);
                    return ResponseFuture::ready(for_method(request.method(), response));
                }
                let (lookup, fallback) = (Arc::clone(lookup), self.fallback.clone());
                let method = request.method().clone();
                let response = get(lookup, fallback, request);
                ResponseFuture::later(async move { for_method(&method, response.await) })
            }
            Method::OPTIONS => ResponseFuture::ready(self.allowed(StatusCode::NO_CONTENT)),
            Method::PUT if lookup.options.uploads.is_some() => {
                ResponseFuture::later(upload::put(Arc::clone(lookup), request))
            }
            _ => ResponseFuture::ready(self.allowed(StatusCode::METHOD_NOT_ALLOWED)),
        }
    }
}

fn for_method(method: &Method, response: Response<FileBody>) -> Response<FileBody> {
    match *method {
        Method::HEAD => response::without_content(response),
        _ => response,
    }
}

impl<F> ServeDir<F> {
    fn allowed(&self, status: StatusCode) -> Response<FileBody> {
        let methods = match self.lookup.options.uploads {
            Some(_) => "GET, HEAD, OPTIONS, PUT",
            None => "GET, HEAD, OPTIONS",
        };
        let mut response = match status {
            StatusCode::NO_CONTENT => response::empty(status),
            status => response::text(status, "this method is not served here"),
        };
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static(methods));
        response
    }
}

/// Responds to a GET whose file was not in the cache.
async fn get<B, F>(lookup: Arc<FileLookup>, fallback: F, request: Request<B>) -> Response<FileBody>
where
    B: Send + 'static,
    F: NotFoundHandler<B>,
{
    match lookup.look_up(request.uri().path()).await {
        Ok(Found::File(resource)) => {
            let file = resource.choose(request.headers());
            response::file(file, &request, &lookup.options)
        }
        Ok(Found::Directory(path)) => list_directory::list(&lookup, path, &request).await,
        Ok(Found::Redirect(name)) => response::redirect(&name, request.uri().query()),
        Ok(Found::Bad(reason)) => response::bad_request(&reason.to_string()),
        Ok(Found::Missing) => missing(&lookup, fallback, request).await,
        Err(error) => response::failure(&error),
    }
}

async fn missing<B, F>(
    lookup: &Arc<FileLookup>,
    fallback: F,
    request: Request<B>,
) -> Response<FileBody>
where
    B: Send + 'static,
    F: NotFoundHandler<B>,
{
    let options = &lookup.options;
    let mut varies = false;
    if let Some(page) = &options.spa
        && !is_asset(&request)
    {
        if accepts_html(request.headers())
            && let Some(resource) = page_of(lookup, page).await
        {
            return response::application(&resource, &request, options);
        }
        varies = true;
    }
    if let Some(page) = &options.not_found_page
        && let Some(resource) = page_of(lookup, page).await
    {
        return response::page(&resource, StatusCode::NOT_FOUND, options);
    }
    let mut response = match fallback.answer(request) {
        Some(answer) => answer.await,
        None => response::text(StatusCode::NOT_FOUND, "nothing is served here"),
    };
    if varies {
        response::varies_by_accept(response.headers_mut());
    }
    response
}

async fn page_of(lookup: &Arc<FileLookup>, page: &[u8]) -> Option<Arc<Resource>> {
    match lookup.look_up(&path::encode(page)).await {
        Ok(Found::File(resource)) => Some(resource),
        _ => None,
    }
}

fn is_asset<B>(request: &Request<B>) -> bool {
    path::decode(request.uri().path()).is_ok_and(|it| media_type::is_asset(&it.relative))
}

/// The future of a response. It is often ready at once.
pub struct ResponseFuture(State);

enum State {
    Ready(Option<Response<FileBody>>),
    Later(Later),
}

type Later = Pin<Box<dyn Future<Output = Response<FileBody>> + Send>>;

impl ResponseFuture {
    fn ready(response: Response<FileBody>) -> Self {
        Self(State::Ready(Some(response)))
    }

    fn later(response: impl Future<Output = Response<FileBody>> + Send + 'static) -> Self {
        Self(State::Later(Box::pin(response)))
    }
}

impl std::fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let is_ready = matches!(self.0, State::Ready(_));
        f.debug_struct("ResponseFuture")
            .field("is_ready", &is_ready)
            .finish_non_exhaustive()
    }
}

impl Future for ResponseFuture {
    type Output = Result<Response<FileBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            // Polled again after it was ready.
            State::Ready(response) => response
                .take()
                .map_or(Poll::Pending, |it| Poll::Ready(Ok(it))),
            State::Later(response) => response.as_mut().poll(cx).map(Ok),
        }
    }
}
