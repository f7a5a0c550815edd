//! Being told of every exchange: what access logs and metrics are made of.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use http::header::{REFERER, USER_AGENT};
use http::{HeaderValue, Method, StatusCode, Uri, Version};

/// Is told what happened on the connections of a server, in the task of each: be quick.
pub trait Observe: Send + Sync + 'static {
    /// Whether [`exchange`](Self::exchange) is wanted; without it, following them costs nothing.
    /// Asked once a connection.
    fn wants_exchanges(&self) -> bool {
        true
    }

    /// Whether [`Exchange::request`] is wanted; without it, it is `None` and costs nothing.
    fn wants_requests(&self) -> bool {
        true
    }

    /// A response is through, or never will be.
    fn exchange(&self, exchange: &Exchange);

    /// A connection ended in an error: what the peer sent is no HTTP, the peer went away, a timeout
    /// passed, or a body could not go on.
    fn failed(&self, failure: &Failure<'_>) {
        let _ = failure;
    }
}

/// A request and what became of its response.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Exchange {
    /// The other end, where it has an address.
    pub peer: Option<SocketAddr>,
    /// The request's method. Where what came is no request, its first word, or `-` if that can be
    /// no method.
    pub method: Method,
    /// The rest of the request, if the observer wants it.
    pub request: Option<Box<RequestHead>>,
    /// Where what came is no request and was refused: its first line as it came, or the beginning
    /// of it, if the observer wants requests. It is empty where it is not known.
    pub malformed: Option<Box<[u8]>>,
    /// When its head was complete.
    pub at: SystemTime,
    /// From then until the last byte of the response went to the socket.
    pub elapsed: Duration,
    /// The response's status; `None` if the connection ended before there was one.
    pub status: Option<StatusCode>,
    /// Bytes of the response's body that were handed on to be sent. When the exchange is complete
    /// they all were; when it is not, some of the last may not have been.
    pub bytes: u64,
    /// Whether the whole response went to the socket.
    pub complete: bool,
    pub(crate) started: Instant,
    /// The body ended in an error of its own.
    pub(crate) broken: bool,
}

/// The parts of a request that logs want. They are copies, so that who keeps them keeps none of the
/// connection's buffers; cloning it copies no strings.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The target as it was sent.
    pub uri: Uri,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// `Referer`
    pub referer: Option<HeaderValue>,
    /// `User-Agent`
    pub user_agent: Option<HeaderValue>,
    /// `Authorization`, for the name of the user in it.
    pub authorization: Option<HeaderValue>,
}

/// Why a connection ended early.
#[derive(Debug)]
#[non_exhaustive]
pub struct Failure<'a> {
    /// The other end, where it has an address.
    pub peer: Option<SocketAddr>,
    /// One line that says what happened.
    pub error: &'a (dyn std::error::Error + 'static),
}

impl Exchange {
    /// Bytes of memory that it holds, give or take a few.
    pub fn held(&self) -> usize {
        let head = self.request.as_deref().map_or(0, RequestHead::held);
        size_of::<Self>() + head + self.malformed.as_deref().map_or(0, <[u8]>::len)
    }

    pub(crate) fn new<B>(
        peer: Option<SocketAddr>,
        request: &http::Request<B>,
        details: bool,
    ) -> Self {
        // What hyper has cut out of its buffer would keep all of that.
        let copied = |value: &HeaderValue| HeaderValue::from_bytes(value.as_bytes()).ok();
        let header = |name| request.headers().get(name).and_then(copied);
        let head = || RequestHead {
            method: request.method().clone(),
            uri: request.uri().to_string().parse().unwrap_or_default(),
            version: request.version(),
            referer: header(REFERER),
            user_agent: header(USER_AGENT),
            authorization: header(http::header::AUTHORIZATION),
        };
        Self {
            method: request.method().clone(),
            request: details.then(|| Box::new(head())),
            ..Self::begun(peer)
        }
    }

    /// What was refused before it was read as a request.
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

    /// A GET whose head is not kept.
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
            started: Instant::now(),
            broken: false,
        }
    }
}

impl RequestHead {
    fn held(&self) -> usize {
        let fields = [&self.referer, &self.user_agent, &self.authorization];
        let fields = fields.into_iter().flatten().map(HeaderValue::len);
        let target = self.uri.path().len() + self.uri.query().map_or(0, str::len);
        size_of::<Self>() + self.method.as_str().len() + target + fields.sum::<usize>()
    }
}
