//! The metrics endpoint: `/metrics` for Prometheus and `/healthz` for load balancers.

use std::convert::Infallible;
use std::future::{Future, IntoFuture, Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderMap, VARY};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tower_service::Service as Tower;
use underpass::Cancel;
use underpass::accept::Listener;
use underpass_http::{FileBody, HttpSocket, Limits, serve};

use super::threads::{Service, ServiceFuture};

mod encoder;
mod format;
mod process;

pub(crate) use encoder::MetricEncoder;
use format::Format;

/// A registry with the metrics that every server has; each command adds its own collectors.
pub(crate) fn registry() -> Registry {
    let mut registry = Registry::default();
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    registry.register("underpass_build", "The program", Info::new(version));
    registry.register_collector(Box::new(process::ProcessCollector));
    registry
}

/// Serves `/metrics` with the counters, and `/healthz`, which says whether the server still accepts
/// connections.
#[derive(Clone)]
pub(super) struct MetricsService {
    registry: Arc<Registry>,
    cancel: Cancel,
}

impl MetricsService {
    pub(super) fn new(registry: Registry, cancel: Cancel) -> Self {
        Self {
            registry: Arc::new(registry),
            cancel,
        }
    }

    fn answer(&self, path: &str, headers: &HeaderMap) -> Response<FileBody> {
        match path {
            "/metrics" => self.metrics(headers),
            "/healthz" if self.cancel.is_cancelled() => {
                plain(StatusCode::SERVICE_UNAVAILABLE, "draining")
            }
            "/healthz" => plain(StatusCode::OK, "ok"),
            _ => plain(StatusCode::NOT_FOUND, "there are /metrics and /healthz"),
        }
    }

    fn metrics(&self, headers: &HeaderMap) -> Response<FileBody> {
        let accept = headers.get_all(ACCEPT).iter();
        let accept: Vec<_> = accept.filter_map(|value| value.to_str().ok()).collect();
        let format = Format::accepted(&accept.join(","));
        let mut page = String::new();
        let mut response = match encode(&mut page, &self.registry) {
            Ok(()) => text(StatusCode::OK, format.media_type(), format.page(page)),
            Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        };
        let accept = HeaderValue::from_static("Accept");
        response.headers_mut().insert(VARY, accept);
        response
    }
}

impl<B> Tower<Request<B>> for MetricsService {
    type Response = Response<FileBody>;
    type Error = Infallible;
    type Future = Ready<Result<Response<FileBody>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut refusal = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
            let allowed = HeaderValue::from_static("GET, HEAD");
            refusal.headers_mut().insert(ALLOW, allowed);
            return ready(Ok(refusal));
        }
        ready(Ok(self.answer(request.uri().path(), request.headers())))
    }
}

impl Service for MetricsService {
    fn serve(
        &self,
        listener: impl Listener<Socket: HttpSocket>,
        connections: usize,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> ServiceFuture {
        let mut limits = Limits::default();
        limits.connections = connections;
        serve(listener, self.clone())
            .half_close(true)
            .limits(limits)
            .with_graceful_shutdown(stop)
            .into_future()
    }
}

fn plain(status: StatusCode, line: &str) -> Response<FileBody> {
    text(status, "text/plain; charset=utf-8", format!("{line}\n"))
}

fn text(status: StatusCode, kind: &'static str, text: String) -> Response<FileBody> {
    let mut response = Response::new(FileBody::full(text));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
