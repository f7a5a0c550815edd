//! One application, the same code under `axum::serve` and under `serve`: services that are made for
//! each connection, listeners, streaming bodies, events, timeouts, and a graceful end.

use std::future::{Ready, ready};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{Sender, channel};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::extract::connect_info::Connected;
use axum::handler::HandlerWithoutStateExt as _;
use axum::response::Sse;
use axum::response::sse::Event;
use axum::routing::{MethodRouter, get, post};
use axum::{BoxError, Router};
use futures_util::StreamExt as _;
use futures_util::stream;
use http::{Request, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{mpsc, oneshot};
use tower::ServiceExt as _;
use tower_http::timeout::TimeoutLayer;
use underpass_http::{HttpSocket, IncomingStream, Listener, RequestBody, ServeDir, serve};

use crate::support::{Answer, Client, Files, MIB, Server, bound, bytes, from_std};

const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Only a test that fails waits this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the same expression, an application, under both servers, each on its listener.
macro_rules! both {
    ($app:expr) => {
        both!($app, |listener| listener, |listener| listener)
    };
    ($app:expr, |$theirs:ident| $with_theirs:expr, |$ours:ident| $with_ours:expr) => {{
        let ((one, first), (other, second)) = (bound(), bound());
        let (app, same) = ($app, $app);
        let theirs = Server::spawn(first, move |_, _| async move {
            let $theirs = from_std(one);
            axum::serve($with_theirs, app).await.unwrap();
        });
        let ours = Server::spawn(second, move |stats, log| async move {
            let $ours = from_std(other);
            let serve = serve($with_ours, same).stats(stats).observe(log);
            serve.await.unwrap();
        });
        [("axum::serve", theirs), ("serve", ours)]
    }};
}

mod http2;
mod tls;

fn whoami() -> Router {
    let who = get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.to_string());
    Router::new().route("/", who)
}

fn knows_its_client(name: &str, server: &Server) {
    let socket = std::net::TcpStream::connect(server.address).unwrap();
    let ours = socket.local_addr().unwrap().to_string();
    let mut client = Client::on(socket);
    for _ in 0..2 {
        assert_eq!(client.get("/").text(), ours, "{name}");
    }
}

async fn handler() -> &'static str {
    "handler"
}

#[test]
fn what_into_make_service_returns_is_served() {
    let app = || Router::new().route("/", get(async || "made"));
    for (name, server) in both!(app().into_make_service()) {
        assert_eq!(
            Client::connect(server.address).get("/").text(),
            "made",
            "{name}"
        );
    }
    for (name, server) in both!(get(async || "method")) {
        assert_eq!(
            Client::connect(server.address).get("/").text(),
            "method",
            "{name}"
        );
    }
    let method: fn() -> MethodRouter = || get(async || "method");
    for (name, server) in both!(method().into_make_service()) {
        assert_eq!(
            Client::connect(server.address).get("/").text(),
            "method",
            "{name}"
        );
    }
    for (name, server) in both!(handler.into_make_service()) {
        assert_eq!(
            Client::connect(server.address).get("/any").text(),
            "handler",
            "{name}"
        );
    }
}

#[test]
fn connect_info_is_made_for_each_connection() {
    for (name, server) in both!(whoami().into_make_service_with_connect_info::<SocketAddr>()) {
        knows_its_client(name, &server);
    }
}

/// Like axum's example `unix-domain-socket`, with either crate's `IncomingStream`.
#[derive(Clone)]
struct Peer(Option<i32>);

impl Connected<axum::serve::IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: axum::serve::IncomingStream<'_, UnixListener>) -> Self {
        Self(stream.io().peer_cred().unwrap().pid())
    }
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        assert_eq!(stream.remote_addr(), None);
        Self(stream.io().peer_cred().unwrap().pid())
    }
}

#[test]
fn connect_info_of_unix_sockets_is_made_too() {
    let app = || {
        let who = get(async |ConnectInfo(Peer(pid)): ConnectInfo<Peer>| format!("{pid:?}"));
        let app = Router::new().route("/", who);
        app.into_make_service_with_connect_info::<Peer>()
    };
    let files = Files::new();
    let on = |name: &str| {
        let listener = std::os::unix::net::UnixListener::bind(files.path(name)).unwrap();
        listener.set_nonblocking(true).unwrap();
        listener
    };
    let (one, other) = (on("theirs"), on("ours"));
    let _theirs = Server::spawn(NOWHERE, move |_, _| async move {
        let listener = UnixListener::from_std(one).unwrap();
        axum::serve(listener, app()).await.unwrap();
    });
    let _ours = Server::spawn(NOWHERE, move |_, _| async move {
        let listener = UnixListener::from_std(other).unwrap();
        serve(listener, app()).await.unwrap();
    });
    let this = format!("{:?}", Some(std::process::id()));
    for name in ["theirs", "ours"] {
        let socket = std::os::unix::net::UnixStream::connect(files.path(name)).unwrap();
        assert_eq!(Client::on(socket).get("/").text(), this, "{name}");
    }
}

#[test]
fn listeners_are_tapped() {
    static TAPPED: AtomicU64 = AtomicU64::new(0);
    let content = bytes(MIB);
    let files = Files::new().with("file", &content);
    let app = || {
        let app = whoami().fallback_service(ServeDir::new(files.root()));
        app.into_make_service_with_connect_info::<SocketAddr>()
    };
    let tap = |socket: &mut TcpStream| {
        socket.set_ttl(17).unwrap();
        TAPPED.fetch_add(u64::from(socket.ttl().unwrap()), SeqCst);
    };
    let servers = both!(
        app(),
        |theirs| axum::serve::ListenerExt::tap_io(theirs, tap),
        |ours| underpass_http::ListenerExt::tap_io(ours, tap)
    );
    for (name, server) in servers {
        let before = TAPPED.load(SeqCst);
        knows_its_client(name, &server);
        assert_eq!(TAPPED.load(SeqCst), before + 17, "{name}");
        assert!(Client::connect(server.address).get("/file").body == content);
        if name == "serve" {
            server.log.exchanges(3);
            assert_eq!(server.stats.bytes_sendfile.get(), content.len() as u64);
        }
    }
}

const KEY: u8 = 0x5A;

/// A stand-in for TLS by hand: a socket that changes all bytes.
struct Coded(TcpStream);

impl AsyncRead for Coded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        std::task::ready!(Pin::new(&mut self.0).poll_read(cx, buffer))?;
        buffer.filled_mut()[before..]
            .iter_mut()
            .for_each(|byte| *byte ^= KEY);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Coded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let coded: Vec<u8> = bytes.iter().take(16 << 10).map(|byte| byte ^ KEY).collect();
        Pin::new(&mut self.0).poll_write(cx, &coded)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// What it takes to be a socket here.
impl HttpSocket for Coded {}

struct CodedListener(TcpListener);

impl axum::serve::Listener for CodedListener {
    type Io = Coded;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Coded, SocketAddr) {
        let (socket, peer) = self.0.accept().await.unwrap();
        (Coded(socket), peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl Listener for CodedListener {
    type Socket = Coded;
    type Opening = Ready<io::Result<Coded>>;

    async fn accept(&mut self) -> io::Result<Self::Opening> {
        let (socket, _) = self.0.accept().await?;
        Ok(ready(Ok(Coded(socket))))
    }
}

/// The other end.
struct Decoded(std::net::TcpStream);

impl io::Read for Decoded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(buffer)?;
        buffer[..count].iter_mut().for_each(|byte| *byte ^= KEY);
        Ok(count)
    }
}

impl io::Write for Decoded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let coded: Vec<u8> = bytes.iter().map(|byte| byte ^ KEY).collect();
        self.0.write(&coded)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[test]
fn a_listener_of_ones_own_is_served() {
    let content = bytes(MIB + 1);
    let files = Files::new().with("file", &content);
    let app = || {
        let app = Router::new().route("/", get(async || "coded"));
        app.fallback_service(ServeDir::new(files.root()))
    };
    let servers = both!(app(), |theirs| CodedListener(theirs), |ours| CodedListener(
        ours
    ));
    for (name, server) in servers {
        let socket = std::net::TcpStream::connect(server.address).unwrap();
        let mut client = Client::on(Decoded(socket));
        assert_eq!(client.get("/").text(), "coded", "{name}");
        assert!(client.get("/file").body == content, "{name}");
        if name == "serve" {
            server.log.exchanges(2);
            assert_eq!(server.stats.bytes_sendfile.get(), 0);
        }
    }
}

/// The next chunk of a chunked body.
fn chunk(client: &mut Client) -> Vec<u8> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.extend(client.read(1));
    }
    let size = std::str::from_utf8(&line).unwrap().trim();
    let chunk = client.read(usize::from_str_radix(size, 16).unwrap() + 2);
    chunk[..chunk.len() - 2].to_vec()
}

/// Each piece is sent when the one before it has come back.
#[test]
fn bodies_stream_both_ways_at_once() {
    let app = || {
        let echo = async |body: Body| Body::from_stream(body.into_data_stream());
        Router::new().route("/", post(echo))
    };
    for (name, server) in both!(app()) {
        let mut client = Client::connect(server.address);
        client.ask("POST", "/", "Transfer-Encoding: chunked\r\n");
        client.send("5\r\nfirst\r\n");
        assert_eq!(client.head().status, 200, "{name}");
        assert_eq!(chunk(&mut client), b"first", "{name}");
        client.send("6\r\nsecond\r\n");
        assert_eq!(chunk(&mut client), b"second", "{name}");
        client.send("0\r\n\r\n");
        assert_eq!(chunk(&mut client), b"", "{name}");
    }
}

#[test]
fn uploads_stream_into_handlers() {
    let content = bytes(5 * MIB);
    let app = || {
        let count = async |body: Body| {
            let chunks = body.into_data_stream();
            let total = chunks.fold(0, async |sum, chunk| sum + chunk.unwrap().len());
            total.await.to_string()
        };
        Router::new().route("/", post(count))
    };
    for (name, server) in both!(app()) {
        let mut client = Client::connect(server.address);
        let length = format!("Content-Length: {}\r\n", content.len());
        client.ask("POST", "/", &length);
        for piece in content.chunks(100_000) {
            client.send(piece);
        }
        assert_eq!(client.answer().text(), content.len().to_string(), "{name}");
        assert_eq!(
            client.get("/").status,
            405,
            "{name}: the connection goes on"
        );
    }
}

/// Each event is at the client before the next one is made.
#[test]
fn events_arrive_one_by_one() {
    for (name, events, server) in {
        let ((first, app), (second, same)) = (evented(), evented());
        let [(theirs, one), (ours, other)] = {
            let mut apps = [Some(app), Some(same)].into_iter().flatten();
            both!(apps.next().unwrap())
        };
        [(theirs, first, one), (ours, second, other)]
    } {
        let mut client = Client::connect(server.address);
        client.ask("GET", "/", "");
        let head = client.head();
        assert_eq!(
            head.field("content-type"),
            Some("text/event-stream"),
            "{name}"
        );
        for event in ["one", "two", "three"] {
            events.blocking_send(event).unwrap();
            assert_eq!(
                chunk(&mut client),
                format!("data: {event}\n\n").as_bytes(),
                "{name}"
            );
        }
        drop(events);
        assert_eq!(chunk(&mut client), b"", "{name}");
    }
}

/// An application with one stream of events, and where they come from.
fn evented() -> (mpsc::Sender<&'static str>, Router) {
    let (sender, receiver) = mpsc::channel(1);
    let receiver = Arc::new(tokio::sync::Mutex::new(Some(receiver)));
    let events = async move || {
        let receiver = receiver.lock().await.take().unwrap();
        Sse::new(stream::unfold(receiver, async |mut receiver| {
            let event = receiver.recv().await?;
            Some((Ok::<_, BoxError>(Event::default().data(event)), receiver))
        }))
    };
    (sender, Router::new().route("/", get(events)))
}

#[test]
fn a_handler_that_takes_too_long_is_answered_by_the_layer() {
    let app = || {
        let never = get(async || std::future::pending::<()>().await);
        let limit = Duration::from_millis(10);
        let layer = TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, limit);
        Router::new().route("/", never).layer(layer)
    };
    for (name, server) in both!(app()) {
        let mut client = Client::connect(server.address);
        for _ in 0..2 {
            assert_eq!(client.get("/").status, 504, "{name}");
        }
    }
}

/// `/` says that it was called, and answers when it is told to.
fn waiting(called: Sender<()>) -> (oneshot::Sender<()>, Router) {
    let (answer, answered) = oneshot::channel();
    let answered = Arc::new(tokio::sync::Mutex::new(Some(answered)));
    let handler = async move || {
        called.send(()).unwrap();
        let answered = answered.lock().await.take().unwrap();
        answered.await.unwrap();
        "answered"
    };
    (answer, Router::new().route("/", get(handler)))
}

/// A graceful end closes the listener and idle connections, and waits for the response in progress.
#[test]
fn a_graceful_end_waits_for_responses() {
    for is_ours in [false, true] {
        let (listener, address) = bound();
        let (stop, stopped) = oneshot::channel::<()>();
        let (called, was_called) = channel();
        let (answer, app) = waiting(called);
        let (ended, has_ended) = channel();
        let _server = Server::spawn(address, move |_, _| async move {
            let signal = async { drop(stopped.await) };
            let listener = from_std(listener);
            let result = if is_ours {
                serve(listener, app).with_graceful_shutdown(signal).await
            } else {
                axum::serve(listener, app)
                    .with_graceful_shutdown(signal)
                    .await
            };
            ended.send(result.is_ok()).unwrap();
        });
        let mut client = Client::connect(address);
        client.ask("GET", "/", "");
        was_called.recv_timeout(PATIENCE).unwrap();
        let idle = Client::connect(address);
        stop.send(()).unwrap();
        assert_eq!(idle.rest(), b"", "idle connections are closed: {is_ours}");
        assert!(has_ended.try_recv().is_err(), "{is_ours}");
        answer.send(()).unwrap();
        let Answer { status, body, .. } = client.answer();
        assert_eq!((status, &*body), (200, &b"answered"[..]), "{is_ours}");
        assert_eq!(has_ended.recv_timeout(PATIENCE), Ok(true), "{is_ours}");
        assert!(std::net::TcpStream::connect(address).is_err(), "{is_ours}");
    }
}

/// Services for requests with axum's own body are wrapped, as the compiler's message says.
#[test]
fn services_for_axums_requests_are_wrapped() {
    let service = tower::service_fn(async |request: Request<Body>| {
        let path = request.uri().path().to_owned();
        Ok::<_, std::convert::Infallible>(Response::new(Body::from(path)))
    });
    let server = Server::start(move |_| {
        service.map_request(|request: Request<RequestBody>| request.map(Body::new))
    });
    assert_eq!(Client::connect(server.address).get("/path").text(), "/path");
}

#[test]
fn a_server_knows_where_it_listens() {
    let (listener, address) = bound();
    crate::support::block_on(async {
        let listener = from_std(listener);
        assert_eq!(serve(listener, whoami()).local_addr().unwrap(), address);
    });
}
