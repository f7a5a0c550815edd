//! The tower service: dispatches a request by its method, looks its path up, and responds if
//! nothing is found.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::ALLOW;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use tower_service::Service;

use super::fallback::NotFoundHandler;
use super::lookup::{FileLookup, Found};
use super::resource::Resource;
use super::{ServeDir, list_directory, response, send_archive, upload};
use crate::body::{BoxError, FileBody};
use crate::listing::Language;
use crate::path_rules::Authenticated;
use crate::semantics::media_type;
use crate::semantics::negotiate::accepts_html;
use crate::semantics::{path, range};

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
        let pages = self.lookup.options.error_pages && accepts_html(request.headers());
        ResponseFuture {
            is_head: request.method() == Method::HEAD,
            error_page: pages.then(|| Language::of(request.headers())),
            response: self.try_call(request),
        }
    }
}

impl<F> ServeDir<F> {
    /// Like [`call`](Service::call), but a request that finds nothing, and one that fails, is an
    /// error, so that the caller chooses the response.
    ///
    /// Invalid paths, methods that are not served, and failed uploads get a response. So does a
    /// request that finds nothing if there is a [`fallback`](Self::fallback), a page of
    /// [`spa`](Self::spa) or a [`not_found_page`](Self::not_found_page).
    ///
    /// # Errors
    /// The future's error is `NotFound` or `NotADirectory` if nothing is there or it is not served,
    /// otherwise that of opening or reading; `ResourceBusy` if the file keeps changing.
    ///
    /// ```
    /// use std::io;
    ///
    /// use bytes::Bytes;
    /// use http::{Request, Response, StatusCode};
    /// use http_body_util::Empty;
    /// use underpass_http::{FileBody, ServeDir};
    ///
    /// async fn assets(request: Request<Empty<Bytes>>) -> Response<FileBody> {
    ///     match ServeDir::new("assets").try_call(request).await {
    ///         Ok(response) => response,
    ///         Err(error) => {
    ///             let mut response = Response::new(FileBody::from(format!("no asset: {error}")));
    ///             *response.status_mut() = match error.kind() {
    ///                 io::ErrorKind::NotFound => StatusCode::NOT_FOUND,
    ///                 _ => StatusCode::INTERNAL_SERVER_ERROR,
    ///             };
    ///             response
    ///         }
    ///     }
    /// }
    /// ```
    pub fn try_call<B>(&mut self, request: Request<B>) -> TryResponseFuture
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
        F: NotFoundHandler<B>,
    {
        let lookup = &self.lookup;
        match *request.method() {
            Method::GET | Method::HEAD => {
                let (path, headers) = (request.uri().path(), request.headers());
                let is_known = || request.extensions().get::<Authenticated>().is_some();
                if let Some(file) = lookup.cached(path, headers, is_known) {
                    let response = response::file(&file, &request, &lookup.options);
                    return TryResponseFuture::ready(response::counted(
                        request.method(),
                        response,
                        &lookup.options.stats,
                    ));
                }
                let (lookup, fallback) = (Arc::clone(lookup), self.fallback.clone());
                let (method, stats) = (request.method().clone(), Arc::clone(&lookup.options.stats));
                let response = get(lookup, fallback, request);
                TryResponseFuture::later(async move {
                    Ok(response::counted(&method, response.await?, &stats))
                })
            }
            Method::PUT if lookup.options.uploads.is_some() => {
                let response = upload::put(Arc::clone(lookup), request);
                TryResponseFuture::later(async { Ok(response.await) })
            }
            Method::POST if lookup.options.takes_forms() => {
                let response = upload::post(Arc::clone(lookup), request);
                TryResponseFuture::later(async { Ok(response.await) })
            }
            _ => self.other_method(request),
        }
    }

    fn other_method<B>(&self, request: Request<B>) -> TryResponseFuture
    where
        F: NotFoundHandler<B>,
    {
        let status = match *request.method() {
            Method::OPTIONS => StatusCode::NO_CONTENT,
            _ => StatusCode::METHOD_NOT_ALLOWED,
        };
        if self.lookup.options.fallback_for_methods
            && let Some(answer) = self.fallback.clone().answer(request)
        {
            return TryResponseFuture::later(async { Ok(answer.await) });
        }
        TryResponseFuture::ready(self.allowed(status))
    }

    fn allowed(&self, status: StatusCode) -> Response<FileBody> {
        let options = &self.lookup.options;
        let methods = match options.uploads {
            Some(_) if options.takes_forms() => "GET, HEAD, OPTIONS, POST, PUT",
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
async fn get<B, F>(
    lookup: Arc<FileLookup>,
    fallback: F,
    request: Request<B>,
) -> io::Result<Response<FileBody>>
where
    B: Send + 'static,
    F: NotFoundHandler<B>,
{
    let is_known = request.extensions().get::<Authenticated>().is_some();
    let to_read = range::wants_first_byte(request.method(), request.headers());
    Ok(match lookup.look_up(request.uri().path(), to_read).await? {
        Found::File(resource) if resource.is_restricted && !is_known => unauthenticated(),
        Found::Directory(path) | Found::Redirect(path) if !is_known && lookup.restricts(&path) => {
            unauthenticated()
        }
        Found::File(resource) => match resource.choose(request.headers()) {
            Some(file) => response::file(file, &request, &lookup.options),
            None => not_acceptable(&lookup, fallback, request).await,
        },
        Found::Directory(path) => match send_archive::send(&lookup, &path, &request) {
            Some(archive) => archive.await,
            None => list_directory::list(&lookup, path, &request).await,
        },
        Found::Redirect(relative) => {
            response::redirect(&relative, request.uri().query(), &lookup.options)
        }
        Found::Only(relative) => response::redirect_to_file(&relative, &lookup.options),
        Found::Bad(reason) => match fallback.answer(request) {
            Some(answer) => answer.await,
            None => response::bad_request(&reason.to_string()),
        },
        Found::Missing(error) => missing(&lookup, fallback, request, error).await?,
    })
}

/// A layer in front may add how to authenticate.
fn unauthenticated() -> Response<FileBody> {
    response::text(StatusCode::UNAUTHORIZED, "this path needs authentication")
}

/// Only precompressed files are there, and the client accepts none of them. This is never an error,
/// because the response has to tell caches what it depends on.
async fn not_acceptable<B, F>(
    lookup: &Arc<FileLookup>,
    fallback: F,
    request: Request<B>,
) -> Response<FileBody>
where
    B: Send + 'static,
    F: NotFoundHandler<B>,
{
    let nothing = io::ErrorKind::NotFound.into();
    let mut response = missing(lookup, fallback, request, nothing)
        .await
        .unwrap_or_else(|error| response::error(&error));
    response::varies_by_encoding(response.headers_mut());
    response
}

async fn missing<B, F>(
    lookup: &Arc<FileLookup>,
    fallback: F,
    request: Request<B>,
    error: io::Error,
) -> io::Result<Response<FileBody>>
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
            && let Some(file) = resource.choose(request.headers())
        {
            return Ok(response::application(file, &request, options));
        }
        varies = true;
    }
    if let Some(page) = &options.not_found_page
        && let Some(resource) = page_of(lookup, page).await
        && let Some(file) = resource.plain()
    {
        return Ok(response::page(file, StatusCode::NOT_FOUND, options));
    }
    let mut response = match fallback.answer(request) {
        Some(answer) => answer.await,
        None if varies => response::error(&error),
        None => return Err(error),
    };
    if varies {
        response::varies_by_accept(response.headers_mut());
    }
    Ok(response)
}

async fn page_of(lookup: &Arc<FileLookup>, page: &[u8]) -> Option<Arc<Resource>> {
    match lookup.look_up(&path::encode(page), true).await {
        // A page for everybody.
        Ok(Found::File(resource)) if !resource.is_restricted => Some(resource),
        _ => None,
    }
}

fn is_asset<B>(request: &Request<B>) -> bool {
    path::decode(request.uri().path()).is_ok_and(|it| media_type::is_asset(&it.relative))
}

/// The future of a response. It is often ready at once.
#[derive(Debug)]
pub struct ResponseFuture {
    response: TryResponseFuture,
    is_head: bool,
    /// The language of the page that stands for the text of an error.
    error_page: Option<Language>,
}

/// The future of a response or an I/O error, see [`ServeDir::try_call`]. It is often ready at once.
pub struct TryResponseFuture(State);

enum State {
    Ready(Option<Response<FileBody>>),
    Later(Later),
}

type Later = Pin<Box<dyn Future<Output = io::Result<Response<FileBody>>> + Send>>;

impl TryResponseFuture {
    fn ready(response: Response<FileBody>) -> Self {
        Self(State::Ready(Some(response)))
    }

    fn later(
        response: impl Future<Output = io::Result<Response<FileBody>>> + Send + 'static,
    ) -> Self {
        Self(State::Later(Box::pin(response)))
    }
}

impl std::fmt::Debug for TryResponseFuture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let is_ready = matches!(self.0, State::Ready(_));
        f.debug_struct("TryResponseFuture")
            .field("is_ready", &is_ready)
            .finish_non_exhaustive()
    }
}

impl Future for TryResponseFuture {
    type Output = io::Result<Response<FileBody>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            // Polled again after it was ready.
            State::Ready(response) => response
                .take()
                .map_or(Poll::Pending, |it| Poll::Ready(Ok(it))),
            State::Later(response) => response.as_mut().poll(cx),
        }
    }
}

impl Future for ResponseFuture {
    type Output = Result<Response<FileBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let response = ready!(Pin::new(&mut self.response).poll(cx));
        let mut response = response.unwrap_or_else(|error| response::error(&error));
        if let Some(language) = self.error_page {
            response = response::with_error_page(response, language);
        }
        if self.is_head {
            response = response::without_content(response);
        }
        Poll::Ready(Ok(response))
    }
}
