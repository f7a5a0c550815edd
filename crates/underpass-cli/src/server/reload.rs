//! SIGHUP: opens output files again, and reads configuration files again. Some are read again when
//! they change, too.

use std::io;
use std::panic::{self, AssertUnwindSafe};

use tokio::net::unix::pipe;
use underpass::Cancel;

use super::systemd;
use crate::interrupt::{Hangups, has_terminal};
use crate::report;

mod watch;

pub(crate) use watch::{Watch, WatchedFiles};

/// Opens or reads one file again. Returns a line that says so, or the error. May block on a disk.
pub(crate) type ReloadAction = Box<dyn FnMut() -> Result<String, String> + Send>;

/// The reload actions, and the signals that start them.
pub(crate) struct Reloader {
    /// Called when the server is ready.
    start: Option<Box<dyn FnOnce() + Send>>,
    hangups: Hangups,
    actions: Actions,
}

struct Actions {
    at_signals: Vec<ReloadAction>,
    /// Actions for signals, and for changes of their files.
    watches: Vec<Watch>,
}

/// Why something is opened or read again.
enum Cause {
    Signal,
    /// The files of the watch with this number have changed.
    Change(usize),
}

impl Reloader {
    /// Runs `actions` at every signal.
    pub(crate) fn new(hangups: Hangups, actions: Vec<ReloadAction>) -> Self {
        let actions = Actions {
            at_signals: actions,
            watches: Vec::new(),
        };
        Self {
            start: None,
            hangups,
            actions,
        }
    }

    /// Calls this once, when the server is ready, on a thread that must not block.
    pub(crate) fn start(mut self, start: Option<Box<dyn FnOnce() + Send>>) -> Self {
        self.start = start;
        self
    }

    /// Runs this action, too, and also when its files change.
    pub(crate) fn watch(mut self, watch: Option<Watch>) -> Self {
        self.actions.watches.extend(watch);
        self
    }

    /// Runs the actions at every signal, until it is dropped.
    pub(super) async fn run(self, quiet: bool, cancel: Cancel) -> io::Result<()> {
        let Self {
            start,
            hangups,
            mut actions,
        } = self;
        if let Some(start) = start {
            start();
        }
        let signals = pipe::Receiver::from_owned_fd(hangups.pipe.try_clone()?)?;
        loop {
            let cause = tokio::select! {
                ready = signals.readable() => {
                    ready?;
                    Cause::Signal
                }
                changed = watch::changed(&mut actions.watches) => Cause::Change(changed),
            };
            let is_signal = matches!(cause, Cause::Signal);
            if is_signal {
                match signals.try_read(&mut [0; 64]) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                    read => _ = read?,
                }
                if hangups.had_terminal && !has_terminal() {
                    // The terminal window was closed: the server ends with it.
                    cancel.cancel();
                    return Ok(());
                }
                systemd::reloading();
            }
            let running = tokio::task::spawn_blocking(move || {
                actions.run(&cause, quiet);
                actions
            });
            actions = running.await.map_err(io::Error::other)?;
            if is_signal {
                systemd::ready();
            }
        }
    }
}

/// Runs an action. One that panics, which is reported, keeps no later one from running.
fn guarded(action: impl FnOnce() -> Result<String, String>) -> Result<String, String> {
    // What an action replaces, it replaces as a whole.
    let outcome = panic::catch_unwind(AssertUnwindSafe(action));
    outcome.unwrap_or_else(|_| Err("files were not read again: internal error".to_owned()))
}

impl Actions {
    /// Runs all of them at a signal, or else that of the files.
    fn run(&mut self, cause: &Cause, quiet: bool) {
        let outcomes: Vec<_> = match cause {
            Cause::Signal => {
                let at_signals = self.at_signals.iter_mut().map(guarded);
                let watches = self.watches.iter_mut();
                let watches = watches.map(|watch| guarded(|| watch.run()));
                at_signals.chain(watches).collect()
            }
            Cause::Change(which) => self
                .watches
                .get_mut(*which)
                .map(|watch| guarded(|| watch.run()))
                .into_iter()
                .collect(),
        };
        if outcomes.is_empty() && !quiet {
            report::notice("SIGHUP: there is no file to open or to read again");
        }
        for outcome in outcomes {
            match outcome {
                Ok(done) if quiet => drop(done),
                Ok(line) | Err(line) => report::notice(line),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use underpass::Count;

    use super::*;

    #[test]
    fn an_action_that_panics_keeps_no_other_and_no_later_one_from_running() {
        let count = Arc::new(Count::default());
        let counted = Arc::clone(&count);
        let failing: ReloadAction = Box::new(|| panic!("a bug"));
        let counting: ReloadAction = Box::new(move || {
            counted.add(1);
            Ok(String::new())
        });
        let mut actions = Actions {
            at_signals: vec![failing, counting],
            watches: Vec::new(),
        };
        for runs in 1..=3 {
            actions.run(&Cause::Signal, true);
            assert_eq!(count.get(), runs);
        }
    }
}
