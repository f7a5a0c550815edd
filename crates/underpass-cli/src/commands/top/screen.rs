//! The live screen: a terminal whose lines are drawn again and again, and its keys. However the
//! program ends, short of SIGKILL, the terminal is as it was before.

use std::io::{self, IsTerminal, Read, Write};
use std::panic;
use std::sync::Mutex;

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};

/// Switches to the terminal's other screen, and hides the cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
/// The way back.
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// The size where the terminal does not tell it.
const SIZE: (usize, usize) = (80, 24);

/// What has to be restored, while there is a screen.
static OPEN: Mutex<Option<Before>> = Mutex::new(None);

struct Before {
    /// The settings of standard input, if that is a terminal.
    modes: Option<Termios>,
}

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
        let modes = tcgetattr(io::stdin()).ok();
        let has_keys = modes.is_some();
        if let Some(before) = &modes {
            set_modes(before)?;
        }
        *lock() = Some(Before { modes });
        restore_at_panic();
        write(&io::stdout(), ENTER)?;
        Ok(Some(Self {
            input: io::stdin(),
            output: io::stdout(),
            has_keys,
        }))
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

    /// Draws the lines, which fit the size.
    pub(super) fn draw(&self, lines: &[String]) -> io::Result<()> {
        let mut frame = "\x1b[H".to_owned();
        frame.push_str(&lines.join("\x1b[K\r\n"));
        frame.push_str("\x1b[K\x1b[J");
        write(&self.output, &frame)
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

/// Keys come one by one, and are not shown. Ctrl-C is a signal as before; Ctrl-Z is not, since a
/// stopped program cannot restore the terminal.
fn set_modes(before: &Termios) -> io::Result<()> {
    let mut modes = before.clone();
    modes
        .local_modes
        .remove(LocalModes::ICANON | LocalModes::ECHO);
    modes.special_codes[SpecialCodeIndex::VMIN] = 1;
    modes.special_codes[SpecialCodeIndex::VTIME] = 0;
    modes.special_codes[SpecialCodeIndex::VSUSP] = 0;
    tcsetattr(io::stdin(), OptionalActions::Now, &modes)?;
    Ok(())
}

fn restore() {
    let Some(before) = lock().take() else { return };
    // If the terminal is gone, there is nothing to restore.
    let _ = write(&io::stdout(), LEAVE);
    if let Some(modes) = before.modes {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &modes);
    }
}

/// A panic is reported on the screen that stays.
fn restore_at_panic() {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        restore();
        report(info);
    }));
}

fn lock() -> std::sync::MutexGuard<'static, Option<Before>> {
    OPEN.lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn write(output: &io::Stdout, text: &str) -> io::Result<()> {
    let mut output = output.lock();
    output.write_all(text.as_bytes())?;
    output.flush()
}
