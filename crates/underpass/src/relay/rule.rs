//! When a direction copies and when it splices: policy, and nothing but numbers.
//!
//! What is looked at is a burst: the bytes that come between two times that the source is found empty. Who asks and waits
//! for answers sends small bursts, which read(2) and write(2) pass on in less time than two splice(2)s through a pipe; who
//! sends a file sends bursts that a sink can hardly keep up with.

use crate::route::Route;

/// Bytes of a burst that make a direction bulk.
pub(super) const BULK: u64 = 64 << 10;

/// A burst of fewer bytes is small.
pub(super) const SMALL: u64 = 16 << 10;

/// Small bursts in a row after which a direction is not bulk any more.
pub(super) const PATIENCE: u32 = 4;

/// Bytes to be copied before another pipe is asked for when one was refused: a refusal costs two system calls, and limits
/// do not pass by in a moment.
pub(super) const REST: u64 = 4 << 20;

/// How a direction passes its bytes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// Through a small buffer.
    Copying,
    /// Through a pipe.
    Splicing,
}

/// The lane of one direction, and what it hangs on.
#[derive(Debug)]
pub(super) struct Rule {
    lane: Lane,
    /// Somebody asked for this lane: it is never left for its bursts.
    forced: bool,
    /// The kernel does not splice between these sockets.
    refused: bool,
    burst: u64,
    small: u32,
    /// Bytes that are copied whatever comes.
    rest: u64,
}

/// A lane that was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Promoted,
    Demoted,
}

impl Rule {
    /// Without a `route`, copying until proved bulk.
    pub(super) fn new(route: Option<Route>) -> Self {
        Self {
            lane: match route {
                Some(Route::Splice) => Lane::Splicing,
                _ => Lane::Copying,
            },
            forced: route.is_some(),
            refused: false,
            burst: 0,
            small: 0,
            rest: 0,
        }
    }

    pub(super) fn lane(&self) -> Lane {
        if self.refused || self.rest > 0 {
            Lane::Copying
        } else {
            self.lane
        }
    }

    /// So many bytes were taken from the source.
    pub(super) fn took(&mut self, bytes: u64) -> Option<Change> {
        self.burst += bytes;
        self.rest = self.rest.saturating_sub(bytes);
        let promoted = self.lane == Lane::Copying && !self.forced && self.burst >= BULK;
        promoted.then(|| self.turn(Lane::Splicing, Change::Promoted))
    }

    /// The source was found empty.
    pub(super) fn emptied(&mut self) -> Option<Change> {
        let burst = std::mem::take(&mut self.burst);
        if self.lane == Lane::Copying || self.forced || burst == 0 {
            return None;
        }
        self.small = if burst < SMALL { self.small + 1 } else { 0 };
        (self.small >= PATIENCE).then(|| self.turn(Lane::Copying, Change::Demoted))
    }

    /// There is no pipe to be had now.
    pub(super) fn without_pipe(&mut self) {
        self.rest = REST;
    }

    /// splice(2) does not serve here.
    pub(super) fn refuse(&mut self) {
        self.refused = true;
    }

    /// Whether what lies in a pipe has to be read out of it.
    pub(super) fn is_refused(&self) -> bool {
        self.refused
    }

    fn turn(&mut self, lane: Lane, change: Change) -> Change {
        self.lane = lane;
        self.small = 0;
        change
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Change::{Demoted, Promoted};

    /// Bursts, each taken 1 KiB at a time, and what became of the lane.
    fn changes(rule: &mut Rule, bursts: &[u64]) -> Vec<Change> {
        let mut changes = Vec::new();
        for burst in bursts {
            let (whole, part) = (burst / 1024, burst % 1024);
            let takes = std::iter::repeat_n(1024, whole as usize).chain([part]);
            changes.extend(takes.filter_map(|bytes| rule.took(bytes)));
            changes.extend(rule.emptied());
        }
        changes
    }

    #[test]
    fn bursts_decide() {
        const HALF: u64 = SMALL / 2;
        let table: &[(&[u64], &[Change])] = &[
            (&[64; 1000], &[]),
            (&[BULK - 1; 1000], &[]),
            (&[BULK], &[Promoted]),
            (
                &[64, 64, 10 * BULK, SMALL, SMALL, SMALL, SMALL, SMALL],
                &[Promoted],
            ),
            (&[BULK, HALF, HALF, HALF], &[Promoted]),
            (&[BULK, HALF, HALF, HALF, HALF], &[Promoted, Demoted]),
            (
                &[BULK, HALF, HALF, HALF, BULK, HALF, HALF, HALF],
                &[Promoted],
            ),
            (&[BULK, 1, 1, 1, 1, 1, BULK], &[Promoted, Demoted, Promoted]),
            // Found empty again and again, as after a wake-up for nothing: no burst at all.
            (&[BULK, 0, 0, 0, 0, 0, 0], &[Promoted]),
        ];
        for (bursts, wanted) in table {
            let mut rule = Rule::new(None);
            assert_eq!(changes(&mut rule, bursts), *wanted, "{bursts:?}");
        }
    }

    #[test]
    fn what_was_asked_for_is_not_left() {
        for (route, lane) in [
            (Route::Splice, Lane::Splicing),
            (Route::ReadWrite, Lane::Copying),
        ] {
            let mut rule = Rule::new(Some(route));
            assert_eq!(changes(&mut rule, &[1, 1, 1, 1, 1, 1, BULK, BULK]), []);
            assert_eq!(rule.lane(), lane);
        }
    }

    #[test]
    fn a_refused_pipe_is_asked_for_again_after_a_rest() {
        let mut rule = Rule::new(None);
        rule.took(BULK);
        rule.without_pipe();
        assert_eq!(rule.lane(), Lane::Copying);
        rule.took(REST - 1);
        assert_eq!(rule.lane(), Lane::Copying);
        rule.took(1);
        assert_eq!(rule.lane(), Lane::Splicing);
    }

    #[test]
    fn a_kernel_that_does_not_splice_is_not_asked_again() {
        let mut rule = Rule::new(Some(Route::Splice));
        rule.refuse();
        changes(&mut rule, &[REST, REST]);
        assert_eq!(rule.lane(), Lane::Copying);
    }
}
