//! When a direction copies and when it splices: policy, and nothing but numbers.
//!
//! What is looked at is how much a call takes from the source, which is all there is as far as it
//! fits. Who asks and waits for answers leaves little to take, which read(2) and write(2) pass on
//! in less time than two splice(2)s through a pipe; who sends a file leaves as much as the socket's
//! queue holds.

use super::in_flight::{BUFFER, LARGE};
use crate::route::Route;

/// Fewer bytes are a small burst; so many at once make a direction bulk. Measured: from 32 KiB on
/// splicing is cheaper, up to 16 KiB the two cannot be told apart (`lab rivals relay-crossover`,
/// DESIGN.md).
pub(crate) const SMALL: u64 = BUFFER as u64;

/// Small bursts in a row after which a direction is not bulk any more. Measured: fewer make it
/// change its lane among long messages, which then are copied at first (`lab rivals relay-mixed`,
/// DESIGN.md).
pub(crate) const PATIENCE: u32 = 16;

/// Bytes to be copied before another pipe is asked for when one was refused: those take 128 system
/// calls, and to be refused 4 at the most.
pub(crate) const REST: u64 = 4 << 20;

/// How a direction passes its bytes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Through a small buffer.
    Copying,
    /// Through a pipe.
    Splicing,
}

/// The lane of one direction, and what it hangs on.
#[derive(Debug)]
pub(crate) struct SplicePolicy {
    lane: Lane,
    /// Somebody asked for this lane: it is never left for its bursts.
    forced: bool,
    /// The kernel does not splice between these sockets.
    refused: bool,
    /// Small bursts in a row; one before there was any, since no more is expected.
    small: u32,
    /// Bytes that are copied whatever comes.
    rest: u64,
}

/// A lane that was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Promoted,
    Demoted,
}

impl SplicePolicy {
    /// Without a `route`, copying until proved bulk.
    pub(crate) fn new(route: Option<Route>) -> Self {
        Self {
            lane: match route {
                Some(Route::Splice) => Lane::Splicing,
                _ => Lane::Copying,
            },
            forced: route.is_some(),
            refused: false,
            small: 1,
            rest: 0,
        }
    }

    pub(crate) fn lane(&self) -> Lane {
        if self.refused || self.rest > 0 {
            Lane::Copying
        } else {
            self.lane
        }
    }

    /// A call took so many bytes from the source.
    pub(crate) fn took(&mut self, bytes: u64) -> Option<Change> {
        self.rest = self.rest.saturating_sub(bytes);
        self.small = if bytes < SMALL {
            self.small.saturating_add(1)
        } else {
            0
        };
        if self.forced || self.refused {
            return None;
        }
        match (self.lane, self.small) {
            (Lane::Copying, 0) => Some(self.turn(Lane::Splicing, Change::Promoted)),
            (Lane::Splicing, PATIENCE..) => Some(self.turn(Lane::Copying, Change::Demoted)),
            _ => None,
        }
    }

    /// How much is to be copied next: more, where bulk cannot be spliced.
    pub(crate) fn room(&self) -> usize {
        if self.small == 0 && self.lane() == Lane::Copying {
            LARGE
        } else {
            BUFFER
        }
    }

    /// So few bytes at once are not what a pipe is for, unless it was asked for.
    pub(crate) fn is_short(&self, bytes: u64) -> bool {
        bytes < SMALL && !self.forced
    }

    /// There is no pipe to be had now.
    pub(crate) fn without_pipe(&mut self) {
        self.rest = REST;
    }

    /// splice(2) does not serve here.
    pub(crate) fn refuse(&mut self) {
        self.refused = true;
    }

    /// Whether what lies in a pipe has to be read out of it.
    pub(crate) fn is_refused(&self) -> bool {
        self.refused
    }

    fn turn(&mut self, lane: Lane, change: Change) -> Change {
        self.lane = lane;
        change
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Change::{Demoted, Promoted};

    /// Bursts, taken as the lane takes them, and what became of it.
    fn changes(policy: &mut SplicePolicy, bursts: &[u64]) -> Vec<Change> {
        let mut changes = Vec::new();
        for &burst in bursts {
            let mut left = burst;
            while left > 0 {
                let room = match policy.lane() {
                    Lane::Copying => SMALL,
                    Lane::Splicing => 1 << 20,
                };
                let taken = left.min(room);
                changes.extend(policy.took(taken));
                left -= taken;
            }
        }
        changes
    }

    #[test]
    fn bursts_decide() {
        const FEW: usize = PATIENCE as usize - 1;
        const MANY: usize = PATIENCE as usize;
        let short = |count| vec![SMALL - 1; count];
        let long = || vec![1 << 20];
        let table: &[(Vec<u64>, &[Change])] = &[
            (vec![64; 1000], &[]),
            (short(1000), &[]),
            (vec![SMALL], &[Promoted]),
            ([short(1000), long()].concat(), &[Promoted]),
            ([long(), vec![SMALL; 1000]].concat(), &[Promoted]),
            ([long(), short(MANY)].concat(), &[Promoted, Demoted]),
            (
                [long(), short(FEW), long(), short(FEW)].concat(),
                &[Promoted],
            ),
            (
                [long(), short(MANY), long()].concat(),
                &[Promoted, Demoted, Promoted],
            ),
        ];
        for (bursts, wanted) in table {
            let mut policy = SplicePolicy::new(None);
            assert_eq!(changes(&mut policy, bursts), *wanted, "{bursts:?}");
        }
    }

    #[test]
    fn what_was_asked_for_is_not_left() {
        for (route, lane) in [
            (Route::Splice, Lane::Splicing),
            (Route::ReadWrite, Lane::Copying),
        ] {
            let mut policy = SplicePolicy::new(Some(route));
            assert_eq!(changes(&mut policy, &[[1; 100], [SMALL; 100]].concat()), []);
            assert_eq!(policy.lane(), lane);
        }
    }

    #[test]
    fn a_refused_pipe_is_asked_for_again_after_a_rest() {
        let mut policy = SplicePolicy::new(None);
        changes(&mut policy, &[SMALL]);
        policy.without_pipe();
        assert_eq!(policy.lane(), Lane::Copying);
        policy.took(REST - 1);
        assert_eq!(policy.lane(), Lane::Copying);
        policy.took(1);
        assert_eq!(policy.lane(), Lane::Splicing);
    }

    #[test]
    fn bulk_that_cannot_be_spliced_is_copied_in_larger_pieces() {
        let mut refused = SplicePolicy::new(None);
        refused.refuse();
        let mut waiting = SplicePolicy::new(None);
        waiting.took(SMALL);
        waiting.without_pipe();
        let told = SplicePolicy::new(Some(Route::ReadWrite));
        for mut policy in [refused, waiting, told] {
            policy.took(SMALL - 1);
            assert_eq!(policy.room(), BUFFER);
            policy.took(SMALL);
            assert_eq!(policy.room(), LARGE);
        }
        assert_eq!(SplicePolicy::new(None).room(), BUFFER);
    }

    #[test]
    fn a_kernel_that_does_not_splice_is_not_asked_again() {
        let mut policy = SplicePolicy::new(Some(Route::Splice));
        policy.refuse();
        changes(&mut policy, &[REST, REST]);
        assert_eq!(policy.lane(), Lane::Copying);
    }
}
