//! Decides when a direction copies and when it splices. Pure policy: no descriptors, only counts.
//!
//! The policy looks at how many bytes each call takes from the source. A request and its answer are
//! short, and read(2) with write(2) is faster for them than two calls of splice(2) through a pipe.
//! A file fills the socket's queue, and splicing is faster.

use super::in_flight::{BUFFER, LARGE};
use crate::route::Route;

/// A read of fewer bytes is short; one of at least this many makes the direction bulk. Measured:
/// from 32 KiB on splicing costs less; up to 16 KiB there is no difference (`lab rivals
/// relay-crossover`, DESIGN.md).
pub(crate) const SMALL: u64 = BUFFER as u64;

/// After this many consecutive short reads a direction is no longer bulk. Measured: with fewer, a
/// direction of long messages keeps switching, and copies the beginning of each (`lab rivals
/// relay-mixed`, DESIGN.md).
pub(crate) const PATIENCE: u32 = 16;

/// After a pipe was refused, this many bytes are copied before the next attempt. Copying them takes
/// 128 system calls, a refused attempt at most 4.
pub(crate) const REST: u64 = 4 << 20;

/// How a direction moves its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Through a small buffer.
    Copying,
    /// Through a pipe.
    Splicing,
}

/// The current mode of one direction, and the counts that decide it.
#[derive(Debug)]
pub(crate) struct SplicePolicy {
    mode: Mode,
    /// The caller chose the mode; reads do not change it.
    forced: bool,
    /// The kernel does not splice between these sockets.
    refused: bool,
    /// Consecutive short reads; starts at 1.
    small: u32,
    /// Bytes still to be copied before the next attempt to get a pipe.
    rest: u64,
}

/// A change of mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Promoted,
    Demoted,
}

impl SplicePolicy {
    /// Without a `route`, copies until the direction proves to be bulk.
    pub(crate) fn new(route: Option<Route>) -> Self {
        Self {
            mode: match route {
                Some(Route::Splice) => Mode::Splicing,
                _ => Mode::Copying,
            },
            forced: route.is_some(),
            refused: false,
            small: 1,
            rest: 0,
        }
    }

    pub(crate) fn mode(&self) -> Mode {
        if self.refused || self.rest > 0 {
            Mode::Copying
        } else {
            self.mode
        }
    }

    /// Records that a call took `bytes` from the source.
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
        match (self.mode, self.small) {
            (Mode::Copying, 0) => Some(self.turn(Mode::Splicing, Change::Promoted)),
            (Mode::Splicing, PATIENCE..) => Some(self.turn(Mode::Copying, Change::Demoted)),
            _ => None,
        }
    }

    /// Size of the next read: larger for bulk data that cannot be spliced.
    pub(crate) fn room(&self) -> usize {
        if self.small == 0 && self.mode() == Mode::Copying {
            LARGE
        } else {
            BUFFER
        }
    }

    /// Whether `bytes` are too few for a pipe of their own. Never, if the caller chose the route.
    pub(crate) fn is_short(&self, bytes: u64) -> bool {
        bytes < SMALL && !self.forced
    }

    /// Records that no pipe could be had.
    pub(crate) fn without_pipe(&mut self) {
        self.rest = REST;
    }

    /// Records that the kernel refuses splice(2) here.
    pub(crate) fn refuse(&mut self) {
        self.refused = true;
    }

    /// Whether splice(2) was refused, so that bytes in a pipe have to be read.
    pub(crate) fn is_refused(&self) -> bool {
        self.refused
    }

    fn turn(&mut self, mode: Mode, change: Change) -> Change {
        self.mode = mode;
        change
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Change::{Demoted, Promoted};

    /// Feeds bursts to the policy, in reads of the size that its mode asks for, and returns the
    /// changes of mode.
    fn changes(policy: &mut SplicePolicy, bursts: &[u64]) -> Vec<Change> {
        let mut changes = Vec::new();
        for &burst in bursts {
            let mut left = burst;
            while left > 0 {
                let room = match policy.mode() {
                    Mode::Copying => SMALL,
                    Mode::Splicing => 1 << 20,
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
        for (route, mode) in [
            (Route::Splice, Mode::Splicing),
            (Route::ReadWrite, Mode::Copying),
        ] {
            let mut policy = SplicePolicy::new(Some(route));
            assert_eq!(changes(&mut policy, &[[1; 100], [SMALL; 100]].concat()), []);
            assert_eq!(policy.mode(), mode);
        }
    }

    #[test]
    fn a_refused_pipe_is_asked_for_again_after_a_rest() {
        let mut policy = SplicePolicy::new(None);
        changes(&mut policy, &[SMALL]);
        policy.without_pipe();
        assert_eq!(policy.mode(), Mode::Copying);
        policy.took(REST - 1);
        assert_eq!(policy.mode(), Mode::Copying);
        policy.took(1);
        assert_eq!(policy.mode(), Mode::Splicing);
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
        assert_eq!(policy.mode(), Mode::Copying);
    }
}
