//! What a source and its subscribers moved, and how they ended.

use crate::stream::error::PeerError;

/// What was taken from the source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceCounts {
    /// Bytes taken by splice(2), and left in the pipe.
    pub spliced: u64,
    /// Bytes taken by read(2); also those that a splice(2) found so few of that they were read out
    /// of the pipe.
    pub copied: u64,
    /// Of both, bytes that nobody was there to get.
    pub discarded: u64,
    /// Calls of splice(2).
    pub splice_calls: u64,
    /// Calls of read(2).
    pub copy_calls: u64,
    /// Times that the source proved to be bulk.
    pub promotions: u64,
    /// Times that it proved not to be so any more.
    pub demotions: u64,
    /// Times that it was bulk and there was no pipe for it: limits were reached (pipe(7)), so bytes
    /// were copied.
    pub pipes_refused: u64,
    /// The kernel refused splice(2) for this source, so bytes were copied.
    pub splice_refused: bool,
}

impl SourceCounts {
    /// Bytes taken from the source.
    pub fn bytes(&self) -> u64 {
        self.spliced + self.copied
    }
}

/// How the source came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SourceEnd {
    /// It ended.
    Ended,
    /// It broke off.
    Died {
        /// The error of the call that found it.
        error: PeerError,
    },
    /// It was ended from here.
    Cut,
}

/// What a subscriber was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriberCounts {
    /// The place in the stream of the first byte for it.
    pub from: u64,
    /// Bytes given to its socket by splice(2), after tee(2) where others needed them too.
    pub spliced: u64,
    /// Bytes given to its socket by write(2).
    pub copied: u64,
    /// Calls of tee(2).
    pub tee_calls: u64,
    /// Calls of splice(2).
    pub splice_calls: u64,
    /// Calls of read(2) and write(2).
    pub copy_calls: u64,
    /// Bytes that were taken from the source for it and that it was not given.
    pub undelivered: u64,
    /// Of the bytes given to its socket, those that a TCP peer had not acknowledged at the
    /// end.
    pub unacknowledged: u64,
    /// Times that there was no pipe for it: limits were reached (pipe(7)), so bytes were copied.
    pub pipes_refused: u64,
    /// The kernel refused tee(2) or splice(2) for it, so bytes were copied.
    pub splice_refused: bool,
}

impl SubscriberCounts {
    /// Bytes given to its socket.
    pub fn bytes(&self) -> u64 {
        self.spliced + self.copied
    }
}

/// How a subscriber came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubscriberEnd {
    /// The source ended, and it was given all and told so.
    Closed,
    /// It went away.
    Gone {
        /// The error of the call that found it.
        error: PeerError,
    },
    /// It fell too far behind ([`Slow::Drop`](super::Slow::Drop)).
    Lagged,
    /// It was given all that there was, but the source broke off.
    SourceDied,
    /// It took nothing for too long.
    TimedOut,
    /// It was ended from here.
    Cut,
}
