//! `serve(listener, app)`.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use tokio::net::TcpListener;
use tower_service::Service;

use crate::account::Account;
use crate::stats::Stats;
use crate::transport::Transport;

/// thin
pub async fn serve<A, B>(listener: TcpListener, app: A, stats: Arc<Stats>) -> io::Result<()>
where
    A: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    A::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let account = Arc::new(Account::new(stats.clone()));
        let app = App {
            app: app.clone(),
            account: account.clone(),
        };
        let mut builder = http1::Builder::new();
        builder.timer(NoTimer).header_read_timeout(None);
        let transport = Transport::new(socket, account.clone());
        let connection = builder.serve_connection(transport, app);
        tokio::spawn(Connection {
            connection: Box::pin(connection),
            account,
        });
    }
}

struct NoTimer;
impl hyper::rt::Timer for NoTimer {
    fn sleep(&self, _: std::time::Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        unreachable!()
    }
    fn sleep_until(&self, _: std::time::Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        unreachable!()
    }
}

struct Connection<F> {
    connection: Pin<Box<F>>,
    account: Arc<Account>,
}

impl<F: Future> Future for Connection<F> {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.account.begin_turn();
        ready!(self.connection.as_mut().poll(cx));
        Poll::Ready(())
    }
}

struct App<A> {
    app: A,
    account: Arc<Account>,
}

impl<A, B> hyper::service::Service<Request<Incoming>> for App<A>
where
    A: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone,
{
    type Response = Response<B>;
    type Error = Infallible;
    type Future = A::Future;

    fn call(&self, request: Request<Incoming>) -> A::Future {
        self.account.request();
        self.app.clone().call(request)
    }
}
