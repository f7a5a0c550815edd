//! Prepared responses: a plain GET of a small file that is in the open-file cache is recognised
//! when it is read from the socket, and answered below hyper with a head that was made when the
//! file was opened.
//!
//! The request must be a GET of HTTP/1.1 for a path in the cache, with no field that could change
//! the response. All other requests go to hyper unchanged, and so do all requests that arrive while
//! another one is being answered. This takes a third less time in user space for a file of 1 KiB
//! (see DESIGN.md).

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use httparse::{EMPTY_HEADER, Header, Status};

use crate::clock;
use crate::semantics::host::is_host;

/// A source of prepared responses: the open-file cache of [`ServeDir`](crate::ServeDir).
pub(crate) trait PreparedResponses: Send + Sync {
    /// The response to a plain GET of this path, if it can be given at once.
    fn get(&self, path: &str) -> Option<PreparedResponse>;
}

/// A response with status 200, without its status line and date.
#[derive(Clone)]
pub(crate) struct PreparedResponse {
    /// The header lines, and the empty line that ends the head.
    pub(crate) fields: Bytes,
    pub(crate) body: Bytes,
    /// The body is of an object.
    pub(crate) is_of_object: bool,
}

/// More fields than browsers send. A request with more of them is left to hyper.
const FIELDS: usize = 32;

/// The length of an HTTP date.
const DATE: usize = 29;

/// The response to these bytes, if they are exactly one such request.
pub(crate) fn recognise(
    bytes: &[u8],
    prepared: &dyn PreparedResponses,
) -> Option<PreparedResponse> {
    let mut fields = [EMPTY_HEADER; FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let whole = Ok(Status::Complete(bytes.len()));
    let path = (request.parse(bytes) == whole).then_some(request.path)??;
    let plain = request.method == Some("GET")
        && request.version == Some(1)
        && !path.contains(['?', '#'])
        && are_plain(request.headers);
    if plain { prepared.get(path) } else { None }
}

/// Whether there is exactly one valid Host, and no field that could change the response.
fn are_plain(fields: &[Header<'_>]) -> bool {
    let mut hosts = 0;
    fields.iter().all(|field| {
        if field.name.eq_ignore_ascii_case("host") {
            hosts += 1;
            is_host(field.value)
        } else {
            is_plain(field)
        }
    }) && hosts == 1
}

fn is_plain(field: &Header<'_>) -> bool {
    const PLAIN: [&str; 13] = [
        "accept",
        "user-agent",
        "accept-encoding",
        "accept-language",
        "accept-charset",
        "cookie",
        "referer",
        "cache-control",
        "pragma",
        "dnt",
        "priority",
        "upgrade-insecure-requests",
        "from",
    ];
    let name = field.name;
    PLAIN.iter().any(|plain| name.eq_ignore_ascii_case(plain))
        || name.len() > 4 && name.as_bytes()[..4].eq_ignore_ascii_case(b"sec-")
        || name.eq_ignore_ascii_case("connection")
            && field.value.eq_ignore_ascii_case(b"keep-alive")
}

/// Appends the head of a response, with the lines that the server adds to it.
pub(crate) fn write_head(answer: &PreparedResponse, added_lines: &[u8], head: &mut Vec<u8>) {
    head.extend_from_slice(b"HTTP/1.1 200 OK\r\ndate: ");
    DATES.with_borrow_mut(|dates| head.extend_from_slice(dates.now()));
    head.extend_from_slice(b"\r\n");
    head.extend_from_slice(added_lines);
    head.extend_from_slice(&answer.fields);
}

thread_local! {
    static DATES: RefCell<Dates> = const { RefCell::new(Dates { second: 0, text: [0; DATE] }) };
    /// The buffer in which responses are assembled. It belongs to the thread, so that idle
    /// connections hold no memory.
    pub(crate) static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The date in HTTP's format, formatted once per second.
struct Dates {
    second: u64,
    text: [u8; DATE],
}

impl Dates {
    fn now(&mut self) -> &[u8] {
        let second = clock::unix_seconds();
        if second != self.second {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
            let text = httpdate::fmt_http_date(time);
            self.text.copy_from_slice(&text.as_bytes()[..DATE]);
            self.second = second;
        }
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Known;

    impl PreparedResponses for Known {
        fn get(&self, path: &str) -> Option<PreparedResponse> {
            (path == "/a").then(|| PreparedResponse {
                fields: Bytes::from_static(b"content-length: 2\r\n\r\n"),
                body: Bytes::from_static(b"hi"),
                is_of_object: false,
            })
        }
    }

    fn is_recognised(request: &str) -> bool {
        recognise(request.as_bytes(), &Known).is_some()
    }

    #[test]
    fn a_plain_request_is_recognised() {
        let plain = "GET /a HTTP/1.1\r\nHost: a\r\nUser-Agent: b\r\nSec-Fetch-Mode: c\r\nConnection: Keep-Alive\r\n\r\n";
        assert!(is_recognised(plain));
        assert!(!is_recognised(&format!("{plain}GET /b")));
    }

    #[test]
    fn everything_else_is_hypers() {
        for request in [
            "GET /a HTTP/1.1\r\nHost: a\r\n",
            "GET /a HTTP/1.1\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: a/b\r\n\r\n",
            "GET /a HTTP/1.0\r\nHost: a\r\n\r\n",
            "HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /b HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /a?b HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http://a/a HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: a\r\nRange: bytes=0-1\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: a\r\nIf-None-Match: *\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: a\r\nUnheard-Of: 1\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost : a\r\n\r\n",
            "",
        ] {
            assert!(!is_recognised(request), "{request:?}");
        }
    }

    #[test]
    fn a_head_is_what_hyper_would_write() {
        let mut head = Vec::new();
        write_head(&Known.get("/a").unwrap(), b"one: 1\r\n", &mut head);
        let head = String::from_utf8(head).unwrap();
        let date = head.strip_prefix("HTTP/1.1 200 OK\r\ndate: ").unwrap();
        let (date, rest) = date.split_once("\r\n").unwrap();
        let date = httpdate::parse_http_date(date).unwrap();
        assert!(date.elapsed().unwrap_or_default() < Duration::from_secs(60));
        assert_eq!(rest, "one: 1\r\ncontent-length: 2\r\n\r\n");
    }
}
