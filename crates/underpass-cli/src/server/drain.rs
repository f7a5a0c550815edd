//! How long connections may continue after a server was asked to stop.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use underpass::{Cancel, units};

use super::threads::cancelled;
use crate::exit::Failure;
use crate::interrupt::Interrupt;

/// The end of the wait for connections: `--drain`, or a second signal.
#[derive(Clone)]
pub(crate) struct Drain {
    pub(crate) time: Duration,
    interrupt: Interrupt,
    /// There was a second signal.
    at_once: Arc<watch::Sender<bool>>,
}

impl Drain {
    pub(crate) fn new(time: Duration, interrupt: &Interrupt) -> Self {
        Self {
            time,
            interrupt: interrupt.clone(),
            at_once: Arc::new(watch::Sender::new(false)),
        }
    }

    /// Cancelled when the server is asked to stop.
    pub(super) fn stop(&self) -> &Cancel {
        &self.interrupt.cancel
    }

    /// Ready when the connections that are left are to be cut off, counted from now.
    pub(crate) fn over(&self) -> impl Future<Output = ()> + use<> {
        let (time, second_signal) = (self.time, self.second_signal());
        async move {
            tokio::select! {
                () = tokio::time::sleep(time) => {}
                () = second_signal => {}
            }
        }
    }

    /// Ready when there was a second signal.
    pub(crate) fn second_signal(&self) -> impl Future<Output = ()> + use<> {
        let mut at_once = self.at_once.subscribe();
        async move {
            if at_once.wait_for(|is_set| *is_set).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits for a second signal, and tells all threads of it.
    pub(super) async fn watch(&self) {
        // If it cannot be waited for, `--drain` is.
        let second = self.interrupt.second.as_ref().map(cancelled);
        if let Some(Ok(second)) = second {
            second.await;
            self.at_once.send_replace(true);
        }
    }

    /// The outcome of a server that had to cut off `cut` connections. `passed` is what had passed
    /// through them.
    pub(crate) fn outcome(&self, cut: u64, passed: &str) -> Result<(), Failure> {
        let connections = units::count(cut, "connection");
        if cut == 0 {
            return Ok(());
        }
        if *self.at_once.borrow() {
            return Err(self.interrupt.failure(format_args!(
                "stopped at once: {connections} still busy, and cut off after {passed}"
            )));
        }
        Err(Failure::incomplete(format_args!(
            "stopped: {connections} still busy after {} (--drain), and cut off after {passed}",
            units::duration(self.time),
        )))
    }
}
