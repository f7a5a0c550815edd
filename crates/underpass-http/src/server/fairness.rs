//! Fairness between the connections of a server (pitfall 20). A connection sends at most its budget
//! per turn. Of the connections that have more to send, one is woken between two polls of the
//! reactor. So a small response waits for at most one large turn, however many large responses are
//! being sent.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

use tokio::sync::Notify;

/// The budget at the beginning of a response, and while no other connection is active. Smaller
/// turns cost more than they gain: 1 MiB to each of 32 connections took a third more CPU time in
/// turns of 256 KiB.
const LARGE_BUDGET: usize = 2 << 20;

/// The budget of a turn while other connections are served: about 20 µs at 6 GB/s.
const SMALL_BUDGET: usize = 128 << 10;

/// The budget of a turn if no response has begun since the connection's last turn: nobody waits for
/// a small response, so small turns would only cost.
const MIDDLE_BUDGET: usize = 1 << 20;

#[derive(Debug, Default)]
pub(crate) struct SendScheduler {
    /// Turns begun by all connections.
    begun: AtomicU64,
    /// The number of the last turn at the beginning of a response.
    last_beginning: AtomicU64,
    /// Connections that have more to send, in the order in which they began to wait.
    waiting: Mutex<VecDeque<Waker>>,
    filled: Notify,
}

impl SendScheduler {
    /// Begins a turn of a connection. `last` is the number of its last turn, and `sent` the bytes
    /// of its response that were sent before. Returns the number of this turn and its budget in
    /// bytes.
    pub(crate) fn begin(&self, last: u64, sent: usize) -> (u64, usize) {
        let number = self.begun.fetch_add(1, Relaxed) + 1;
        let alone = number == last + 1;
        let begins = sent < LARGE_BUDGET;
        let budget = if begins {
            self.last_beginning.store(number, Relaxed);
            LARGE_BUDGET
        } else if alone {
            LARGE_BUDGET
        } else if self.last_beginning.load(Relaxed) <= last {
            MIDDLE_BUDGET
        } else {
            SMALL_BUDGET
        };
        (number, budget)
    }

    /// Wakes the connection when it is its turn again.
    pub(crate) fn wait(&self, waker: Waker) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push_back(waker);
        if waiting.len() == 1 {
            self.filled.notify_one();
        }
    }

    fn next(&self) -> Option<Waker> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.pop_front()
    }

    /// Wakes the waiting connections one by one, for as long as it is polled. Waking a connection
    /// that is gone does nothing.
    pub(crate) async fn run(&self) {
        loop {
            // This lets all tasks that are ready run first, and the reactor be polled.
            tokio::task::yield_now().await;
            match self.next() {
                Some(waker) => waker.wake(),
                None => self.filled.notified().await,
            }
        }
    }
}

/// How much one connection may send in its turn.
#[derive(Debug)]
pub(crate) struct SendBudget {
    scheduler: Arc<SendScheduler>,
    /// The number of this turn, the bytes that may be sent in it, and the bytes that were.
    turn: AtomicU64,
    bytes: AtomicUsize,
    spent: AtomicUsize,
    /// The turn ended because its budget was spent.
    has_ended: AtomicBool,
}

impl SendBudget {
    pub(crate) fn new(scheduler: Arc<SendScheduler>) -> Self {
        Self {
            scheduler,
            turn: AtomicU64::new(0),
            bytes: AtomicUsize::new(0),
            spent: AtomicUsize::new(0),
            has_ended: AtomicBool::new(false),
        }
    }

    /// Begins a turn. `sent` bytes of the response were sent before. If the connection was upgraded
    /// (`is_http` is false), the budget stays [lifted](Self::lift).
    pub(crate) fn begin_turn(&self, sent: usize, is_http: bool) {
        self.has_ended.store(false, Relaxed);
        let (turn, bytes) = self.scheduler.begin(self.turn.load(Relaxed), sent);
        self.turn.store(turn, Relaxed);
        if is_http {
            self.bytes.store(bytes, Relaxed);
        }
        self.spent.store(0, Relaxed);
    }

    /// How much of a file may go in one call. Always the whole budget: the last call of a turn may
    /// go beyond it, so that calls stay large and end where pages do.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    pub(crate) fn spend(&self, count: usize) {
        let spent = self.spent.load(Relaxed).saturating_add(count);
        self.spent.store(spent, Relaxed);
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.spent.load(Relaxed) >= self.bytes()
    }

    /// Ends the turn with more to send, and has the scheduler wake the task for the next one. False
    /// if it has ended before.
    pub(crate) fn end_turn(&self, waker: &Waker) -> bool {
        let ends = !self.has_ended.swap(true, Relaxed);
        if ends {
            self.scheduler.wait(waker.clone());
        }
        ends
    }

    /// No limit, for a connection that is not HTTP any more.
    pub(crate) fn lift(&self) {
        self.bytes.store(usize::MAX, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_alone_goes_on_in_large_turns_and_among_others_in_small_ones() {
        let turns = SendScheduler::default();
        let (first, budget) = turns.begin(0, 0);
        assert_eq!(budget, LARGE_BUDGET);
        let (second, budget) = turns.begin(first, LARGE_BUDGET);
        assert_eq!(budget, LARGE_BUDGET);
        let (other, budget) = turns.begin(0, 0);
        assert_eq!(budget, LARGE_BUDGET, "a response begins with a large one");
        let (third, budget) = turns.begin(second, LARGE_BUDGET);
        assert_eq!(budget, SMALL_BUDGET);
        assert!(second < other && other < third);
        let (fourth, _) = turns.begin(other, LARGE_BUDGET);
        let (fifth, budget) = turns.begin(third, 2 * LARGE_BUDGET);
        assert_eq!(budget, MIDDLE_BUDGET, "nothing began meanwhile");
        turns.begin(0, 0);
        assert_eq!(turns.begin(fifth, 3 * LARGE_BUDGET).1, SMALL_BUDGET);
        assert!(third < fourth && fourth < fifth);
    }

    #[tokio::test]
    async fn turns_are_handed_out_in_order() {
        use std::task::Wake;

        struct Note(usize, Arc<AtomicUsize>);
        impl Wake for Note {
            fn wake(self: Arc<Self>) {
                let _ = self
                    .1
                    .compare_exchange(self.0, self.0 + 1, Relaxed, Relaxed);
            }
        }

        let (turns, order) = (SendScheduler::default(), Arc::new(AtomicUsize::new(0)));
        for number in 0..3 {
            turns.wait(Arc::new(Note(number, Arc::clone(&order))).into());
        }
        let all = async {
            while order.load(Relaxed) < 3 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = turns.run() => unreachable!("it never ends"),
            () = all => {}
        }
    }
}
