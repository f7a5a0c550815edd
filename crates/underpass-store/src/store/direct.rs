//! Bodies that are read from the socket into memory that is used again.
//!
//! hyper reads a body into new memory, piece by piece, which costs more than the copy: the kernel
//! clears each page first, and takes it back afterwards (see DESIGN.md). So where the store speaks
//! plain HTTP, an answer that is a body of known length is read here. Any other answer is left to
//! hyper, which gets it from its first byte.

use std::collections::HashMap;
use std::error::Error;
use std::io::{self, Read as _};
use std::net::{Shutdown, TcpStream as Blocking};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use object_store::client::HttpRequest;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;

use super::patience::{KEPT_IDLE, Patience, too_long};
use crate::error::{ErrorKind, Failure};

/// A head is no longer than this.
const LONGEST_HEAD: usize = 64 << 10;
const MOST_FIELDS: usize = 128;

/// Connections that wait for their next request, by the authority that they are to.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    idle: Mutex<HashMap<String, Vec<(Instant, Blocking)>>>,
}

/// The answer to a request for a body.
pub(crate) enum Answer {
    /// Its body has not been read yet.
    Plain(Response<()>, Body),
    /// It is something else, which hyper reads.
    Other(Response<hyper::body::Incoming>),
}

/// A body of known length that has not been read. Reading it blocks.
#[derive(Debug)]
pub(crate) struct Body {
    stream: Blocking,
    /// What came with the head.
    early: Bytes,
    left: u64,
    patience: Patience,
    home: Option<(Arc<Connections>, String)>,
}

/// Ends the reading of a body elsewhere when it is dropped.
pub(crate) struct Stopper(Option<Blocking>);

impl Connections {
    /// Sends a request without a body, and reads the head of its answer. Whoever asks limits how
    /// long that may take in all.
    pub(crate) async fn ask(
        self: &Arc<Self>,
        request: &HttpRequest,
        connect: Duration,
        patience: Patience,
    ) -> Result<Answer, Failure> {
        let authority = request.uri().authority();
        let authority = authority.map_or("", |it| it.as_str()).to_owned();
        let head = head_of(request);
        while let Some(kept) = self.take(&authority) {
            let Ok(mut stream) = TcpStream::from_std(kept) else {
                continue;
            };
            // A store may close a connection at any time, and then has not seen the request.
            if let Ok(came) = exchange(&mut stream, &head).await
                && !came.is_empty()
            {
                return self
                    .answer(stream, came, request, patience, authority)
                    .await;
            }
        }
        let connecting = TcpStream::connect(address(&authority));
        let connected = tokio::time::timeout(connect, connecting).await;
        let no_connection = |error: io::Error| {
            let why = format!("no connection to the store: {error}");
            (ErrorKind::Unreachable, why)
        };
        let mut stream = match connected {
            Ok(connected) => connected.map_err(no_connection)?,
            Err(_) => return Err(too_long("no connection", connect)),
        };
        stream.set_nodelay(true).map_err(no_connection)?;
        let came = exchange(&mut stream, &head).await;
        let came = came.map_err(|error| broke(&error))?;
        self.answer(stream, came, request, patience, authority)
            .await
    }

    async fn answer(
        self: &Arc<Self>,
        stream: TcpStream,
        came: Vec<u8>,
        request: &HttpRequest,
        patience: Patience,
        authority: String,
    ) -> Result<Answer, Failure> {
        let Some((head, left, early)) = plain(&came) else {
            let io = Replayed {
                came: came.into(),
                stream,
                is_asked: false,
                reader: None,
            };
            return Ok(Answer::Other(by_hyper(io, request).await?));
        };
        let early = Bytes::copy_from_slice(&came[early..]);
        let stream = stream.into_std().and_then(|stream| {
            stream.set_nonblocking(false)?;
            stream.set_read_timeout(Some(patience.turn()))?;
            Ok(stream)
        });
        let stream = stream.map_err(|error| broke(&error))?;
        let body = Body {
            stream,
            early,
            left,
            patience,
            home: is_kept(head.headers()).then(|| (Arc::clone(self), authority)),
        };
        Ok(Answer::Plain(head, body))
    }

    /// One that the store has not closed.
    fn take(&self, authority: &str) -> Option<Blocking> {
        loop {
            let (since, stream) = self.lock().get_mut(authority)?.pop()?;
            let is_quiet = || {
                stream.set_nonblocking(true)?;
                match stream.peek(&mut [0]) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
                    // It was closed, or something came that nobody asked for.
                    _ => Err(io::Error::from(io::ErrorKind::ConnectionReset)),
                }
            };
            if since.elapsed() < KEPT_IDLE && is_quiet().is_ok() {
                return Some(stream);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<(Instant, Blocking)>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Body {
    /// In bytes.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// Dropping it while the body is read elsewhere ends that.
    pub(crate) fn stopper(&self) -> Stopper {
        Stopper(self.stream.try_clone().ok())
    }

    /// Fills the buffer, which is no longer than what is left. Says how far, if that fails.
    pub(crate) fn fill(&mut self, buffer: &mut [u8]) -> Result<(), (usize, Failure)> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read(&mut buffer[filled..]) {
                Ok(count) => filled += count,
                Err(failure) => return Err((filled, failure)),
            }
        }
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        let count = if self.early.is_empty() {
            self.receive(buffer)?
        } else {
            let count = buffer.len().min(self.early.len());
            self.early.copy_to_slice(&mut buffer[..count]);
            count
        };
        self.left -= count as u64;
        if !self.patience.came(count as u64) {
            return Err(self.patience.over());
        }
        Ok(count)
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        let until = self.patience.until();
        loop {
            if Instant::now() >= until {
                return Err(self.patience.over());
            }
            match self.stream.read(buffer) {
                Ok(0) => return Err((ErrorKind::Unreachable, "the body ended early".into())),
                Ok(count) => return Ok(count),
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock => {}
                    _ => return Err(broke(&error)),
                },
            }
        }
    }

    /// Keeps the connection for the next request, if the body was read to its end.
    pub(crate) fn finish(self) {
        if let Some((home, authority)) = self.home
            && self.left == 0
        {
            let mut idle = home.lock();
            let idle = idle.entry(authority).or_default();
            idle.retain(|(since, _)| since.elapsed() < KEPT_IDLE);
            idle.push((Instant::now(), self.stream));
        }
    }
}

impl Stopper {
    /// The body was read.
    pub(crate) fn forget(mut self) {
        self.0 = None;
    }
}

impl Drop for Stopper {
    fn drop(&mut self) {
        if let Some(stream) = &self.0 {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn broke(why: &dyn Error) -> Failure {
    let why = format!("the connection to the store broke: {why}");
    (ErrorKind::Unreachable, why)
}

/// With the port that plain HTTP has.
fn address(authority: &str) -> String {
    let host = authority.rsplit('@').next().unwrap_or(authority);
    let has_port = host.rsplit(']').next().is_some_and(|it| it.contains(':'));
    if has_port {
        host.into()
    } else {
        format!("{host}:80")
    }
}

fn head_of(request: &HttpRequest) -> Vec<u8> {
    let target = request.uri().path_and_query().map_or("/", |it| it.as_str());
    let mut head = format!("{} {target} HTTP/1.1\r\n", request.method()).into_bytes();
    let mut field = |name: &HeaderName, value: &[u8]| {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value);
        head.extend_from_slice(b"\r\n");
    };
    if !request.headers().contains_key(header::HOST)
        && let Some(authority) = request.uri().authority()
    {
        let host = authority.as_str().rsplit('@').next().unwrap_or_default();
        field(&header::HOST, host.as_bytes());
    }
    for (name, value) in request.headers() {
        field(name, value.as_bytes());
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// Sends a request, and returns the beginning of the answer: with the whole head, if it can be one.
async fn exchange(stream: &mut TcpStream, head: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(head).await?;
    let mut came = Vec::with_capacity(4096);
    loop {
        let count = stream.read_buf(&mut came).await?;
        let is_over = count == 0 || came.len() >= LONGEST_HEAD;
        if is_over || came.windows(4).any(|it| it == b"\r\n\r\n") {
            return Ok(came);
        }
    }
}

/// The head of an answer that is a body of known length: its fields, that length, and where the
/// body begins.
fn plain(came: &[u8]) -> Option<(Response<()>, u64, usize)> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut parsed = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(end) = parsed.parse(came).ok()? else {
        return None;
    };
    if !matches!(parsed.code, Some(200 | 206)) || parsed.version != Some(1) {
        return None;
    }
    let mut response = Response::builder().status(parsed.code?).body(()).ok()?;
    for field in parsed.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        let value = HeaderValue::from_bytes(field.value).ok()?;
        response.headers_mut().append(name, value);
    }
    let fields = response.headers();
    if fields.contains_key(header::TRANSFER_ENCODING) {
        return None;
    }
    let mut lengths = fields.get_all(header::CONTENT_LENGTH).iter();
    let (length, None) = (lengths.next()?.to_str().ok()?, lengths.next()) else {
        return None;
    };
    if length.is_empty() || !length.bytes().all(|it| it.is_ascii_digit()) {
        return None;
    }
    let length: u64 = length.parse().ok()?;
    // What follows the body is nothing that was asked for.
    (length >= (came.len() - end) as u64).then_some((response, length, end))
}

fn is_kept(fields: &HeaderMap) -> bool {
    let mut options = fields.get_all(header::CONNECTION).iter();
    !options.any(|it| {
        it.to_str()
            .map_or(true, |it| it.to_ascii_lowercase().contains("close"))
    })
}

/// An answer whose beginning was read already, to a request that was sent already. hyper takes no
/// answer before it has sent the request.
struct Replayed {
    came: Bytes,
    stream: TcpStream,
    is_asked: bool,
    reader: Option<Waker>,
}

async fn by_hyper(
    io: Replayed,
    request: &HttpRequest,
) -> Result<Response<hyper::body::Incoming>, Failure> {
    let unreadable = |error: hyper::Error| broke(error.source().unwrap_or(&error));
    let shaken = hyper::client::conn::http1::handshake(TokioIo::new(io)).await;
    let (mut sender, connection) = shaken.map_err(unreadable)?;
    // It ends with the body, and with whoever reads that.
    tokio::spawn(connection);
    let mut again = http::Request::new(Empty::<Bytes>::new());
    *again.method_mut() = request.method().clone();
    *again.uri_mut() = request.uri().clone();
    sender.send_request(again).await.map_err(unreadable)
}

impl AsyncRead for Replayed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.is_asked {
            self.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        if self.came.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let count = self.came.len().min(buffer.remaining());
        buffer.put_slice(&self.came.split_to(count));
        Poll::Ready(Ok(()))
    }
}

/// What hyper writes is the request, which the store has.
impl AsyncWrite for Replayed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.is_asked = true;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_a_body_of_known_length_is_read_directly() {
        let length = |answer: &str| plain(answer.as_bytes()).map(|it| (it.1, it.2));
        let good = "HTTP/1.1 206 Partial Content\r\nContent-Length: 7\r\n\r\nabc";
        assert_eq!(length(good), Some((7, good.len() - 3)));
        for other in [
            "HTTP/1.1 200 OK\r\n\r\nabc",
            "HTTP/1.0 200 OK\r\ncontent-length: 7\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\ncontent-length: +7\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\ncontent-length: 7\r\ncontent-length: 7\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\ncontent-length: 7\r\ntransfer-encoding: chunked\r\n\r\nabc",
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 7\r\n\r\nabc",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n",
            "",
        ] {
            assert_eq!(length(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_a_body_begins_behind_its_head(
            came in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..200),
                "HTTP/1.[01] [0-9]{3} x\r\n(content-length: [0-9]{1,20}\r\n){0,2}\r\n.{0,9}"
                    .prop_map(String::into_bytes),
            ],
        ) {
            if let Some((_, length, begin)) = plain(&came) {
                prop_assert!(came[..begin].ends_with(b"\r\n\r\n"));
                prop_assert!(length >= (came.len() - begin) as u64);
            }
        }
    }

    #[test]
    fn plain_http_has_a_port_of_its_own() {
        for (authority, expected) in [
            ("store", "store:80"),
            ("store:8333", "store:8333"),
            ("[::1]", "[::1]:80"),
            ("[::1]:8333", "[::1]:8333"),
            ("name:secret@store", "store:80"),
        ] {
            assert_eq!(address(authority), expected);
        }
    }
}
