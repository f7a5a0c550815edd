//! Limits and timeouts of a server.

use std::time::Duration;

/// The longest timeout: longer than any server runs, and far from overflowing a clock.
const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// The most fields that fit into a [`HeaderMap`](http::HeaderMap).
const MOST_FIELDS: usize = 16 << 10;

/// Limits of a server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Open connections. When there are as many, idle ones are closed for new ones, the longest
    /// idle first; if none is idle, new ones wait in the listener's queue. Default: 16,384.
    pub connections: usize,
    /// Bytes of a request's head. Larger ones are answered 431. Default: 16 KiB.
    pub head_bytes: usize,
    /// Fields of a request's head. Requests with more are answered 431. Default: 100; at most
    /// 16,384.
    pub head_fields: usize,
    /// Requests in progress on one connection of HTTP/2 (`SETTINGS_MAX_CONCURRENT_STREAMS`). More
    /// are refused, and clients ask again later. Default: 100.
    pub streams: u32,
}

/// How long a server waits for a client before it closes the connection.
///
/// An upgraded connection has no timeouts, nor has a WebSocket in HTTP/2.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Timeouts {
    /// For the whole head of a request, from its first byte or the start of the connection.
    /// Default: 10 s.
    pub head: Duration,
    /// For more of a request's body, between two reads. Default: 60 s.
    pub body: Duration,
    /// For the peer to take more of a response, between two writes. Default: 60 s.
    pub send: Duration,
    /// For the next request on a connection that is kept alive. Default: 75 s.
    pub keep_alive: Duration,
    /// For the exchanges in progress when the server is told to stop. Default: 30 s.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            head_bytes: 16 << 10,
            head_fields: 100,
            streams: 100,
        }
    }
}

impl Limits {
    /// Sets [`connections`](Self#structfield.connections).
    #[must_use]
    pub fn connections(self, connections: usize) -> Self {
        Self {
            connections,
            ..self
        }
    }

    /// Sets [`head_bytes`](Self#structfield.head_bytes).
    #[must_use]
    pub fn head_bytes(self, head_bytes: usize) -> Self {
        Self { head_bytes, ..self }
    }

    /// Sets [`head_fields`](Self#structfield.head_fields).
    #[must_use]
    pub fn head_fields(self, head_fields: usize) -> Self {
        Self {
            head_fields,
            ..self
        }
    }

    /// Sets [`streams`](Self#structfield.streams).
    #[must_use]
    pub fn streams(self, streams: u32) -> Self {
        Self { streams, ..self }
    }

    pub(super) fn fields(&self) -> usize {
        self.head_fields.min(MOST_FIELDS)
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            body: Duration::from_secs(60),
            send: Duration::from_secs(60),
            keep_alive: Duration::from_secs(75),
            drain: Duration::from_secs(30),
        }
    }
}

impl Timeouts {
    /// Sets [`head`](Self#structfield.head).
    #[must_use]
    pub fn head(self, head: Duration) -> Self {
        Self { head, ..self }
    }

    /// Sets [`body`](Self#structfield.body).
    #[must_use]
    pub fn body(self, body: Duration) -> Self {
        Self { body, ..self }
    }

    /// Sets [`send`](Self#structfield.send).
    #[must_use]
    pub fn send(self, send: Duration) -> Self {
        Self { send, ..self }
    }

    /// Sets [`keep_alive`](Self#structfield.keep_alive).
    #[must_use]
    pub fn keep_alive(self, keep_alive: Duration) -> Self {
        Self { keep_alive, ..self }
    }

    /// Sets [`drain`](Self#structfield.drain).
    #[must_use]
    pub fn drain(self, drain: Duration) -> Self {
        Self { drain, ..self }
    }

    /// The timeouts, shortened so that adding them to a point in time cannot overflow.
    pub(super) fn clamped(self) -> Self {
        Self {
            head: self.head.min(CENTURY),
            body: self.body.min(CENTURY),
            send: self.send.min(CENTURY),
            keep_alive: self.keep_alive.min(CENTURY),
            drain: self.drain.min(CENTURY),
        }
    }
}
