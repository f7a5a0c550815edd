//! The service that hyper calls for the requests of a connection.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;

use super::frame;
use super::incoming::NUMBER;
use crate::body::BoxError;
use crate::objects::OfObject;
use crate::server::answer::{Answer, Content};
use crate::server::app::App;
use crate::server::observe::Exchange;
use crate::server::refusal::{self, Refusal};
use crate::server::request_body::RequestBody;
use crate::server::service::RequestExtension;
use crate::server::state::{ConnectionState, Stream, Streams, WaitsFor};

/// The most data in a frame over TLS: with its head it fills one record (pitfall 48).
const RECORD: usize = (16 << 10) - frame::HEAD;

/// How much hyper gets at a time without TLS. It cuts that into frames as large as the peer allows,
/// and takes it even if the peer's window is used up.
const PIECE: usize = 64 << 10;

/// The application, as hyper calls it.
pub(super) struct StreamService<A> {
    pub(super) app: A,
    /// Added to every request of the connection.
    pub(super) extension: Option<RequestExtension>,
    pub(super) connection: Arc<ConnectionState>,
    pub(super) streams: Arc<Streams>,
    /// The most fields of a request.
    pub(super) fields: usize,
    /// Whether frames are to fit into records of TLS.
    pub(super) encrypted: bool,
}

impl<A: App> hyper::service::Service<Request<Incoming>> for StreamService<A> {
    type Response = Response<StreamBody<A::Body>>;
    type Error = Infallible;
    type Future = StreamFuture<A>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let state = &self.connection;
        let number = take_number(request.headers_mut());
        if let Some(extension) = &self.extension {
            extension.add_to(&mut request);
        }
        if number.is_none() {
            // The number was swallowed by a field that is not complete.
            state.break_off(frame::COMPRESSION_ERROR);
        }
        let number = number.unwrap_or(0);
        let refusal = if request.headers().len() > self.fields {
            Some(refusal::TOO_LARGE)
        } else {
            refused_as_request(&mut request)
        };
        let is_connect = request.method() == Method::CONNECT;
        let log = state.stream.log.another();
        log.open(log.observer().map(|observer| Exchange {
            stream: Some(number),
            ..Exchange::new(state.peer, &request, observer.wants_requests())
        }));
        let stream = self.streams.call(number, log);
        stream.progress.begin(state.observed(request.uri()));
        let answer = if let Some(refusal) = refusal {
            Answer::refused(refusal, state.stats())
        } else {
            let request = request.map(|body| RequestBody::of_stream(body, Arc::clone(&stream)));
            Answer::of(self.app.clone(), request)
        };
        StreamFuture {
            answer,
            stream,
            connection: Arc::clone(state),
            is_connect,
            frame: if self.encrypted { RECORD } else { PIECE },
        }
    }
}

/// Takes off the number that was added to the head. It is the last one; others are the client's.
fn take_number(headers: &mut HeaderMap) -> Option<u32> {
    let http::header::Entry::Occupied(entry) = headers.entry(NUMBER) else {
        return None;
    };
    let mut values: Vec<HeaderValue> = entry.remove_entry_mult().1.collect();
    let number = values.pop()?;
    for value in values {
        headers.append(NUMBER, value);
    }
    number.to_str().ok()?.parse().ok()
}

/// Why a request is refused; `None` if it is not. Gives it the form that requests of HTTP/1.1 have.
fn refused_as_request<B>(request: &mut Request<B>) -> Option<Refusal> {
    let is_protocol = request.extensions().get::<hyper::ext::Protocol>().is_some();
    if request.method() == Method::CONNECT && is_protocol {
        // The extended CONNECT of RFC 8441: a WebSocket.
        return None;
    }
    let refusal = refusal::of_stream(request);
    refusal::to_origin_form(request);
    refusal
}

pin_project! {
    /// The future of a response.
    pub(super) struct StreamFuture<A: App> {
        #[pin]
        answer: Answer<A>,
        stream: Arc<Stream>,
        connection: Arc<ConnectionState>,
        // The extended CONNECT of RFC 8441: others are refused.
        is_connect: bool,
        frame: usize,
    }
}

impl<A: App> Future for StreamFuture<A> {
    type Output = Result<Response<StreamBody<A::Body>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.answer.poll(cx));
        let status = response.status();
        if response.extensions().get::<OfObject>().is_some() {
            this.stream.set_of_object();
        }
        this.stream
            .log
            .note(|exchange| exchange.status = Some(status));
        let len = response.body().size_hint().exact();
        this.stream.progress.set_len(len);
        this.connection.added_fields.add_to(response.headers_mut());
        if *this.is_connect && status.is_success() {
            // hyper hands the stream over to the application. There is no body.
            this.stream.upgraded();
        } else if response.body().is_end_stream() {
            this.stream.given();
        }
        Poll::Ready(Ok(response.map(|content| StreamBody {
            content,
            rest: Bytes::new(),
            stream: Arc::clone(this.stream),
            connection: Arc::clone(this.connection),
            frame: *this.frame,
        })))
    }
}

pin_project! {
    /// A response's body, cut into frames. It notes how far it has come.
    pub(super) struct StreamBody<B> {
        #[pin]
        content: Content<B>,
        // What is left of a frame of `content`.
        rest: Bytes,
        stream: Arc<Stream>,
        connection: Arc<ConnectionState>,
        // The most bytes of a frame.
        frame: usize,
    }
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>>> Body for StreamBody<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        if this.rest.is_empty() {
            let polled = this.content.as_mut().poll_frame(cx);
            let Poll::Ready(polled) = polled else {
                this.stream.set_waits_for(WaitsFor::Application);
                return Poll::Pending;
            };
            match polled.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => *this.rest = data,
                Some(Ok(Err(frame))) => {
                    // Trailers end a response.
                    this.stream.given();
                    return Poll::Ready(Some(Ok(frame)));
                }
                Some(Err(error)) => {
                    let error = error.into();
                    this.stream.log.note(|exchange| exchange.broken = true);
                    this.connection.stream_failed(this.stream, &*error);
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    this.stream.given();
                    return Poll::Ready(None);
                }
            }
        }
        let len = this.rest.len().min(*this.frame);
        let data = this.rest.split_to(len);
        this.stream.set_source(&data);
        this.stream
            .log
            .note(|exchange| exchange.bytes += len as u64);
        this.stream.set_waits_for(WaitsFor::Reader);
        if this.rest.is_empty() && this.content.is_end_stream() {
            this.stream.given();
        }
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.content.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.rest.len() as u64;
        let content = self.content.size_hint();
        let mut hint = SizeHint::new();
        if let Some(upper) = content.upper() {
            hint.set_upper(upper + left);
        }
        hint.set_lower(content.lower() + left);
        hint
    }
}
