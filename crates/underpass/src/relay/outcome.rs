//! What a relay moved, and how it ended.

use std::time::Duration;

use super::Side;
use crate::stream::error::PeerError;

/// The counts of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DirectionCounts {
    /// Bytes sent to the sink by splice(2).
    pub spliced: u64,
    /// Bytes sent to the sink by write(2).
    pub copied: u64,
    /// Calls of splice(2).
    pub splice_calls: u64,
    /// Calls of read(2) and write(2).
    pub copy_calls: u64,
    /// Bytes read from the source and not sent to the sink, because one of the two went away.
    pub undelivered: u64,
    /// Of the bytes sent to the sink, those that a TCP peer had not acknowledged at the end. If the
    /// connection was reset, they are lost.
    pub unacknowledged: u64,
    /// How often it became bulk.
    pub promotions: u64,
    /// How often it stopped being bulk.
    pub demotions: u64,
    /// How often it was bulk and no pipe could be had, because of limits (pipe(7)), so that bytes
    /// were copied.
    pub pipes_refused: u64,
    /// The kernel refused splice(2) between these sockets, so bytes were copied.
    pub splice_refused: bool,
    /// The source ended, everything it sent and its end were passed on, and no reset discarded any
    /// of it.
    pub ended: bool,
}

impl DirectionCounts {
    /// Bytes sent to the sink.
    pub fn bytes(&self) -> u64 {
        self.spliced + self.copied
    }

    /// The source ended, and all that it sent has arrived.
    pub fn is_complete(&self) -> bool {
        self.ended && self.unacknowledged == 0
    }
}

/// How a relay ended.
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
    /// The caller ended the relay; both sides were reset.
    Cut,
}

/// The outcome of a relay.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RelayOutcome {
    /// From the near side to the far one.
    pub up: DirectionCounts,
    /// From the far side to the near one.
    pub down: DirectionCounts,
    /// How it ended.
    pub ended: RelayEnd,
    /// From the beginning to the end.
    pub wall: Duration,
}
