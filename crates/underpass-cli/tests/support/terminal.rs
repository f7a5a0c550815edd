//! A program whose standard output and standard error are a terminal.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::process::{Child, Command};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::underpass;

/// No line in a passing test takes this long.
const PATIENCE: Timespec = Timespec {
    tv_sec: 60,
    tv_nsec: 0,
};

/// It is killed if the test drops this.
pub(crate) struct Terminal {
    child: Child,
    screen: File,
    /// What was read and not yet returned.
    unread: String,
}

impl Terminal {
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::of(underpass(args), 80)
    }

    /// Starts a command in a terminal of so many columns.
    pub(crate) fn of(mut command: Command, columns: u16) -> Self {
        let screen =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&screen).unwrap();
        unlockpt(&screen).unwrap();
        let path = ptsname(&screen, Vec::new()).unwrap().into_string().unwrap();
        let open = || OpenOptions::new().write(true).open(&path).unwrap();
        let size = Winsize {
            ws_row: 24,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&screen, size).unwrap();
        command.env("TERM", "xterm");
        let child = command.stdout(open()).stderr(open()).spawn().unwrap();
        Self {
            child,
            screen: screen.into(),
            unread: String::new(),
        }
    }

    /// The next line that contains `word`. The lines before it are dropped.
    #[track_caller]
    pub(crate) fn line_with(&mut self, word: &str) -> String {
        loop {
            while let Some((line, rest)) = self.unread.split_once('\n') {
                let line = line.trim_end().to_owned();
                self.unread = rest.to_owned();
                if line.contains(word) {
                    return line;
                }
            }
            let mut readable = [PollFd::new(&self.screen, PollFlags::IN)];
            assert_ne!(poll(&mut readable, Some(&PATIENCE)), Ok(0), "no {word:?}");
            let mut bytes = [0; 4096];
            // EIO once the program has ended.
            let count = self.screen.read(&mut bytes).expect(word);
            self.unread
                .push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        }
    }

    /// What has come so far.
    pub(crate) fn seen(&mut self) -> &str {
        let mut readable = [PollFd::new(&self.screen, PollFlags::IN)];
        if poll(&mut readable, Some(&Timespec::default())).is_ok_and(|ready| ready > 0) {
            let mut bytes = [0; 4096];
            if let Ok(count) = self.screen.read(&mut bytes) {
                self.unread
                    .push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        }
        &self.unread
    }

    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// What comes until the program has ended.
    pub(crate) fn rest(mut self) -> String {
        let mut bytes = [0; 4096];
        loop {
            let mut readable = [PollFd::new(&self.screen, PollFlags::IN)];
            assert_ne!(
                poll(&mut readable, Some(&PATIENCE)),
                Ok(0),
                "it does not end"
            );
            match self.screen.read(&mut bytes) {
                Ok(count) if count > 0 => {
                    self.unread
                        .push_str(&String::from_utf8_lossy(&bytes[..count]));
                }
                _ => return std::mem::take(&mut self.unread),
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
