//! A progress bar on standard error, where that is a terminal.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use underpass::Progress;

/// Shows how far a transfer is; hidden unless standard error is a terminal.
pub(crate) struct Bar {
    bar: ProgressBar,
    sized: bool,
}

impl Bar {
    pub(crate) fn new(quiet: bool) -> Self {
        let shown = !quiet && std::io::stderr().is_terminal();
        let target = if shown {
            ProgressDrawTarget::stderr_with_hz(10)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(style("{bytes} {elapsed_precise} {binary_bytes_per_sec}"));
        Self { bar, sized: false }
    }

    pub(crate) fn show(&mut self, progress: Progress) {
        if let Some(total) = progress.total
            && !self.sized
        {
            self.sized = true;
            self.bar.set_length(total);
            self.bar.set_style(style(
                "[{bar:30}] {percent:>3}% {bytes} of {total_bytes}, {binary_bytes_per_sec}, {eta} left",
            ));
        }
        self.bar.set_position(progress.bytes);
    }

    /// Wipes the bar away: the receipt says the rest.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}
