//! SIGHUP: opens output files again, and reads configuration files again. Some are read again when
//! they change, too.

use std::io;

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
    /// An action for signals, and for changes of its files.
    watch: Option<Watch>,
}

impl Reloader {
    /// Runs `actions` at every signal.
    pub(crate) fn new(hangups: Hangups, actions: Vec<ReloadAction>) -> Self {
        let actions = Actions {
            at_signals: actions,
            watch: None,
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
        self.actions.watch = watch;
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
            let signalled = tokio::select! {
                ready = signals.readable() => {
                    ready?;
                    true
                }
                () = Watch::changed(actions.watch.as_mut()) => false,
            };
            if signalled {
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
                actions.run(signalled, quiet);
                actions
            });
            actions = running.await.map_err(io::Error::other)?;
            if signalled {
                systemd::ready();
            }
        }
    }
}

impl Actions {
    /// Runs all of them at a signal, or else that of the files.
    fn run(&mut self, signalled: bool, quiet: bool) {
        let at_signals = self.at_signals.iter_mut().filter(|_| signalled);
        let mut outcomes: Vec<_> = at_signals.map(|action| action()).collect();
        outcomes.extend(self.watch.as_mut().map(Watch::run));
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
