//! What a server serves: a service for requests, or one that makes such a service for each
//! connection, like axum's `into_make_service_with_connect_info`.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;

use tower_service::Service;
use underpass::accept::Listener;

use crate::server::HttpSocket;
use crate::server::app::App;

/// What [`serve`](crate::serve()) can serve on a listener `L`: a service that answers requests, or
/// one that makes such a service for each connection.
///
/// - The first is any `Service<Request<RequestBody>>` whose responses have a body of `Bytes`, and
///   which never fails: an axum `Router`, a `MethodRouter`, a [`ServeDir`](crate::ServeDir), a
///   `tower::service_fn`.
/// - The second is any `Service<IncomingStream<'_, L>>` that makes one: what axum's
///   `into_make_service` and `into_make_service_with_connect_info` return.
///
/// Both have to be `Clone`, `Send` and `'static`, and their futures `Send`. `M` says which of the
/// two it is; it is inferred.
#[diagnostic::on_unimplemented(
    message = "`serve` cannot serve `{Self}`",
    label = "is no service that answers requests, and makes none",
    note = "needed: `Service<http::Request<underpass_http::RequestBody>, Response = http::Response<B>, \
            Error = Infallible> + Clone + Send + 'static` with `B: http_body::Body<Data = Bytes> + Send` \
            and a future that is `Send`",
    note = "an axum `Router<S>` needs its state: call `.with_state(state)`",
    note = "if it takes requests with axum's body, wrap it by `tower::ServiceExt::map_request(service, \
            |request: Request<RequestBody>| request.map(axum::body::Body::new))`",
    note = "if it can fail, turn its errors into responses: axum's `HandleErrorLayer`, or \
            `tower::ServiceExt::map_result`",
    note = "if it is for requests of another kind of connection, implement axum's `Connected` for \
            `underpass_http::IncomingStream`, with the feature `axum` of underpass-http"
)]
pub trait Application<L: Listener, M>: sealed::Sealed<L, M> {
    #[doc(hidden)]
    type App;
    #[doc(hidden)]
    fn into_app(self) -> Self::App;
}

mod sealed {
    pub trait Sealed<L, M> {}
}

/// Says that an [`Application`] answers requests.
#[derive(Debug)]
pub enum AnswersRequests {}

/// Says that an [`Application`] makes a service for each connection.
#[derive(Debug)]
pub enum MakesServices {}

/// A connection, as a service that makes services sees it.
///
/// axum's `Connected` is implemented for `SocketAddr` where connections are TCP, with the feature
/// `axum`. For another type, implement it as for `axum::serve`:
///
/// ```no_run
/// use axum::extract::{ConnectInfo, connect_info::Connected};
/// use axum::{Router, routing::get};
/// use tokio::net::UnixListener;
/// use underpass_http::IncomingStream;
///
/// #[derive(Clone)]
/// struct Peer(Option<i32>);
///
/// impl Connected<IncomingStream<'_, UnixListener>> for Peer {
///     fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
///         Self(stream.io().peer_cred().ok().and_then(|peer| peer.pid()))
///     }
/// }
///
/// # async fn example() -> std::io::Result<()> {
/// let who = get(async |ConnectInfo(Peer(pid)): ConnectInfo<Peer>| format!("{pid:?}\n"));
/// let app = Router::new().route("/", who);
/// let listener = UnixListener::bind("/run/app.socket")?;
/// underpass_http::serve(listener, app.into_make_service_with_connect_info::<Peer>()).await
/// # }
/// ```
pub struct IncomingStream<'a, L: Listener> {
    io: &'a L::Socket,
}

impl<'a, L: Listener> IncomingStream<'a, L> {
    /// The connection.
    pub fn io(&self) -> &'a L::Socket {
        self.io
    }
}

impl<L: Listener<Socket: HttpSocket>> IncomingStream<'_, L> {
    /// The address of the peer. `None` if it has none, as on Unix sockets, or has left.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.io.peer()
    }
}

impl<L: Listener> std::fmt::Debug for IncomingStream<'_, L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IncomingStream").finish_non_exhaustive()
    }
}

/// A service that makes a service for each connection.
#[derive(Clone, Debug)]
pub struct PerConnection<A>(pub(crate) A);

impl<L, A: App> sealed::Sealed<L, AnswersRequests> for A {}

impl<L: Listener, A: sealed::Sealed<L, AnswersRequests>> Application<L, AnswersRequests> for A {
    type App = A;

    fn into_app(self) -> A {
        self
    }
}

impl<L, A, T> sealed::Sealed<L, MakesServices> for A
where
    L: Listener,
    A: for<'a> Service<IncomingStream<'a, L>, Response = T, Error = Infallible>
        + Clone
        + Send
        + 'static,
    for<'a> <A as Service<IncomingStream<'a, L>>>::Future: Send,
    T: App,
{
}

impl<L: Listener, A: sealed::Sealed<L, MakesServices>> Application<L, MakesServices> for A {
    type App = PerConnection<A>;

    fn into_app(self) -> PerConnection<A> {
        PerConnection(self)
    }
}

/// Gives each connection its service.
pub(crate) trait ConnectionApp<L: Listener>: Clone + Send + 'static {
    type Service: App;

    fn for_connection(
        self,
        socket: L::Socket,
    ) -> impl Future<Output = (L::Socket, Self::Service)> + Send;
}

impl<L: Listener, A: App> ConnectionApp<L> for A {
    type Service = A;

    async fn for_connection(self, socket: L::Socket) -> (L::Socket, A) {
        (socket, self)
    }
}

impl<L, A, T> ConnectionApp<L> for PerConnection<A>
where
    L: Listener,
    A: for<'a> Service<IncomingStream<'a, L>, Response = T, Error = Infallible>
        + Clone
        + Send
        + 'static,
    for<'a> <A as Service<IncomingStream<'a, L>>>::Future: Send,
    T: App,
{
    type Service = T;

    async fn for_connection(mut self, socket: L::Socket) -> (L::Socket, T) {
        let Ok(()) = poll_fn(|cx| self.0.poll_ready(cx)).await;
        let Ok(service) = self.0.call(IncomingStream { io: &socket }).await;
        (socket, service)
    }
}
