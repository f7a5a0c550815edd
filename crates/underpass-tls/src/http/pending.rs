//! The handshakes in progress, limited in number: the oldest makes room for the newest.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use tokio::sync::oneshot;

use crate::error::{FailureReason, HandshakeError};

#[derive(Debug)]
pub(super) struct PendingHandshakes {
    most: usize,
    places: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Places {
    /// The places in use by their numbers, the oldest first. Dropping a sender breaks the handshake
    /// off.
    taken: BTreeMap<u64, oneshot::Sender<Infallible>>,
    next: u64,
}

/// The place of one handshake. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place {
    pending: Arc<PendingHandshakes>,
    number: u64,
    displaced: oneshot::Receiver<Infallible>,
}

impl PendingHandshakes {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most: most.max(1),
            places: Mutex::default(),
        })
    }

    /// Takes a place, the oldest one if all are taken.
    pub(super) fn enter(self: &Arc<Self>) -> Place {
        let (taken, displaced) = oneshot::channel();
        let mut places = self.places();
        while places.taken.len() >= self.most {
            places.taken.pop_first();
        }
        let number = places.next;
        places.next += 1;
        places.taken.insert(number, taken);
        Place {
            pending: Arc::clone(self),
            number,
            displaced,
        }
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Runs a handshake until it has ended, or another one takes this place.
    pub(super) async fn hold<T>(
        mut self,
        handshake: impl Future<Output = io::Result<T>>,
    ) -> io::Result<T> {
        let mut handshake = pin!(handshake);
        poll_fn(|cx| {
            if let Poll::Ready(ended) = handshake.as_mut().poll(cx) {
                return Poll::Ready(ended);
            }
            // Nothing is ever sent on this channel. It is ready when its sender was dropped.
            Pin::new(&mut self.displaced).poll(cx).map(|_| {
                Err(HandshakeError::told(
                    FailureReason::Displaced,
                    "too many others had begun, and it was the oldest",
                ))
            })
        })
        .await
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.pending.places().taken.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    async fn is_displaced(place: Place) -> bool {
        let ended = place.hold(ready(Ok(()))).await;
        ended.is_err()
    }

    #[tokio::test]
    async fn the_oldest_makes_room() {
        let handshakes = PendingHandshakes::new(2);
        let (first, second, third) = (handshakes.enter(), handshakes.enter(), handshakes.enter());
        let ended = first.hold(pending::<io::Result<()>>()).await.unwrap_err();
        assert_eq!(FailureReason::of(&ended), FailureReason::Displaced);
        // A place that was given back is free: the next handshake displaces nobody.
        drop(third);
        let fourth = handshakes.enter();
        assert!(!is_displaced(second).await);
        assert!(!is_displaced(fourth).await);
        assert!(handshakes.places().taken.is_empty());
    }
}
