//! What SIGHUP is to a server: files that it writes to are opened anew, and files that told it
//! something are read again.

use std::io;

use tokio::net::unix::pipe;
use underpass::Cancel;

use super::systemd;
use crate::interrupt::{Hangups, has_terminal};
use crate::report;

/// Opens or reads one file again; says which, or what went wrong. It may wait for a disk.
pub(crate) type ReloadAction = Box<dyn FnMut() -> Result<String, String> + Send>;

/// What there is to be renewed, and when.
pub(crate) struct Reloader {
    pub(crate) hangups: Hangups,
    pub(crate) renewals: Vec<ReloadAction>,
}

impl Reloader {
    /// Renews at every signal, for as long as it is polled.
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
                // Nobody wants it to go on behind a window that was closed.
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
        report::notice("SIGHUP: there is no file to open anew or to read again");
    }
    for renewal in renewals {
        match renewal() {
            Ok(done) if quiet => drop(done),
            Ok(line) | Err(line) => report::notice(line),
        }
    }
}
