//! What was carried, and how it ended.

use std::time::Duration;

use super::Side;
use crate::stream::error::PeerError;

/// The account of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DirectionCounts {
    /// Bytes given to the sink by splice(2).
    pub spliced: u64,
    /// Bytes given to the sink by write(2).
    pub copied: u64,
    /// Calls of splice(2).
    pub splice_calls: u64,
    /// Calls of read(2) and write(2).
    pub copy_calls: u64,
    /// Bytes taken from the source and not given to the sink: one of the two went away.
    pub undelivered: u64,
    /// Of the bytes given to the sink, those that a TCP peer had not acknowledged at the end.
    /// Where the connection was reset, they are lost.
    pub unacknowledged: u64,
    /// Times that it proved to be bulk.
    pub promotions: u64,
    /// Times that it proved not to be so any more.
    pub demotions: u64,
    /// Times that it was bulk and there was no pipe for it: limits were reached (pipe(7)), so bytes
    /// were copied.
    pub pipes_refused: u64,
    /// The kernel refused splice(2) between these sockets, so bytes were copied.
    pub splice_refused: bool,
    /// The source ended, all it sent was given, and the sink knows; and no reset took anything away
    /// from it.
    pub ended: bool,
}

impl DirectionCounts {
    /// Bytes given to the sink.
    pub fn bytes(&self) -> u64 {
        self.spliced + self.copied
    }

    /// The source ended, and all that it sent has arrived.
    pub fn is_complete(&self) -> bool {
        self.ended && self.unacknowledged == 0
    }
}

/// How two sockets came to be parted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RelayEnd {
    /// Both sides have ended, and all that they sent was delivered.
    Closed,
    /// One side went away, and the other was reset.
    Reset {
        /// The side that went away.
        by: Side,
        /// The error of the call that found it.
        error: PeerError,
    },
    /// Nothing moved for as long as
    /// [`RelaySettings::idle_timeout`](super::RelaySettings::idle_timeout) allows; both were reset.
    TimedOut,
    /// It was ended from here; both were reset.
    Cut,
}

/// The account of two sockets that were joined.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RelayOutcome {
    /// From the near side to the far one.
    pub up: DirectionCounts,
    /// From the far side to the near one.
    pub down: DirectionCounts,
    /// Why it is over.
    pub ended: RelayEnd,
    /// From the beginning to the end.
    pub wall: Duration,
}
