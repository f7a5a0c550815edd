//! What a source and its subscribers moved, and how they ended.

use crate::stream::error::PeerError;

/// What was read from the source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceCounts {
    /// Bytes read by splice(2) and kept in a pipe.
    pub spliced: u64,
    /// Bytes read by read(2). Includes bytes that splice(2) moved to a pipe and that were too few
    /// to keep there.
    pub copied: u64,
    /// Of both, bytes discarded because there was no subscriber.
    pub discarded: u64,
    /// Calls of splice(2).
    pub splice_calls: u64,
    /// Calls of read(2).
    pub copy_calls: u64,
    /// How often the source became bulk.
    pub promotions: u64,
    /// How often it stopped being bulk.
    pub demotions: u64,
    /// How often it was bulk and no pipe could be had, because of limits (pipe(7)), so that bytes
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

/// How the source ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SourceEnd {
    /// It ended.
    Ended,
    /// The source broke off.
    Died {
        /// The error of the call that found it.
        error: PeerError,
    },
    /// The caller ended it.
    Cut,
}

/// What was sent to a subscriber.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriberCounts {
    /// The position in the stream of its first byte.
    pub from: u64,
    /// Bytes sent by splice(2), after tee(2) where other subscribers needed them too.
    pub spliced: u64,
    /// Bytes sent by write(2).
    pub copied: u64,
    /// Calls of tee(2).
    pub tee_calls: u64,
    /// Calls of splice(2).
    pub splice_calls: u64,
    /// Calls of read(2) and write(2).
    pub copy_calls: u64,
    /// Bytes that were read from the source for it and not sent.
    pub undelivered: u64,
    /// Of the bytes sent, those that a TCP peer had not acknowledged at the end.
    pub unacknowledged: u64,
    /// How often no pipe could be had, because of limits (pipe(7)), so that bytes were copied.
    pub pipes_refused: u64,
    /// The kernel refused tee(2) or splice(2) for it, so bytes were copied.
    pub splice_refused: bool,
}

impl SubscriberCounts {
    /// Bytes sent to it.
    pub fn bytes(&self) -> u64 {
        self.spliced + self.copied
    }
}

/// How a subscriber ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubscriberEnd {
    /// The source ended, and the subscriber was sent everything and the end.
    Closed,
    /// It went away.
    Gone {
        /// The error of the call that found it.
        error: PeerError,
    },
    /// It fell too far behind ([`Slow::Drop`](super::Slow::Drop)).
    Lagged,
    /// The source broke off; the subscriber was sent everything before that.
    SourceDied,
    /// It took nothing for too long.
    TimedOut,
    /// The caller ended it.
    Cut,
}
