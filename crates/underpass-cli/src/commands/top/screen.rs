//! The live screen: a terminal whose lines are drawn again and again, and its keys. However the
//! program stops or ends, short of SIGSTOP and SIGKILL, the terminal is as it was before.

use std::io::{self, IsTerminal, Read, Write};
use std::panic;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};

use crate::sys;

/// Switches to the terminal's other screen, and hides the cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
/// The way back.
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// The size where the terminal does not tell it.
const SIZE: (usize, usize) = (80, 24);

/// The settings of standard input before there was a screen, if that is a terminal.
static BEFORE: OnceLock<Option<Termios>> = OnceLock::new();

/// Whether the terminal shows the screen now. Whoever draws or restores holds it meanwhile.
static IS_SHOWN: Mutex<bool> = Mutex::new(false);

/// The screen. Dropping it restores the terminal.
pub(super) struct Screen {
    input: io::Stdin,
    output: io::Stdout,
    has_keys: bool,
}

/// A key that means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Quit,
    Sort,
    Pause,
}

impl Screen {
    /// Opens it, if standard output is a terminal that can be drawn on.
    pub(super) fn open() -> io::Result<Option<Self>> {
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if !io::stdout().is_terminal() || is_dumb {
            return Ok(None);
        }
        let before = BEFORE.get_or_init(|| tcgetattr(io::stdin()).ok());
        restore_at_panic();
        sys::before_sudden_exit(restore_at_once);
        let screen = Self {
            input: io::stdin(),
            output: io::stdout(),
            has_keys: before.is_some(),
        };
        screen.show()?;
        Ok(Some(screen))
    }

    /// Shows it, also if another program has had the terminal meanwhile.
    pub(super) fn show(&self) -> io::Result<()> {
        let mut is_shown = lock();
        *is_shown = true;
        if let Some(Some(before)) = BEFORE.get() {
            set_modes(before)?;
        }
        write(&self.output, ENTER)
    }

    /// Whether keys can be read.
    pub(super) fn has_keys(&self) -> bool {
        self.has_keys
    }

    /// Columns and rows. Asked each time, since the window may have another size now.
    pub(super) fn size(&self) -> (usize, usize) {
        let known = tcgetwinsize(&self.output).ok();
        let known = known.map(|size| (usize::from(size.ws_col), usize::from(size.ws_row)));
        known
            .filter(|(columns, rows)| *columns > 0 && *rows > 0)
            .unwrap_or(SIZE)
    }

    /// Draws the lines, which fit the size; nothing if the screen is not shown.
    pub(super) fn draw(&self, lines: &[String]) -> io::Result<()> {
        let mut frame = "\x1b[H".to_owned();
        frame.push_str(&lines.join("\x1b[K\r\n"));
        frame.push_str("\x1b[K\x1b[J");
        let is_shown = lock();
        if *is_shown {
            write(&self.output, &frame)?;
        }
        Ok(())
    }

    /// Reads the keys that were pressed. Call it when standard input is readable.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` if the terminal is gone.
    pub(super) fn keys(&self) -> io::Result<Vec<Key>> {
        let mut bytes = [0; 64];
        match self.input.lock().read(&mut bytes)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => Ok(bytes[..count].iter().copied().filter_map(key).collect()),
        }
    }
}

fn key(byte: u8) -> Option<Key> {
    match byte {
        b'q' | b'Q' => Some(Key::Quit),
        b's' | b'S' => Some(Key::Sort),
        b'p' | b'P' | b' ' => Some(Key::Pause),
        _ => None,
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Keys come one by one, and are not shown. Ctrl-C and Ctrl-Z are signals as before.
fn set_modes(before: &Termios) -> io::Result<()> {
    let mut modes = before.clone();
    modes
        .local_modes
        .remove(LocalModes::ICANON | LocalModes::ECHO);
    modes.special_codes[SpecialCodeIndex::VMIN] = 1;
    modes.special_codes[SpecialCodeIndex::VTIME] = 0;
    tcsetattr(io::stdin(), OptionalActions::Now, &modes)?;
    Ok(())
}

/// Gives the terminal back, if it shows the screen.
pub(super) fn restore() {
    let mut is_shown = lock();
    if std::mem::take(&mut *is_shown) {
        restore_modes();
        // If the terminal is gone, there is nothing to restore.
        let _ = write(&io::stdout(), LEAVE);
    }
}

/// In a signal handler: without a lock, and without waiting for a terminal that takes nothing.
fn restore_at_once() {
    restore_modes();
    let output = io::stdout();
    let mut writable = [PollFd::new(&output, PollFlags::OUT)];
    if poll(&mut writable, Some(&Timespec::default())) == Ok(1) {
        let _ = rustix::io::write(&output, LEAVE.as_bytes());
    }
}

fn restore_modes() {
    if let Some(Some(before)) = BEFORE.get() {
        // If the terminal is gone, there is nothing to restore.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
    }
}

/// A panic, also of another thread, is reported on the screen that stays.
fn restore_at_panic() {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        restore();
        report(info);
    }));
}

fn lock() -> MutexGuard<'static, bool> {
    IS_SHOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write(output: &io::Stdout, text: &str) -> io::Result<()> {
    let mut output = output.lock();
    output.write_all(text.as_bytes())?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};
    use std::process::Command;
    use std::thread;

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    use super::*;

    /// Runs on a terminal of its own, by the test below.
    #[test]
    #[ignore = "part of another test"]
    fn panics() {
        crate::report::report_panics();
        let screen = Screen::open().unwrap().unwrap();
        screen.draw(&["drawn".to_owned()]).unwrap();
        let other = thread::spawn(|| panic!("in another thread"));
        assert!(other.join().is_err());
        screen.draw(&["too late".to_owned()]).unwrap();
    }

    #[test]
    fn a_panic_restores_the_terminal_before_it_is_reported() {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let path = ptsname(&terminal, Vec::new())
            .unwrap()
            .into_string()
            .unwrap();
        let open = || {
            let mut options = OpenOptions::new();
            options.read(true).write(true).open(&path).unwrap()
        };
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "--nocapture"]);
        command.arg("commands::top::screen::tests::panics");
        command.env("TERM", "xterm");
        let streams = command.stdin(open()).stdout(open()).stderr(open());
        let mut child = streams.spawn().unwrap();
        drop(command);
        assert!(child.wait().unwrap().success());
        let modes = tcgetattr(&terminal).unwrap().local_modes;
        assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO));
        let mut shown = Vec::new();
        // Its end is an error (EIO), since nobody has the other side open.
        let _ = File::from(terminal).read_to_end(&mut shown);
        let shown = String::from_utf8(shown).unwrap();
        let (before, after) = shown.split_once(LEAVE).expect(&shown);
        assert!(
            before.contains(ENTER) && before.contains("drawn"),
            "{shown}"
        );
        assert!(after.contains("in another thread"), "{shown}");
        assert!(
            !after.contains("too late") && !after.contains(ENTER),
            "{shown}"
        );
    }
}
