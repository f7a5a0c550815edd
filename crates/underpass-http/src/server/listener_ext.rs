//! Adapters of listeners.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use underpass::accept::Listener;

/// Adapters of listeners, like axum's trait of this name.
pub trait ListenerExt: Listener + Sized {
    /// Calls `tap` with each new connection, when its handshake is done.
    ///
    /// ```no_run
    /// use underpass_http::ListenerExt;
    ///
    /// # async fn example(app: axum::Router) -> std::io::Result<()> {
    /// let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?.tap_io(|socket| {
    ///     if let Err(error) = socket.set_ttl(16) {
    ///         eprintln!("this connection goes as far as any: {error}");
    ///     }
    /// });
    /// underpass_http::serve(listener, app).await
    /// # }
    /// ```
    fn tap_io<F>(self, tap: F) -> TapIo<Self, F>
    where
        F: FnMut(&mut Self::Socket) + Send + 'static,
    {
        TapIo {
            listener: self,
            tap: Arc::new(Mutex::new(tap)),
        }
    }
}

impl<L: Listener> ListenerExt for L {}

/// A listener whose connections are looked at, see [`ListenerExt::tap_io`].
pub struct TapIo<L, F> {
    listener: L,
    tap: Arc<Mutex<F>>,
}

impl<L: std::fmt::Debug, F> std::fmt::Debug for TapIo<L, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TapIo")
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}

impl<L, F> Listener for TapIo<L, F>
where
    L: Listener,
    F: FnMut(&mut L::Socket) + Send + 'static,
{
    type Socket = L::Socket;
    type Opening = TapOpening<L::Opening, F>;

    async fn accept(&mut self) -> io::Result<Self::Opening> {
        Ok(TapOpening {
            opening: self.listener.accept().await?,
            tap: Arc::clone(&self.tap),
        })
    }
}

pin_project! {
    /// The handshake of a connection that is looked at when it is done.
    pub struct TapOpening<O, F> {
        #[pin]
        opening: O,
        tap: Arc<Mutex<F>>,
    }
}

impl<O, F> std::fmt::Debug for TapOpening<O, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TapOpening").finish_non_exhaustive()
    }
}

impl<O, S, F> Future for TapOpening<O, F>
where
    O: Future<Output = io::Result<S>>,
    F: FnMut(&mut S),
{
    type Output = io::Result<S>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<S>> {
        let this = self.project();
        let mut socket = ready!(this.opening.poll(cx))?;
        let mut tap = this.tap.lock().unwrap_or_else(PoisonError::into_inner);
        tap(&mut socket);
        Poll::Ready(Ok(socket))
    }
}
