//! What the tests of one binary run over.

/// The same tests run over each of these, in a test binary of their own.
#[allow(dead_code, reason = "each binary has one of them")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Http1,
    Http2,
}
