//! Progress on standard error, if that is a terminal: one line that always fits its width.

use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use underpass::{Progress, units};

use crate::report;
use crate::values::Address;

mod line;

use line::Shown;

/// The line is drawn at most this often.
const EVERY: Duration = Duration::from_millis(100);

/// What ends sooner than this has no progress to show.
const FIRST: Duration = Duration::from_millis(200);

/// Time over which a rate is averaged.
const AVERAGED: Duration = Duration::from_secs(3);

/// The width where the terminal does not tell it.
const WIDTH: usize = 80;

/// Shows how far a transfer is.
pub(crate) struct Bar {
    name: String,
    shown: bool,
    begun: Instant,
    /// When the line was drawn last, and the bytes that there were then.
    drawn: Option<(Instant, u64)>,
    rate: Option<f64>,
}

impl Bar {
    /// For a transfer from the first to the second of `names`. Nothing is shown with `quiet`, or if
    /// standard error is no terminal.
    pub(crate) fn new(quiet: bool, names: &(String, String)) -> Self {
        let (source, sink) = names;
        let name = if Address::has_scheme(source) {
            sink
        } else {
            source
        };
        Self {
            name: name.clone(),
            shown: !quiet && can_be_shown(),
            begun: Instant::now(),
            drawn: None,
            rate: None,
        }
    }

    /// Shows nothing if the data goes to a terminal: it would be drawn into the data.
    pub(crate) fn beside(mut self, sink: impl AsFd) -> Self {
        self.shown &= !rustix::termios::isatty(sink);
        self
    }

    pub(crate) fn show(&mut self, progress: Progress) {
        self.show_counted(progress, String::new);
    }

    /// As [`show`](Self::show), with a count of what the bytes belong to.
    pub(crate) fn show_counted(&mut self, progress: Progress, count: impl Fn() -> String) {
        if !self.shown || !self.is_due() {
            return;
        }
        let rate = self.averaged(progress.bytes);
        let shown = Shown {
            name: &self.name,
            count: &count(),
            bytes: Some(progress.bytes),
            share: progress.total.map(|total| (progress.bytes, total)),
            rate,
        };
        draw(&shown);
        self.drawn = Some((Instant::now(), progress.bytes));
    }

    fn is_due(&self) -> bool {
        match self.drawn {
            Some((at, _)) => at.elapsed() >= EVERY,
            None => self.begun.elapsed() >= FIRST,
        }
    }

    /// Bytes per second, those of the last seconds mostly.
    fn averaged(&mut self, bytes: u64) -> Option<f64> {
        let (at, before) = self.drawn.unwrap_or((self.begun, 0));
        let passed = at.elapsed().as_secs_f64();
        if passed == 0.0 {
            return self.rate;
        }
        let now = bytes.saturating_sub(before) as f64 / passed;
        let kept = (-passed / AVERAGED.as_secs_f64()).exp();
        let rate = self
            .rate
            .map_or(now, |rate| rate * kept + now * (1.0 - kept));
        self.rate = Some(rate);
        self.rate
    }

    /// Removes the line. The receipt follows.
    pub(crate) fn clear(&self) {
        if self.drawn.is_some() {
            report::set_progress(false);
        }
    }
}

/// Shows the current step of several; nothing unless standard error is a terminal.
pub(crate) struct Steps {
    shown: bool,
}

impl Steps {
    pub(crate) fn new(quiet: bool) -> Self {
        Self {
            shown: !quiet && can_be_shown(),
        }
    }

    pub(crate) fn show(&self, done: u64, total: u64, next: &str) {
        if self.shown {
            draw(&Shown {
                name: next,
                count: "",
                bytes: None,
                share: Some((done, total)),
                rate: None,
            });
        }
    }

    /// Removes the line.
    pub(crate) fn clear(&self) {
        if self.shown {
            report::set_progress(false);
        }
    }
}

/// Whether standard error is a terminal that can remove a line.
fn can_be_shown() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

fn draw(shown: &Shown<'_>) {
    // Asked each time, since the window may have another size now.
    let size = rustix::termios::tcgetwinsize(std::io::stderr()).ok();
    let width = size.map(|size| usize::from(size.ws_col));
    let width = width.filter(|width| *width > 0).unwrap_or(WIDTH);
    report::set_progress(true);
    let line = format!("\r{}\x1b[K", shown.line(width));
    // If the terminal is gone, so is the progress.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// A clause that says how many files and bytes the receiver had already; empty if none.
pub(super) fn already_there((files, bytes): (u64, u64)) -> String {
    match (files, bytes) {
        (_, 0) if files == 0 => String::new(),
        _ => format!(
            "; already there: {files} files, {} in all",
            underpass::units::size(bytes)
        ),
    }
}

/// What an archive has: `1,204 files, 37 directories and links`.
pub(super) fn entries(files: u64, others: u64) -> String {
    let others = match others {
        1 => "1 directory or link".to_owned(),
        others => format!("{} directories and links", units::grouped(others)),
    };
    format!("{}, {others}", units::count(files, "file"))
}

/// The same in fewer words: only the files, if there are any.
pub(super) fn files(files: u64, others: u64) -> String {
    match (files, others) {
        (0, 1) => "1 directory or link".to_owned(),
        (0, others) => format!("{} directories and links", units::grouped(others)),
        (files, _) => units::count(files, "file"),
    }
}
