//! What the tests of one binary run over.

/// The same tests run over each of these, in a test binary of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Http1,
    Http2,
}
