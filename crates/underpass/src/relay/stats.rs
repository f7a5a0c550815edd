//! Counters that are updated while relays run.

use super::{DirectionCounts, RelayEnd, RelayOutcome};
use crate::count::Count;

/// Counters for any number of relays, shared in an `Arc`. Use one for each thread, so that threads
/// do not contend for them.
///
/// The share of the bytes that stayed in the kernel is `spliced / (spliced + copied)`.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct RelayStats {
    /// Bytes sent to sinks by splice(2).
    pub spliced: Count,
    /// Bytes sent to sinks by write(2).
    pub copied: Count,
    /// Bytes read from a source that never arrived, because its sink went away.
    pub undelivered: Count,
    /// How often a direction became bulk.
    pub promotions: Count,
    /// How often a direction stopped being bulk.
    pub demotions: Count,
    /// How often a bulk direction found no pipe and copied.
    pub pipes_refused: Count,
    /// Directions that the kernel refused to splice.
    pub splices_refused: Count,
    /// Relays whose both sides ended.
    pub closed: Count,
    /// Relays that ended because one side went away.
    pub reset: Count,
    /// Relays that ended because nothing moved for too long.
    pub timed_out: Count,
    /// Relays that the caller ended before they were over.
    pub cut: Count,
}

impl RelayStats {
    /// Adds what a direction moved between the counts `before` and `now`.
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
            RelayEnd::Cut => self.cut.add(1),
        }
    }
}
