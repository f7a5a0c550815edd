//! The exchange in progress on a stream, as it will be reported to the observer.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http::StatusCode;

use super::lock;
use crate::server::observe::{Exchange, Observe, TlsConnection};
use crate::server::socket::HttpSocket;

/// It costs nothing if no observer wants exchanges.
pub(crate) struct ExchangeLog {
    peer: Option<SocketAddr>,
    /// The observer, if it wants to be told of exchanges.
    observer: Option<Arc<dyn Observe>>,
    /// What the observer is told of the connection's TLS, if it wants to know that much.
    tls: Option<Arc<TlsConnection>>,
    current: Mutex<Option<Exchange>>,
}

impl ExchangeLog {
    pub(super) fn new(
        socket: &impl HttpSocket,
        peer: Option<SocketAddr>,
        observer: Option<Arc<dyn Observe>>,
    ) -> Self {
        let observer = observer.filter(|it| it.wants_exchanges());
        let wanted = observer.as_ref().is_some_and(|it| it.wants_requests());
        Self {
            peer,
            observer,
            tls: wanted.then(|| socket.tls().map(Arc::new)).flatten(),
            current: Mutex::new(None),
        }
    }

    /// The log of another stream of the connection.
    pub(crate) fn another(&self) -> Self {
        Self {
            peer: self.peer,
            observer: self.observer.clone(),
            tls: self.tls.clone(),
            current: Mutex::new(None),
        }
    }

    pub(crate) fn observer(&self) -> Option<&dyn Observe> {
        self.observer.as_deref()
    }

    pub(crate) fn open(&self, exchange: Option<Exchange>) {
        *lock(&self.current) = exchange;
    }

    /// Updates the response's status and bytes as they become known.
    pub(crate) fn note(&self, note: impl FnOnce(&mut Exchange)) {
        if self.observer.is_some()
            && let Some(exchange) = lock(&self.current).as_mut()
        {
            note(exchange);
        }
    }

    /// Tells the observer of the exchange, if one is under way.
    pub(crate) fn close(&self, complete: bool) {
        let Some(observer) = self.observer() else {
            return;
        };
        let exchange = lock(&self.current).take();
        if let Some(mut exchange) = exchange {
            exchange.complete = complete && !exchange.broken;
            exchange.elapsed = exchange.started.elapsed();
            exchange.tls.clone_from(&self.tls);
            observer.exchange(&exchange);
        }
    }

    /// Tells the observer of a request that hyper itself refused.
    pub(super) fn refused(&self, status: StatusCode) {
        if let Some(observer) = self.observer() {
            let mut exchange = Exchange::malformed(self.peer, b"", observer.wants_requests());
            exchange.status = Some(status);
            exchange.complete = true;
            exchange.tls.clone_from(&self.tls);
            observer.exchange(&exchange);
        }
    }
}

impl std::fmt::Debug for ExchangeLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExchangeLog")
            .field("current", &self.current)
            .finish_non_exhaustive()
    }
}
