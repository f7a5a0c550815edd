//! SIGHUP: opens output files again, and reads configuration files again.

use std::io;

use tokio::net::unix::pipe;
use underpass::Cancel;

use super::systemd;
use crate::interrupt::{Hangups, has_terminal};
use crate::report;

/// Opens or reads one file again. Returns a line that says so, or the error. May block on a disk.
pub(crate) type ReloadAction = Box<dyn FnMut() -> Result<String, String> + Send>;

/// The reload actions, and the signals that start them.
pub(crate) struct Reloader {
    pub(crate) hangups: Hangups,
    pub(crate) renewals: Vec<ReloadAction>,
}

impl Reloader {
    /// Runs the actions at every signal, until it is dropped.
    pub(super) async fn run(self, quiet: bool, cancel: Cancel) -> io::Result<()> {
        let Self {
            hangups,
            mut renewals,
        } = self;
        let signals = pipe::Receiver::from_owned_fd(hangups.pipe.try_clone()?)?;
        loop {
            signals.readable().await?;
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
            let renewing = tokio::task::spawn_blocking(move || {
                renew(&mut renewals, quiet);
                renewals
            });
            renewals = renewing.await.map_err(io::Error::other)?;
            systemd::ready();
        }
    }
}

fn renew(renewals: &mut [ReloadAction], quiet: bool) {
    if renewals.is_empty() && !quiet {
        report::notice("SIGHUP: there is no file to open or to read again");
    }
    for renewal in renewals {
        match renewal() {
            Ok(done) if quiet => drop(done),
            Ok(line) | Err(line) => report::notice(line),
        }
    }
}
