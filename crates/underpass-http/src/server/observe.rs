//! Observing exchanges, for access logs and metrics.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::header::{AUTHORIZATION, FORWARDED, REFERER, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};
use underpass::Tls;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Is told what happens on the connections of a server. The methods are called in the connection's
/// task, so they must not block.
pub trait Observe: Send + Sync + 'static {
    /// Whether [`exchange`](Self::exchange) is to be called. If not, exchanges are not tracked,
    /// which costs nothing. Called once per connection.
    fn wants_exchanges(&self) -> bool {
        true
    }

    /// Whether [`Exchange::request`] is needed. If not, it is `None` and costs nothing.
    fn wants_requests(&self) -> bool {
        true
    }

    /// An exchange has ended: its response was sent, or broken off.
    fn exchange(&self, exchange: &Exchange);

    /// A connection ended in an error: the peer did not send HTTP, the peer went away, a timeout
    /// passed, or a response body failed. In HTTP/2 such a body ends its stream, and the connection
    /// goes on.
    fn failed(&self, failure: &Failure<'_>) {
        let _ = failure;
    }
}

/// A request and its response.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Exchange {
    /// The peer's address, if it has one.
    pub peer: Option<SocketAddr>,
    /// The request's method. For a malformed request, its first word, or `-` if that is not a valid
    /// method.
    pub method: Method,
    /// The rest of the request, if the observer needs it.
    pub request: Option<Box<RequestHead>>,
    /// For a malformed request that was refused: its first line, or the beginning of it, if the
    /// observer needs requests. Empty if it is not known.
    pub malformed: Option<Box<[u8]>>,
    /// When the request's head was complete.
    pub at: SystemTime,
    /// The time from then until the last byte of the response was written to the socket.
    pub elapsed: Duration,
    /// The response's status; `None` if the connection ended before it was known.
    pub status: Option<StatusCode>,
    /// Bytes of the response's body that were queued for sending. If the exchange is complete, all
    /// of them were sent; otherwise the last of them may not have been.
    pub bytes: u64,
    /// Whether the whole response was written to the socket.
    pub complete: bool,
    /// The number of its stream, in HTTP/2.
    pub stream: Option<u32>,
    /// The connection's TLS, if it has any, and if the observer needs requests.
    pub tls: Option<Arc<TlsConnection>>,
    pub(crate) started: Instant,
    /// The response's body ended in an error.
    pub(crate) broken: bool,
}

/// The parts of a request that logs need. They are copies, so keeping them does not keep the
/// connection's buffers alive. Cloning copies no strings.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The target as it was sent; in HTTP/2, the path and the query.
    pub uri: Uri,
    /// HTTP/1.0, HTTP/1.1 or HTTP/2.
    pub version: Version,
    /// `Referer`
    pub referer: Option<HeaderValue>,
    /// `User-Agent`
    pub user_agent: Option<HeaderValue>,
    /// `Authorization`, for the name of the user in it.
    pub authorization: Option<HeaderValue>,
    /// `Forwarded` (RFC 7239): all of its lines, joined by commas. Anybody can send it; it means
    /// something only if the peer is a proxy that is trusted.
    pub forwarded: Option<HeaderValue>,
    /// `X-Forwarded-For`, likewise.
    pub x_forwarded_for: Option<HeaderValue>,
}

/// What logs say of a connection's TLS.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TlsConnection {
    /// Its version and cipher, and who encrypts.
    pub tls: Tls,
    /// Whether its handshake resumed an earlier session.
    pub resumed: bool,
    /// The name that the client asked for.
    pub server_name: Option<String>,
    /// The fingerprint of the client's key, if it showed a certificate.
    pub client: Option<String>,
}

impl TlsConnection {
    /// A connection with no name, no client's key, and a handshake of its own.
    pub fn new(tls: Tls) -> Self {
        Self {
            tls,
            resumed: false,
            server_name: None,
            client: None,
        }
    }
}

/// Why a connection ended early.
#[derive(Debug)]
#[non_exhaustive]
pub struct Failure<'a> {
    /// The peer's address, if it has one.
    pub peer: Option<SocketAddr>,
    /// The error; its message is one line.
    pub error: &'a (dyn std::error::Error + 'static),
    /// The response that it broke off, or that was to come, if there is one.
    pub response: Option<PartialResponse<'a>>,
}

/// A response that was broken off.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PartialResponse<'a> {
    /// The target of its request, as it was sent: the path and the query.
    pub target: &'a str,
    /// How many bytes of its body were sent (in HTTP/2, in whole frames), and how many there are.
    /// `None` if that is not known for sure: the length was not known beforehand, or the request
    /// came before the last response was sent.
    pub sent: Option<(u64, u64)>,
}

impl Exchange {
    /// The memory that it uses, in bytes, approximately.
    pub fn held(&self) -> usize {
        let head = self.request.as_deref().map_or(0, RequestHead::held);
        size_of::<Self>() + head + self.malformed.as_deref().map_or(0, <[u8]>::len)
    }

    pub(crate) fn new<B>(
        peer: Option<SocketAddr>,
        request: &http::Request<B>,
        details: bool,
    ) -> Self {
        // A copy, because a slice of hyper's buffer would keep the whole buffer alive.
        let copied = |value: &HeaderValue| HeaderValue::from_bytes(value.as_bytes()).ok();
        let header = |name| request.headers().get(name).and_then(copied);
        let head = || RequestHead {
            method: request.method().clone(),
            uri: request.uri().to_string().parse().unwrap_or_default(),
            version: request.version(),
            referer: header(REFERER),
            user_agent: header(USER_AGENT),
            authorization: header(AUTHORIZATION),
            forwarded: joined(request.headers(), &FORWARDED),
            x_forwarded_for: joined(request.headers(), &X_FORWARDED_FOR),
        };
        Self {
            method: request.method().clone(),
            request: details.then(|| Box::new(head())),
            ..Self::begun(peer)
        }
    }

    /// A request that was refused because it is malformed.
    pub(crate) fn malformed(peer: Option<SocketAddr>, line: &[u8], details: bool) -> Self {
        let word = line.split(|byte| *byte == b' ').next().unwrap_or_default();
        Self {
            method: Method::from_bytes(word)
                .or_else(|_| Method::from_bytes(b"-"))
                .unwrap_or_default(),
            malformed: details.then(|| line.into()),
            ..Self::begun(peer)
        }
    }

    /// A GET without its head.
    pub(crate) fn begun(peer: Option<SocketAddr>) -> Self {
        Self {
            peer,
            method: Method::GET,
            request: None,
            malformed: None,
            at: SystemTime::now(),
            elapsed: Duration::ZERO,
            status: None,
            bytes: 0,
            complete: false,
            stream: None,
            tls: None,
            started: Instant::now(),
            broken: false,
        }
    }
}

impl RequestHead {
    fn held(&self) -> usize {
        let fields = [
            &self.referer,
            &self.user_agent,
            &self.authorization,
            &self.forwarded,
            &self.x_forwarded_for,
        ];
        let fields = fields.into_iter().flatten().map(HeaderValue::len);
        let target = self.uri.path().len() + self.uri.query().map_or(0, str::len);
        size_of::<Self>() + self.method.as_str().len() + target + fields.sum::<usize>()
    }
}

/// All lines of a field as one value, in a copy.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<HeaderValue> {
    let lines: Vec<_> = headers
        .get_all(name)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if lines.is_empty() {
        return None;
    }
    HeaderValue::from_bytes(&lines.join(&b", "[..])).ok()
}
