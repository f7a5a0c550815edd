//! A program whose standard output and standard error are a terminal.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, waitpid};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

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
    pub(crate) fn of(command: Command, columns: u16) -> Self {
        Self::with(command, columns, false)
    }

    /// As [`of`](Self::of), and standard input is the terminal, too.
    pub(crate) fn with_keys(command: Command, columns: u16) -> Self {
        Self::with(command, columns, true)
    }

    fn with(mut command: Command, columns: u16, has_keys: bool) -> Self {
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
        // As a shell does, which can let it go on: otherwise the kernel would ignore SIGTSTP.
        command.process_group(0);
        if has_keys {
            command.stdin(
                OpenOptions::new()
                    .read(true)
                    .write(true)
                    .open(&path)
                    .unwrap(),
            );
        }
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

    pub(crate) fn press(&mut self, keys: &str) {
        std::io::Write::write_all(&mut self.screen, keys.as_bytes()).unwrap();
    }

    /// Whether the terminal shows what is typed, and gives it line by line: as it is outside of
    /// full-screen programs.
    pub(crate) fn is_ordinary(&self) -> bool {
        let modes = tcgetattr(&self.screen).unwrap().local_modes;
        modes.contains(LocalModes::ECHO | LocalModes::ICANON)
    }

    /// Makes it [ordinary](Self::is_ordinary).
    pub(crate) fn make_ordinary(&self) {
        let mut modes = tcgetattr(&self.screen).unwrap();
        modes.local_modes |= LocalModes::ECHO | LocalModes::ICANON;
        tcsetattr(&self.screen, OptionalActions::Now, &modes).unwrap();
    }

    /// Waits until the program is stopped.
    pub(crate) fn await_stop(&self) {
        let pid = Pid::from_child(&self.child);
        let (_, status) = waitpid(Some(pid), WaitOptions::UNTRACED).unwrap().unwrap();
        assert!(status.stopped(), "{status:?}");
    }

    /// Waits until what has come and was not returned contains `text`, and returns all of it.
    #[track_caller]
    pub(crate) fn until(&mut self, text: &str) -> String {
        while !self.unread.contains(text) {
            let mut readable = [PollFd::new(&self.screen, PollFlags::IN)];
            assert_ne!(poll(&mut readable, Some(&PATIENCE)), Ok(0), "no {text:?}");
            let mut bytes = [0; 4096];
            let count = self.screen.read(&mut bytes).expect(text);
            self.unread
                .push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        std::mem::take(&mut self.unread)
    }

    /// The exit code. What comes meanwhile is kept for [`until`](Self::until).
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        let process = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty()).unwrap();
        let began = Instant::now();
        loop {
            // It may draw for ever.
            assert!(began.elapsed().as_secs() < 60, "it does not end");
            let mut ready = [
                PollFd::new(&process, PollFlags::IN),
                PollFd::new(&self.screen, PollFlags::IN),
            ];
            assert_ne!(poll(&mut ready, Some(&PATIENCE)), Ok(0), "it does not end");
            let (is_over, has_more) = (
                !ready[0].revents().is_empty(),
                ready[1].revents().contains(PollFlags::IN),
            );
            if has_more {
                self.seen();
            } else if is_over {
                return self.child.wait().unwrap().code();
            }
        }
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
