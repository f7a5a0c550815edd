//! Requests that are refused before an application sees them.

use std::io;

use http::header::{AUTHORIZATION, HOST};
use http::uri::Authority;
use http::{HeaderValue, Method, Request, StatusCode, Uri, Version};

use crate::semantics::host::is_host;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) reason: &'static str,
}

impl Default for Refusal {
    fn default() -> Self {
        bad("bad request\n")
    }
}

impl Refusal {
    /// The refusal as an error, for observers and for hyper.
    pub(super) fn error(self) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, self.reason.trim_end())
    }
}

pub(crate) const TOO_LARGE: Refusal = Refusal {
    status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    reason: "the request's head is too large\n",
};

pub(crate) const fn bad(reason: &'static str) -> Refusal {
    Refusal {
        status: StatusCode::BAD_REQUEST,
        reason,
    }
}

/// Why a request is refused; `None` if it is not.
pub(super) fn of<B>(request: &Request<B>) -> Option<Refusal> {
    of_target(request)
        .or_else(|| of_host(request))
        .or_else(|| of_authorization(request))
}

/// Why a request of HTTP/2 is refused; `None` if it is not. Its authority stands for Host, and the
/// two must not differ (RFC 9113 section 8.3.1).
pub(super) fn of_stream<B>(request: &Request<B>) -> Option<Refusal> {
    let Some(authority) = request.uri().authority() else {
        return of(request);
    };
    let differs = |host: &HeaderValue| {
        let authority = authority.as_str().as_bytes();
        !host.as_bytes().eq_ignore_ascii_case(authority)
    };
    if request.headers().get_all(HOST).iter().any(differs) {
        return Some(bad("the request's Host is not its authority\n"));
    }
    of_target(request).or_else(|| of_authorization(request))
}

/// Origin-form and absolute-form, and `*` for OPTIONS (RFC 9112 section 3.2).
fn of_target<B>(request: &Request<B>) -> Option<Refusal> {
    let uri = request.uri();
    let is_http = uri
        .scheme_str()
        .is_some_and(|it| it == "http" || it == "https");
    if request.method() == Method::CONNECT {
        Some(bad("CONNECT is for proxies, and this is not a proxy\n"))
    } else if let Some(authority) = uri.authority() {
        // An http URI has neither an empty host nor a user's name (RFC 9110 sections 4.2.1 and
        // 4.2.4).
        let is_host = is_host(authority.as_str().as_bytes()) && !authority.host().is_empty();
        (!is_http || !is_host).then_some(bad("the request target is not an http URI of a server\n"))
    } else if uri.path() == "*" && request.method() != Method::OPTIONS {
        Some(bad("the target * is for OPTIONS only\n"))
    } else {
        None
    }
}

/// RFC 9112 section 3.2: exactly one Host in HTTP/1.1, and a valid one.
fn of_host<B>(request: &Request<B>) -> Option<Refusal> {
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if request.version() < Version::HTTP_11 => None,
        (None, _) => Some(bad("the request has no Host\n")),
        (Some(_), Some(_)) => Some(bad("the request has more than one Host\n")),
        (Some(host), None) if is_host(host.as_bytes()) => None,
        (Some(_), None) => Some(bad("the request's Host is not a valid host\n")),
    }
}

/// Two fields may name two users, and the server cannot choose between them.
fn of_authorization<B>(request: &Request<B>) -> Option<Refusal> {
    let several = request
        .headers()
        .get_all(AUTHORIZATION)
        .iter()
        .nth(1)
        .is_some();
    several.then_some(bad("the request has more than one Authorization\n"))
}

/// Converts a target in absolute-form to origin-form and sets Host accordingly (RFC 9112 section
/// 3.2.2), so that applications see only one form.
pub(super) fn to_origin_form<B>(request: &mut Request<B>) {
    let uri = request.uri();
    let Some(host) = uri.authority().map(Authority::as_str) else {
        return;
    };
    let host = HeaderValue::from_str(host);
    let path = uri.path_and_query().cloned().map(Uri::from);
    if let (Ok(host), Some(path)) = (host, path) {
        request.headers_mut().insert(HOST, host);
        *request.uri_mut() = path;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, target: &str, hosts: &[&str]) -> Request<()> {
        let mut builder = Request::builder().method(method).uri(target);
        for host in hosts {
            builder = builder.header(HOST, *host);
        }
        builder.body(()).unwrap()
    }

    #[test]
    fn ordinary_requests_pass() {
        assert_eq!(of(&request("GET", "/a?b=c", &["localhost:8080"])), None);
        assert_eq!(of(&request("GET", "/", &["[::1]:80"])), None);
        assert_eq!(of(&request("GET", "/", &[""])), None);
        assert_eq!(of(&request("OPTIONS", "*", &["a"])), None);
        assert_eq!(of(&request("GET", "http://a:80/b?c", &["d"])), None);
        let mut old = request("GET", "/", &[]);
        *old.version_mut() = Version::HTTP_10;
        assert_eq!(of(&old), None);
    }

    #[test]
    fn others_do_not() {
        for (method, target, hosts) in [
            ("CONNECT", "a:443", &["a"][..]),
            ("GET", "http://user@a/", &["a"]),
            ("GET", "http://a..b/", &["a"]),
            ("GET", "ftp://a/", &["a"]),
            ("GET", "http://a/", &[]),
            ("GET", "http://a/", &["."]),
            ("GET", "a:443", &["a"]),
            ("GET", "*", &["a"]),
            ("GET", "/", &[]),
            ("GET", "/", &["a", "a"]),
            ("GET", "/", &["a b"]),
            ("GET", "/", &["a/b"]),
            ("GET", "/", &["user@a"]),
        ] {
            let refused = of(&request(method, target, hosts));
            assert!(refused.is_some(), "{method} {target} {hosts:?}");
        }
    }

    #[test]
    fn the_absolute_form_stands_for_another_host() {
        for (target, host, path) in [
            ("http://b:81/c?d", "b:81", "/c?d"),
            ("HTTP://B", "B", "/"),
            ("/c", "a", "/c"),
        ] {
            let mut request = request("GET", target, &["a"]);
            to_origin_form(&mut request);
            assert_eq!(request.headers()[HOST], host);
            assert_eq!(request.uri(), path);
        }
    }

    #[test]
    fn two_users_are_one_too_many() {
        let mut request = request("GET", "/", &["a"]);
        for value in ["Basic YTpi", "Basic YTpi"] {
            assert_eq!(of(&request), None);
            request
                .headers_mut()
                .append(AUTHORIZATION, HeaderValue::from_static(value));
        }
        assert!(of(&request).is_some());
    }
}
