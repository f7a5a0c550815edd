//! When a direction copies and when it splices: policy, and nothing but numbers.
//!
//! What is looked at is how much a call takes from the source, which is all there is as far as it fits. Who asks and waits for
//! answers leaves little to take, which read(2) and write(2) pass on in less time than two splice(2)s through a pipe; who sends
//! a file leaves as much as the socket's queue holds.

use crate::route::Route;

/// Bytes that make a direction bulk, if they come in bursts that are not small. Chosen, not measured.
pub(crate) const BULK: u64 = 64 << 10;

/// Fewer bytes, with no more behind them, are a small burst. Measured: from 32 KiB on splicing is cheaper, up to 16 KiB the two
/// cannot be told apart (`lab rivals relay-crossover`, DESIGN.md).
pub(crate) const SMALL: u64 = 16 << 10;

/// Small bursts in a row after which a direction is not bulk any more.
pub(crate) const PATIENCE: u32 = 4;

/// Bytes to be copied before another pipe is asked for when one was refused: a refusal costs two system calls, and limits
/// do not pass by in a moment.
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
pub(crate) struct Rule {
    lane: Lane,
    /// Somebody asked for this lane: it is never left for its bursts.
    forced: bool,
    /// The kernel does not splice between these sockets.
    refused: bool,
    /// Bytes taken since a buffer was not filled.
    burst: u64,
    /// Bytes of bursts since one was small.
    bulk: u64,
    /// Small bursts in a row.
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

impl Rule {
    /// Without a `route`, copying until proved bulk.
    pub(crate) fn new(route: Option<Route>) -> Self {
        Self {
            lane: match route {
                Some(Route::Splice) => Lane::Splicing,
                _ => Lane::Copying,
            },
            forced: route.is_some(),
            refused: false,
            burst: 0,
            bulk: 0,
            small: 0,
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

    /// So many bytes were taken from the source, and it may have more of them.
    pub(crate) fn took(&mut self, bytes: u64, filled: bool) -> Option<Change> {
        let lane = self.lane();
        self.rest = self.rest.saturating_sub(bytes);
        if self.forced {
            return None;
        }
        match lane {
            Lane::Copying => self.copied(bytes, filled),
            Lane::Splicing => self.spliced(bytes),
        }
    }

    fn copied(&mut self, bytes: u64, filled: bool) -> Option<Change> {
        self.burst += bytes;
        self.bulk += bytes;
        if !filled {
            if self.burst < SMALL {
                self.bulk = 0;
            }
            self.burst = 0;
        }
        (self.lane == Lane::Copying && self.bulk >= BULK)
            .then(|| self.turn(Lane::Splicing, Change::Promoted))
    }

    fn spliced(&mut self, bytes: u64) -> Option<Change> {
        self.small = if bytes < SMALL { self.small + 1 } else { 0 };
        (self.small >= PATIENCE).then(|| self.turn(Lane::Copying, Change::Demoted))
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
        (self.burst, self.bulk, self.small) = (0, 0, 0);
        change
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Change::{Demoted, Promoted};

    /// Bursts, taken as the lane takes them, and what became of it.
    fn changes(rule: &mut Rule, bursts: &[u64]) -> Vec<Change> {
        let mut changes = Vec::new();
        for &burst in bursts {
            let mut left = burst;
            while left > 0 {
                let room = match rule.lane() {
                    Lane::Copying => SMALL,
                    Lane::Splicing => 1 << 20,
                };
                let taken = left.min(room);
                changes.extend(rule.took(taken, taken == room));
                left -= taken;
            }
        }
        changes
    }

    #[test]
    fn bursts_decide() {
        const HALF: u64 = SMALL / 2;
        const MIB: u64 = 1 << 20;
        let table: &[(&[u64], &[Change])] = &[
            (&[64; 1000], &[]),
            (&[SMALL - 1; 1000], &[]),
            (&[BULK], &[Promoted]),
            // As a network delivers them.
            (&[SMALL + 1000; 4], &[Promoted]),
            (
                &[
                    SMALL + 1000,
                    64,
                    SMALL + 1000,
                    64,
                    SMALL + 1000,
                    64,
                    SMALL + 1000,
                    64,
                ],
                &[],
            ),
            (&[MIB, SMALL, SMALL, SMALL, SMALL], &[Promoted]),
            (&[MIB, HALF, HALF, HALF, HALF], &[Promoted, Demoted]),
            (&[MIB, HALF, HALF, HALF, MIB, HALF, HALF, HALF], &[Promoted]),
            (&[MIB, 1, 1, 1, 1, 1, MIB], &[Promoted, Demoted, Promoted]),
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
        changes(&mut rule, &[BULK]);
        rule.without_pipe();
        assert_eq!(rule.lane(), Lane::Copying);
        rule.took(REST - 1, true);
        assert_eq!(rule.lane(), Lane::Copying);
        rule.took(1, false);
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
