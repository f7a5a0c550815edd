//! Counters that are updated while a stream runs.

use super::SubscriberEnd;
use crate::count::Count;

/// Counters of one stream.
///
/// The share of the sent bytes that stayed in the kernel is `given_spliced / (given_spliced +
/// given_copied)`.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct FanOutStats {
    /// Bytes read from the source by splice(2).
    pub taken_spliced: Count,
    /// Bytes read from the source by read(2).
    pub taken_copied: Count,
    /// Bytes discarded because there was no subscriber.
    pub discarded: Count,
    /// Bytes sent to subscribers by splice(2).
    pub given_spliced: Count,
    /// Bytes sent to subscribers by write(2).
    pub given_copied: Count,
    /// Bytes read for subscribers that went away before they had them.
    pub undelivered: Count,
    /// How often bulk data found no pipe and was copied.
    pub pipes_refused: Count,
    /// Subscribers that were added.
    pub joined: Count,
    /// Subscribers that were sent everything.
    pub closed: Count,
    /// Subscribers that went away.
    pub gone: Count,
    /// Subscribers that fell too far behind.
    pub lagged: Count,
    /// Subscribers that took nothing for too long.
    pub timed_out: Count,
    /// Subscribers that were sent everything before the source broke off.
    pub source_died: Count,
    /// Subscribers that the caller dropped before they had everything.
    pub cut: Count,
}

impl FanOutStats {
    pub(super) fn ended(&self, how: SubscriberEnd, missing: u64) {
        self.undelivered.add(missing);
        match how {
            SubscriberEnd::Closed => self.closed.add(1),
            SubscriberEnd::Gone { .. } => self.gone.add(1),
            SubscriberEnd::Lagged => self.lagged.add(1),
            SubscriberEnd::TimedOut => self.timed_out.add(1),
            SubscriberEnd::SourceDied => self.source_died.add(1),
            SubscriberEnd::Cut => self.cut.add(1),
        }
    }
}
