//! Progress bars on standard error, if that is a terminal.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use underpass::Progress;

const SIZED: &str =
    "[{bar:30}] {percent:>3}% {bytes} of {total_bytes}, {decimal_bytes_per_sec}, {eta} left";
const STEPS: &str = "[{bar:30}] {percent:>3}% {msg}";
const UNSIZED: &str = "{bytes}, {decimal_bytes_per_sec}, {elapsed} {msg}";

/// Shows how far a transfer is; nothing unless standard error is a terminal.
pub(crate) struct Bar {
    /// Created at the first progress, which says whether the total is known.
    bar: Option<ProgressBar>,
    shown: bool,
}

impl Bar {
    pub(crate) fn new(quiet: bool) -> Self {
        Self {
            bar: None,
            shown: !quiet && std::io::stderr().is_terminal(),
        }
    }

    pub(crate) fn show(&mut self, progress: Progress) {
        if self.shown {
            let bar = self.bar.get_or_insert_with(|| bar(progress.total));
            bar.set_position(progress.bytes);
        }
    }

    /// As [`show`](Self::show), with a count of what the bytes belong to.
    pub(crate) fn show_counted(&mut self, progress: Progress, count: impl Fn() -> String) {
        if self.shown {
            self.show(progress);
            if let Some(bar) = &self.bar {
                bar.set_message(count());
            }
        }
    }

    /// Removes the bar. The receipt follows.
    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Shows the current step of several; nothing unless standard error is a terminal.
pub(crate) struct Steps {
    bar: ProgressBar,
}

impl Steps {
    pub(crate) fn new(quiet: bool) -> Self {
        let target = if quiet {
            ProgressDrawTarget::hidden()
        } else {
            // Hidden unless standard error is a terminal.
            ProgressDrawTarget::stderr_with_hz(10)
        };
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(style(STEPS));
        Self { bar }
    }

    pub(crate) fn show(&self, done: u64, total: u64, next: &str) {
        self.bar.set_length(total);
        self.bar.set_position(done);
        self.bar.set_message(next.to_owned());
    }

    /// Removes the line.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

fn bar(total: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(10));
    let template = if total.is_some() { SIZED } else { UNSIZED };
    bar.set_style(style(template));
    bar
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

/// What an archive has: `3 files, 2 directories and links`.
pub(super) fn entries(files: u64, others: u64) -> String {
    format!("{files} files, {others} directories and links")
}
