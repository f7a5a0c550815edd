//! The service that hyper calls. It refuses invalid requests, calls the application, and tracks
//! each response to its last byte.

use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONNECTION, TRANSFER_ENCODING};
use http::{Extensions, HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;

use crate::objects::OfObject;
use crate::server::answer::{Answer, Content};
use crate::server::app::App;
use crate::server::client_address::{ClientAddress, TrustedProxies};
use crate::server::framing::REFUSED;
use crate::server::observe::Exchange;
use crate::server::refusal;
use crate::server::request_body::RequestBody;
use crate::server::state::{ConnectionState, UpgradeAnswer};

/// The application as hyper calls it.
pub(crate) struct HyperService<A> {
    pub(crate) app: A,
    /// Added to every request of the connection.
    pub(crate) extension: Option<RequestExtension>,
    pub(crate) state: Arc<ConnectionState>,
}

/// What is added to the extensions of requests.
pub(crate) struct RequestExtension {
    value: Option<AddValue>,
    /// How the client's address is found, and the peer's.
    client: Option<(TrustedProxies, Option<IpAddr>)>,
}

type AddValue = Box<dyn Fn(&mut Extensions) + Send + Sync>;

impl RequestExtension {
    pub(crate) fn new<T: Clone + Send + Sync + 'static>(value: T) -> Self {
        let add = move |extensions: &mut Extensions| {
            extensions.insert(value.clone());
        };
        Self {
            value: Some(Box::new(add)),
            client: None,
        }
    }

    /// The same, and the address of the client.
    pub(super) fn with_client(
        this: Option<Self>,
        proxies: Option<TrustedProxies>,
        peer: Option<SocketAddr>,
    ) -> Option<Self> {
        let Some(proxies) = proxies else {
            return this;
        };
        Some(Self {
            value: this.and_then(|it| it.value),
            client: Some((proxies, peer.map(|peer| peer.ip()))),
        })
    }

    pub(super) fn add_to<B>(&self, request: &mut Request<B>) {
        if let Some((proxies, peer)) = &self.client {
            let client = proxies.client(*peer, request.headers());
            request.extensions_mut().insert(ClientAddress(client));
        }
        if let Some(add) = &self.value {
            add(request.extensions_mut());
        }
    }
}

impl<A: App> hyper::service::Service<Request<Incoming>> for HyperService<A> {
    type Response = Response<TrackedBody<A::Body>>;
    type Error = Infallible;
    type Future = ServiceFuture<A>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        if let Some(extension) = &self.extension {
            extension.add_to(&mut request);
        }
        let state = &self.state;
        let malformed = (request.method().as_str() == REFUSED)
            .then(|| state.received.take_malformed())
            .flatten();
        if let Some(malformed) = &malformed {
            state.tell(&malformed.refusal.error(), None);
        }
        let exchange = state.stream.log.observer().map(|observer| {
            let wanted = observer.wants_requests();
            match &malformed {
                Some(malformed) => Exchange::malformed(state.peer, &malformed.line, wanted),
                None => Exchange::new(state.peer, &request, wanted),
            }
        });
        state.begin_request(state.observed(request.uri()), exchange);
        // The framing check does not look beyond a chunked body, so the connection is closed after
        // it.
        let close = request.headers().contains_key(TRANSFER_ENCODING);
        let refusal = match malformed {
            Some(malformed) => Some(malformed.refusal),
            None => refusal::of(&request),
        };
        refusal::to_origin_form(&mut request);
        let answer = if let Some(refusal) = refusal {
            Answer::refused(refusal, state.stats())
        } else {
            let request = request.map(|body| RequestBody::new(body, Arc::clone(state)));
            Answer::of(self.app.clone(), request)
        };
        ServiceFuture {
            answer,
            close,
            state: Arc::clone(&self.state),
        }
    }
}

pin_project! {
    /// The future of a response.
    pub(crate) struct ServiceFuture<A: App> {
        #[pin]
        answer: Answer<A>,
        close: bool,
        state: Arc<ConnectionState>,
    }
}

impl<A: App> Future for ServiceFuture<A> {
    type Output = Result<Response<TrackedBody<A::Body>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(refusal) = this.state.received.malformed_body()
            && this.state.is_body_to_come()
        {
            // Whatever the application makes of it, the request is not one.
            let refused = Answer::refused(refusal, this.state.stats());
            this.answer.set(refused);
        }
        let mut response = ready!(this.answer.poll(cx));
        let is_of_object = response.extensions().get::<OfObject>().is_some();
        let len = response.body().size_hint().exact();
        this.state.begin_response(response.status(), len);
        this.state.added_fields.add_to(response.headers_mut());
        let upgraded = this.state.stream.upgrade() == UpgradeAnswer::Accepted;
        // More of the request's body is to come. Reading it could take arbitrarily long, so the
        // connection is closed instead.
        let close =
            *this.close || this.state.is_body_to_come() || this.state.received.is_unchecked();
        if close && !upgraded {
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Poll::Ready(Ok(response.map(|content| TrackedBody {
            content,
            is_of_object,
            state: Arc::clone(this.state),
        })))
    }
}

pin_project! {
    /// A response's body that counts its bytes, and notes when hyper has taken the last of them.
    pub(crate) struct TrackedBody<B> {
        #[pin]
        content: Content<B>,
        is_of_object: bool,
        state: Arc<ConnectionState>,
    }

    impl<B> PinnedDrop for TrackedBody<B> {
        fn drop(this: Pin<&mut Self>) {
            this.project().state.end_response();
        }
    }
}

impl<B: Body<Data = Bytes>> Body for TrackedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let frame = ready!(this.content.poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                let count = frame.data_ref().map_or(0, Bytes::len) as u64;
                this.state
                    .stream
                    .log
                    .note(|exchange| exchange.bytes += count);
                if *this.is_of_object {
                    this.state.stream.given_of_object(count);
                }
            }
            Some(Err(_)) => this
                .state
                .stream
                .log
                .note(|exchange| exchange.broken = true),
            None => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.content.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.content.size_hint()
    }
}
