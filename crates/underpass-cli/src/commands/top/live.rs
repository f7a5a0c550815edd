//! The live screen: reports as they come, and the keys.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use underpass::{Cancel, Printable};
use underpass_measure::top::{Activity, TopReport, Watcher};

use super::screen::{self, Key, Screen};
use super::wanted::Wanted;
use super::{finished, next_due, order, table};
use crate::args::{SortBy, TopArgs};
use crate::exit::Failure;
use crate::interrupt::{Interrupt, JobControl};
use crate::report;

/// What the screen shows.
struct View {
    sort: SortBy,
    is_paused: bool,
    report: Option<TopReport>,
    shown: u32,
}

/// Shows reports until `q`, a signal, or the last one. Returns the last one.
pub(super) fn run(
    args: &TopArgs,
    wanted: &Wanted,
    watcher: Watcher,
    interrupt: &Interrupt,
    screen: &Screen,
) -> Result<Option<TopReport>, Failure> {
    let job_control = JobControl::listen()?;
    let feed = Feed::start(watcher, args.interval, interrupt).map_err(Failure::failed)?;
    let mut view = View {
        sort: args.sort,
        is_paused: false,
        report: None,
        shown: 0,
    };
    view.draw(screen).map_err(Failure::failed)?;
    while !interrupt.cancel.is_cancelled() {
        let ready =
            wait(&feed, screen, &job_control, &interrupt.cancel).map_err(Failure::failed)?;
        if ready.keys && !view.obey(screen) {
            break;
        }
        if ready.job_control {
            stop_and_go_on(screen, &job_control).map_err(Failure::failed)?;
        }
        if ready.activity {
            let activity = feed.next()?;
            if !view.is_paused {
                view.report = Some(finished(wanted.select(activity), view.sort));
                view.shown += 1;
            }
        }
        view.draw(screen).map_err(Failure::failed)?;
        if args.count.is_some_and(|count| view.shown >= count) {
            break;
        }
    }
    Ok(view.report)
}

/// After Ctrl-Z the terminal is the shell's. When the process goes on, also after SIGSTOP, the
/// screen is shown anew.
fn stop_and_go_on(screen: &Screen, job_control: &JobControl) -> io::Result<()> {
    if job_control.is_to_stop() {
        screen::restore();
        JobControl::stop();
    }
    screen.show()
}

impl View {
    /// Does what the keys say. Returns whether to go on.
    fn obey(&mut self, screen: &Screen) -> bool {
        // Without its terminal there is nobody to show anything to.
        let Ok(keys) = screen.keys() else {
            return false;
        };
        for key in keys {
            match key {
                Key::Quit => return false,
                Key::Pause => self.is_paused = !self.is_paused,
                Key::Sort => self.sort = next(self.sort),
            }
        }
        if let Some(report) = &mut self.report {
            order(&mut report.processes, self.sort);
        }
        true
    }

    fn draw(&self, screen: &Screen) -> io::Result<()> {
        let (columns, rows) = screen.size();
        // A character in the last column may move the cursor to the next line.
        let (columns, rows) = (columns.saturating_sub(1), rows.saturating_sub(1));
        let mut below = self.notes(columns, rows / 3);
        below.push(table::fitted(&self.legend(screen), columns));
        let above = (rows + 1).saturating_sub(below.len());
        let mut lines = match &self.report {
            Some(report) => table::lines(report, self.sort, columns, above),
            None => vec![table::fitted("underpass top: counting …", columns)],
        };
        lines.resize(above, String::new());
        lines.append(&mut below);
        screen.draw(&lines)
    }

    /// What cannot be had here, where there is room for it.
    fn notes(&self, columns: usize, rows: usize) -> Vec<String> {
        let notes = self.report.iter().flat_map(|report| &report.notes);
        let mut lines: Vec<_> = notes
            .map(|note| report::without_error_numbers(note))
            .flat_map(|note| table::wrapped(&Printable(&note).to_string(), columns, 0))
            .collect();
        if lines.len() > rows {
            lines.truncate(rows.saturating_sub(1));
            if rows > 0 {
                lines.push(table::fitted("… --json has all notes", columns));
            }
        }
        lines
    }

    fn legend(&self, screen: &Screen) -> String {
        let keys = match (screen.has_keys(), self.is_paused) {
            (false, _) => "",
            (true, true) => "q ends · s sorts · PAUSED · p goes on · ",
            (true, false) => "q ends · s sorts · p pauses · ",
        };
        format!("{keys}* expected · † ended")
    }
}

/// The order that follows.
fn next(sort: SortBy) -> SortBy {
    let all = SortBy::value_variants();
    let at = all.iter().position(|known| *known == sort).unwrap_or(0);
    all[(at + 1) % all.len()]
}

/// A thread that waits for the intervals to pass, so that keys are answered meanwhile.
struct Feed {
    reports: Receiver<Result<Activity, underpass_measure::Error>>,
    /// Has a byte for each report.
    signal: io::PipeReader,
}

impl Feed {
    fn start(mut watcher: Watcher, interval: Duration, interrupt: &Interrupt) -> io::Result<Self> {
        let (sender, reports) = mpsc::channel();
        let (signal, waker) = io::pipe()?;
        let cancel = interrupt.cancel.clone();
        let mut due = Instant::now();
        thread::Builder::new()
            .name("watcher".to_owned())
            .spawn(move || {
                loop {
                    due = next_due(due, interval);
                    let activity = watcher.next(due, Some(&cancel));
                    let is_over = activity.is_err() || cancel.is_cancelled();
                    // The screen is closed if nobody receives.
                    if sender.send(activity).is_err()
                        || rustix::io::write(&waker, &[0]).is_err()
                        || is_over
                    {
                        return;
                    }
                }
            })?;
        Ok(Self { reports, signal })
    }

    /// The report that the signal stands for.
    fn next(&self) -> Result<Activity, Failure> {
        // It was readable: it has a byte, or there is no thread any more.
        let _ = rustix::io::read(&self.signal, &mut [0; 1]);
        let next = self.reports.recv();
        // It ends without a report only by a panic, which says what happened.
        let next = next.map_err(|_| Failure::failed("there are no more reports: see above"))?;
        next.map_err(Failure::failed)
    }
}

/// What there is to do.
struct Ready {
    keys: bool,
    activity: bool,
    job_control: bool,
}

/// How long the window's size is not looked at.
const REDRAW: rustix::event::Timespec = rustix::event::Timespec {
    tv_sec: 0,
    tv_nsec: 500_000_000,
};

fn wait(
    feed: &Feed,
    screen: &Screen,
    job_control: &JobControl,
    cancel: &Cancel,
) -> io::Result<Ready> {
    let stdin = io::stdin();
    let mut awaited: Vec<BorrowedFd<'_>> = vec![
        cancel.as_fd(),
        feed.signal.as_fd(),
        job_control.pipe.as_fd(),
    ];
    if screen.has_keys() {
        awaited.push(stdin.as_fd());
    }
    let mut fds: Vec<_> = awaited
        .into_iter()
        .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
        .collect();
    match poll(&mut fds, Some(&REDRAW)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => return Err(errno.into()),
    }
    let is_ready = |at: usize| {
        fds.get(at)
            .is_some_and(|fd: &PollFd<'_>| !fd.revents().is_empty())
    };
    Ok(Ready {
        keys: is_ready(3),
        activity: is_ready(1),
        job_control: is_ready(2),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It would draw the same report for ever.
    #[test]
    fn a_watcher_that_has_panicked_ends_the_screen() {
        let (sender, reports) = mpsc::channel();
        let (signal, waker) = io::pipe().unwrap();
        drop((sender, waker));
        assert!(Feed { reports, signal }.next().is_err());
    }
}
