//! HTTP/2: hyper frames it, and this module adds what a server needs beyond that.
//!
//! - The [`transport`] collects the frames of a turn and sends them in one call. Slices of
//!   files are recognised by their addresses, as in HTTP/1.1.
//! - It [follows the frames](incoming) that arrive, and gives each request the number of its
//!   stream. So it is known what was sent of its response, and when that was complete.
//! - Floods of frames are [limited](flood).

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::server::conn::http2;

use crate::server::Limits;
use crate::server::app::App;
use crate::server::service::RequestExtension;
use crate::server::socket::HttpSocket;
use crate::server::state::{ConnectionState, Streams};
use executor::StreamExecutor;
use service::StreamService;
use transport::{SharedTransport, Transport};

mod executor;
mod flood;
mod frame;
mod incoming;
mod outbox;
mod service;
mod transport;

/// What a client with prior knowledge sends first (RFC 9113 section 3.4).
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How much of a response hyper queues in a stream. Slices of files in it take no memory. hyper
/// goes on while there is room, so this makes 32 frames, which are four whole batches. With 512 KiB
/// each round ended with a call for one frame.
const SEND_BUFFER: usize = 500 << 10;

/// What the field that carries a stream's number adds to the size of a request's head.
const NUMBER_FIELD: usize = 64;

/// Whether a client that begins with these bytes speaks HTTP/2; `None` if more are needed to tell.
pub(crate) fn is_preface(bytes: &[u8]) -> Option<bool> {
    let len = bytes.len().min(PREFACE.len());
    if bytes[..len] != PREFACE[..len] {
        return Some(false);
    }
    (len == PREFACE.len()).then_some(true)
}

/// A connection, whatever its service and its body.
pub(crate) trait Connection: Send {
    /// Drives it, and sends what it wrote, as far as the socket takes it.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>>;

    /// Lets the streams end, and then the connection.
    fn graceful_shutdown(&mut self);

    /// Tells the peer that the connection ends, if that can be said at once.
    fn say_goodbye(&mut self, cx: &mut Context<'_>);
}

struct HyperConnection<S: HttpSocket, A: App> {
    hyper: Pin<Box<Hyper<S, A>>>,
    transport: SharedTransport<S>,
}

type Hyper<S, A> = http2::Connection<SharedTransport<S>, StreamService<A>, StreamExecutor>;

/// Begins a connection.
pub(crate) fn connection<S: HttpSocket, A: App>(
    socket: S,
    app: A,
    extension: Option<RequestExtension>,
    state: &Arc<ConnectionState>,
    limits: &Limits,
) -> Box<dyn Connection> {
    let streams = state.begin_http2();
    let encrypted = socket.tls().is_some();
    let transport = Transport::new(socket, Arc::clone(state), Arc::clone(&streams));
    let transport = SharedTransport::new(transport);
    let service = StreamService {
        app,
        extension,
        connection: Arc::clone(state),
        streams: Arc::clone(&streams),
        fields: limits.fields(),
        encrypted,
    };
    let hyper = builder(limits, streams).serve_connection(transport.clone(), service);
    Box::new(HyperConnection {
        hyper: Box::pin(hyper),
        transport,
    })
}

/// How a connection is set up. Timeouts are ours.
fn builder(limits: &Limits, streams: Arc<Streams>) -> http2::Builder<StreamExecutor> {
    let head = limits.head_bytes.saturating_add(NUMBER_FIELD);
    let mut builder = http2::Builder::new(StreamExecutor::new(streams));
    builder
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(head).unwrap_or(u32::MAX))
        .max_send_buf_size(SEND_BUFFER)
        .enable_connect_protocol();
    builder
}

impl<S: HttpSocket, A: App> Connection for HyperConnection<S, A> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        let polled = self.hyper.as_mut().poll(cx);
        if polled.is_pending() {
            self.transport.lock().end_turn(cx);
        }
        polled
    }

    fn graceful_shutdown(&mut self) {
        self.hyper.as_mut().graceful_shutdown();
    }

    fn say_goodbye(&mut self, cx: &mut Context<'_>) {
        self.transport.lock().say_goodbye(cx);
    }
}
