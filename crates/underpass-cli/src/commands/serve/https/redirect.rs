//! Answers plain HTTP by a redirect to HTTPS. A certificate authority asks for proofs of control
//! here, too (ACME's HTTP-01, below `/.well-known/acme-challenge/`).

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, LOCATION};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use tower_service::Service as Tower;
use underpass_http::{FileBody, RequestBody};

use super::super::acme::Challenges;
use super::super::service::HttpHandler;
use crate::server::HTTPS_PORT;

#[derive(Clone, Debug)]
pub(in super::super) struct Redirect {
    /// The port of HTTPS.
    pub(in super::super) port: u16,
    /// The challenges of an ACME server, which are answered before anything is redirected.
    pub(in super::super) challenges: Option<Challenges>,
}

impl HttpHandler for Redirect {}

impl Tower<Request<RequestBody>> for Redirect {
    type Response = Response<FileBody>;
    type Error = Infallible;
    type Future = Ready<Result<Response<FileBody>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        ready(Ok(self.answer(
            request.method(),
            request.uri(),
            request.headers(),
        )))
    }
}

impl Redirect {
    fn answer(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Response<FileBody> {
        let challenges = self.challenges.as_ref();
        if let Some(proof) = challenges.and_then(|it| it.http_answer(uri.path())) {
            return text(StatusCode::OK, proof);
        }
        let location = host(uri, headers).map(|host| self.location(&host, uri));
        let Some(Ok(location)) = location.map(HeaderValue::try_from) else {
            let line = "400 Bad Request: no host, so there is nowhere to redirect to\n";
            return text(StatusCode::BAD_REQUEST, line);
        };
        // After a 301, clients may turn other methods into GET.
        let (status, line) = if matches!(*method, Method::GET | Method::HEAD) {
            let line = "301 Moved Permanently: to HTTPS\n";
            (StatusCode::MOVED_PERMANENTLY, line)
        } else {
            let line = "308 Permanent Redirect: to HTTPS\n";
            (StatusCode::PERMANENT_REDIRECT, line)
        };
        let mut response = text(status, line);
        response.headers_mut().insert(LOCATION, location);
        response
    }

    fn location(&self, host: &Authority, uri: &Uri) -> String {
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        // OPTIONS has a target without a path: *.
        let target = if target.starts_with('/') { target } else { "/" };
        let host = host.host();
        match self.port {
            HTTPS_PORT => format!("https://{host}{target}"),
            port => format!("https://{host}:{port}{target}"),
        }
    }
}

/// The host that was asked: of the target if it has one, or else of the field.
fn host(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    let named = uri.authority().cloned().or_else(|| {
        let field = headers.get(HOST)?.to_str().ok()?;
        field.parse().ok()
    });
    named.filter(|authority| !authority.host().is_empty())
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<FileBody> {
    let mut response = Response::new(FileBody::full(text));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(port: u16, host: &'static str, target: &'static str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static(host));
        let uri = Uri::from_static(target);
        let redirect = Redirect {
            port,
            challenges: None,
        };
        let response = redirect.answer(&Method::GET, &uri, &headers);
        let location = response.headers().get(LOCATION)?;
        Some(location.to_str().unwrap().to_owned())
    }

    #[test]
    fn host_and_port_are_the_right_ones() {
        for (port, host, target, wanted) in [
            (443, "example.org", "/a?b=c", "https://example.org/a?b=c"),
            (443, "example.org:80", "/", "https://example.org/"),
            (8443, "example.org:8080", "/a", "https://example.org:8443/a"),
            (8443, "[::1]:8080", "/a", "https://[::1]:8443/a"),
            (443, "[::1]", "/a", "https://[::1]/a"),
            (443, "field", "http://target:80/a", "https://target/a"),
            (443, "example.org", "*", "https://example.org/"),
        ] {
            assert_eq!(location(port, host, target).as_deref(), Some(wanted));
        }
        for host in ["", ":80", "a b", "a/b"] {
            assert_eq!(location(443, host, "/"), None, "{host:?}");
        }
    }
}
