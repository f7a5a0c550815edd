//! What relays carry, counted while they do.

use super::{DirectionCounts, RelayEnd, RelayOutcome};
use crate::count::Count;

/// Counters of any number of relays, to be shared between them in an `Arc`; each thread had better
/// have its own.
///
/// The share of the bytes that did not enter user space is `spliced / (spliced + copied)`.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct RelayStats {
    /// Bytes given to sinks by splice(2).
    pub spliced: Count,
    /// Bytes given to sinks by write(2).
    pub copied: Count,
    /// Bytes taken from a source that never arrived, for its sink went away.
    pub undelivered: Count,
    /// Directions that proved to be bulk.
    pub promotions: Count,
    /// Directions that proved not to be so any more.
    pub demotions: Count,
    /// Times that a bulk direction found no pipe, and copied.
    pub pipes_refused: Count,
    /// Directions that the kernel refused to splice.
    pub splices_refused: Count,
    /// Relays whose both sides ended.
    pub closed: Count,
    /// Relays that ended because one side went away.
    pub reset: Count,
    /// Relays that ended because nothing moved for too long.
    pub timed_out: Count,
}

impl RelayStats {
    /// Adds what a direction carried since it was told of as `before`.
    pub(super) fn carried(&self, before: &DirectionCounts, now: &DirectionCounts) {
        let counts = [
            (&self.spliced, before.spliced, now.spliced),
            (&self.copied, before.copied, now.copied),
            (
                &self.undelivered,
                before.undelivered + before.unacknowledged,
                now.undelivered + now.unacknowledged,
            ),
            (&self.promotions, before.promotions, now.promotions),
            (&self.demotions, before.demotions, now.demotions),
            (&self.pipes_refused, before.pipes_refused, now.pipes_refused),
            (
                &self.splices_refused,
                before.splice_refused.into(),
                now.splice_refused.into(),
            ),
        ];
        for (count, before, now) in counts {
            if now > before {
                count.add(now - before);
            }
        }
    }

    pub(super) fn ended(&self, relayed: &RelayOutcome) {
        match relayed.ended {
            RelayEnd::Closed => self.closed.add(1),
            RelayEnd::Reset { .. } => self.reset.add(1),
            RelayEnd::TimedOut => self.timed_out.add(1),
            RelayEnd::Cut => {}
        }
    }
}
