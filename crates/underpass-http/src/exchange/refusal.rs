//! Requests that no application should see.

use http::header::HOST;
use http::{Method, Request, StatusCode, Version};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) reason: &'static str,
}

impl Default for Refusal {
    fn default() -> Self {
        bad("bad request\n")
    }
}

const fn bad(reason: &'static str) -> Refusal {
    Refusal {
        status: StatusCode::BAD_REQUEST,
        reason,
    }
}

/// Why a request must be refused; `None` if it need not.
pub(super) fn of<B>(request: &Request<B>) -> Option<Refusal> {
    of_target(request).or_else(|| of_host(request))
}

/// Only origin-form, and `*` for OPTIONS (RFC 9112 section 3.2): this is no proxy, and one that forwards to it must
/// have made the target so (section 3.2.1).
fn of_target<B>(request: &Request<B>) -> Option<Refusal> {
    let uri = request.uri();
    if request.method() == Method::CONNECT {
        Some(bad("CONNECT is for proxies, and this is none\n"))
    } else if uri.scheme().is_some() || uri.authority().is_some() {
        Some(bad("the request target must be a path: this is no proxy\n"))
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
        (Some(_), None) => Some(bad("the request's Host is no host\n")),
    }
}

/// Characters that RFC 3986 section 3.2 has in a host and port. An empty Host is a valid one.
pub(crate) fn is_host(host: &[u8]) -> bool {
    host.iter()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:[]%".contains(byte))
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
        let mut old = request("GET", "/", &[]);
        *old.version_mut() = Version::HTTP_10;
        assert_eq!(of(&old), None);
    }

    #[test]
    fn others_do_not() {
        for (method, target, hosts) in [
            ("GET", "http://a/", &["a"][..]),
            ("CONNECT", "a:443", &["a"]),
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
}
