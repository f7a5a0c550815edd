//! What the tests of one binary run over.

/// The same tests run over each of these, in a test binary of their own.
#[allow(dead_code, reason = "each binary has one")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Http1,
    Http2,
    /// HTTP/1.1 over TLS.
    Https1,
    /// HTTP/2 over TLS.
    Https2,
}

impl Transport {
    pub(crate) fn is_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Https2)
    }

    pub(crate) fn is_tls(self) -> bool {
        matches!(self, Self::Https1 | Self::Https2)
    }
}
