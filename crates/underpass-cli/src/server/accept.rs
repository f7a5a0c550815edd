//! What `relay` and `fan-out` count of their connections.

use std::future::Future;
use std::io;
use std::sync::Arc;

use underpass::accept::{AcceptLoop, AcceptPolicy, Listener};
use underpass::{Count, StreamSocket, units};

/// Counts of a server's connections, shared by all threads.
#[derive(Debug, Default)]
pub(crate) struct ConnectionCounts {
    pub(crate) accepted: Count,
    pub(crate) open: Count,
    /// Connections whose TLS handshake failed. They are not among those that were accepted.
    pub(crate) handshakes_failed: Count,
    /// Connections that were cut off because the graceful end took too long.
    pub(crate) cut: Count,
    /// Bytes that subscribers had been sent when they were cut off.
    pub(crate) cut_bytes: Count,
    /// Connections that an internal error ended.
    pub(crate) panicked: Count,
    /// How often accepting paused because there was no descriptor or memory.
    pub(crate) pauses: Count,
}

impl ConnectionCounts {
    /// What subscribers had been sent when they were cut off, for the last message.
    pub(crate) fn sent_when_cut(&self) -> String {
        units::count(self.cut_bytes.get(), "byte")
    }

    /// Calls `serve` for each connection of `listener`, at most `limit` at once, until `stop` is
    /// ready, then waits until all connections have ended. Polls `cut` meanwhile: when it is ready,
    /// the connections that are left are dropped.
    pub(crate) async fn accept<L, F>(
        self: &Arc<Self>,
        listener: L,
        limit: usize,
        stop: impl Future<Output = ()> + Send,
        cut: impl Future<Output = ()> + Send,
        serve: impl Fn(StreamSocket) -> F + Clone + Send + 'static,
    ) where
        L: Listener<Socket: Into<StreamSocket>>,
        F: Future<Output = ()> + Send + 'static,
    {
        let counts = Arc::clone(self);
        let counted = move |opening| connection(opening, Arc::clone(&counts), serve.clone());
        AcceptLoop::new(listener, CountingPolicy(self))
            .limit(limit)
            .run(stop, cut, counted)
            .await;
    }
}

async fn connection<S: Into<StreamSocket>, F: Future<Output = ()>>(
    opening: impl Future<Output = io::Result<S>>,
    counts: Arc<ConnectionCounts>,
    serve: impl Fn(StreamSocket) -> F,
) {
    match opening.await {
        Ok(socket) => {
            let _open = Open::new(counts);
            serve(socket.into()).await;
        }
        Err(_) => counts.handshakes_failed.add(1),
    }
}

/// A relayed connection and a subscriber are never idle: a full server waits until one has ended.
struct CountingPolicy<'a>(&'a ConnectionCounts);

impl AcceptPolicy for CountingPolicy<'_> {
    fn exhausted(&self) -> bool {
        self.0.pauses.add(1);
        false
    }

    fn panicked(&self) {
        self.0.panicked.add(1);
    }

    fn cut(&self, connections: usize) {
        self.0.cut.add(connections as u64);
    }
}

/// Counts a connection as open until this is dropped.
struct Open(Arc<ConnectionCounts>);

impl Open {
    fn new(counts: Arc<ConnectionCounts>) -> Self {
        counts.accepted.add(1);
        counts.open.add(1);
        Self(counts)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.subtract(1);
    }
}
