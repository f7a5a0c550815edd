//! Owned memory → TCP socket by reference (kernel document networking/msg_zerocopy.rst).
//!
//! The kernel refers to the pages until it reports on the socket's error queue that it is done with
//! them. So a transfer is over only when the kernel has reported on every send. If a report says
//! "copied" (loopback, packet taps, an interface that cannot gather), the route gains nothing and
//! gives up (pitfall 16).

use std::sync::{Mutex, PoisonError};

use rustix::fd::BorrowedFd;
use rustix::io::Errno;

use super::{CallOutcome, Ends};
use crate::step::Wait;
use crate::sys::{Notification, Sys, zerocopy};

/// Below this many bytes, memory is copied into the socket rather than pinned: "generally only
/// effective at writes over around 10 KB" (kernel document networking/msg_zerocopy.rst).
pub const ZEROCOPY_FROM: u64 = 10 * 1024;

/// The sends of one transfer, and the kernel's reports about them.
#[derive(Debug)]
pub(crate) struct Sends {
    /// No other route is left, so this one goes on even if the kernel copies.
    forced: bool,
    enabled: bool,
    /// The most bytes of one send. It becomes smaller if the kernel may not pin that many
    /// (`RLIMIT_MEMLOCK`).
    most: usize,
    /// Bytes of each send, in order.
    sizes: Vec<usize>,
    answers: Vec<Notification>,
    answered: u64,
}

impl Sends {
    pub(crate) fn new(forced: bool) -> Self {
        Self {
            forced,
            enabled: false,
            most: usize::MAX,
            sizes: Vec::new(),
            answers: Vec::new(),
            answered: 0,
        }
    }

    /// Sends on which the kernel has not reported yet.
    pub(crate) fn outstanding(&self) -> u64 {
        (self.sizes.len() as u64).saturating_sub(self.answered)
    }

    /// What to wait for, if a report is still to come. [`Wait::Release`] is made nowhere else, so
    /// that nobody waits for a report that was read before.
    pub(crate) fn awaited(&self) -> Option<Wait> {
        (self.outstanding() > 0).then_some(Wait::Release)
    }

    /// The limit for pinned pages or for notifications is reached (`RLIMIT_MEMLOCK`, `optmem_max`).
    /// Reports free some of it. If none is still to come, other processes of the same user have
    /// used it up, or one send of this size is too large.
    fn without_room(&mut self, tried: usize) -> Result<CallOutcome, Errno> {
        if let Some(wait) = self.awaited() {
            return Ok(CallOutcome::Blocked(wait));
        }
        if tried as u64 <= ZEROCOPY_FROM {
            return Err(Errno::NOBUFS);
        }
        self.most = tried / 2;
        Ok(CallOutcome::Again)
    }

    /// Whether the kernel copied any send after all.
    fn copied(&self) -> bool {
        self.answers.iter().any(|answer| answer.copied)
    }

    /// Bytes that the kernel says it copied; all reports must have been read.
    pub(crate) fn copied_bytes(&self) -> u64 {
        copied_bytes(&self.sizes, &self.answers)
    }

    /// Reads every report that is there.
    pub(crate) fn collect<K: Sys>(&mut self, sys: &K, sink: BorrowedFd<'_>) -> Result<(), Errno> {
        while self.outstanding() > 0 {
            match sys.notification(sink) {
                Ok(answer) => {
                    self.answered += u64::from(answer.last.wrapping_sub(answer.first)) + 1;
                    self.answers.push(answer);
                }
                Err(Errno::AGAIN) => break,
                // Another subsystem's message on the same queue (ICMP, timestamps).
                Err(Errno::NOMSG) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }
}

pub(crate) fn step<K: Sys>(
    ends: &mut Ends<'_, K>,
    sends: &mut Sends,
    len: usize,
) -> Result<CallOutcome, Errno> {
    if !sends.enabled {
        if abandoned::knows(ends.sink.fd) {
            return Ok(CallOutcome::GiveUp(
                "an earlier transfer on this socket was dropped before the kernel let go of its memory",
            ));
        }
        zerocopy::enable(ends.sink.fd)?;
        sends.enabled = true;
    }
    sends.collect(ends.sys, ends.sink.fd)?;
    if sends.copied() && !sends.forced {
        return Ok(CallOutcome::GiveUp(
            "the kernel says it copied (ZEROCOPY_COPIED)",
        ));
    }
    let memory = ends.source.memory(len.min(sends.most));
    match ends.sys.send_zerocopy(ends.sink.fd, memory) {
        // The kernel would never report on this send.
        Ok(0) => Err(Errno::IO),
        Ok(count) => {
            sends.sizes.push(count);
            ends.source.advance(count as u64);
            Ok(CallOutcome::Passed(count as u64))
        }
        Err(Errno::AGAIN) => Ok(CallOutcome::Blocked(Wait::Sink)),
        Err(Errno::NOBUFS) => {
            let tried = memory.len();
            sends.without_room(tried)
        }
        Err(errno) => Err(errno),
    }
}

/// Adds up the sends that a report with `copied` covers.
///
/// The kernel numbers the sends of a socket from 0, wrapping at 32 bits, over all transfers. The
/// sends of one transfer are consecutive, so its first number is the one from which all its others
/// are a short distance ahead.
fn copied_bytes(sizes: &[usize], answers: &[Notification]) -> u64 {
    let near = |base: u32| {
        answers
            .iter()
            .all(|answer| (answer.last.wrapping_sub(base) as usize) < sizes.len())
    };
    let Some(base) = answers.iter().map(|a| a.first).find(|&base| near(base)) else {
        return 0;
    };
    let covered = |answer: &Notification| {
        let first = answer.first.wrapping_sub(base) as usize;
        let last = answer.last.wrapping_sub(base) as usize;
        sizes
            .get(first..=last)
            .unwrap_or_default()
            .iter()
            .sum::<usize>() as u64
    };
    answers.iter().filter(|a| a.copied).map(covered).sum()
}

/// Memory whose transfer was dropped while the kernel still referred to it. It is never freed: if
/// it were reused, bytes that are still to be sent would change.
pub(crate) mod abandoned {
    use super::{BorrowedFd, Mutex, PoisonError};
    use crate::memory::Memory;

    static ABANDONED: Mutex<Vec<(u64, Memory)>> = Mutex::new(Vec::new());

    /// Keeps `memory` for good, and keeps this route from using `socket` again: late reports could
    /// not be told from new ones.
    pub(crate) fn keep(socket: BorrowedFd<'_>, memory: Memory) {
        let cookie = rustix::net::sockopt::socket_cookie(socket).unwrap_or(0);
        ABANDONED
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((cookie, memory));
    }

    pub(super) fn knows(socket: BorrowedFd<'_>) -> bool {
        let kept = ABANDONED.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.is_empty() {
            return false;
        }
        let cookie = rustix::net::sockopt::socket_cookie(socket).unwrap_or(0);
        kept.iter().any(|(known, _)| *known == cookie)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pitfall_16_ranges_wrap_and_come_out_of_order() {
        let answer = |first, last, copied| Notification {
            first,
            last,
            copied,
        };
        let answers = [
            answer(0, 1, true),
            answer(u32::MAX - 1, u32::MAX - 1, false),
            answer(u32::MAX, u32::MAX, true),
        ];
        assert_eq!(copied_bytes(&[1, 20, 300, 4000], &answers), 4320);
    }

    proptest! {
        #[test]
        fn copied_bytes_are_those_of_the_copied_sends(
            base: u32,
            sends in proptest::collection::vec((1_usize..1_000_000, any::<bool>()), 1..40),
            seed: u64,
        ) {
            let sizes: Vec<_> = sends.iter().map(|s| s.0).collect();
            let mut answers: Vec<_> = sends.iter().enumerate().map(|(i, s)| {
                let id = base.wrapping_add(i as u32);
                Notification { first: id, last: id, copied: s.1 }
            }).collect();
            let turn = seed as usize % answers.len();
            answers.rotate_left(turn);
            let want: usize = sends.iter().filter(|s| s.1).map(|s| s.0).sum();
            prop_assert_eq!(copied_bytes(&sizes, &answers), want as u64);
        }
    }
}
