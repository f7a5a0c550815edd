//! Messages on standard error: notices, and panics. Names in them cannot control a terminal.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use underpass::Printable;

/// Prints a line to standard error. Control characters in it are escaped.
pub(crate) fn notice(line: impl Display) {
    let line = without_error_numbers(&line.to_string());
    print(&format!("underpass: {}", Printable(&line)));
}

/// Prints lines whose text is complete. Control characters in them are escaped.
pub(crate) fn lines(text: &str) {
    for line in text.lines() {
        print(&Printable(line).to_string());
    }
}

/// Writes the whole line with one system call, so that another program that writes to the same
/// place cannot get in between. A line of progress is removed first; its next drawing follows. A
/// `^C` that the terminal shows stays on a line of its own.
fn print(line: &str) {
    let after_ctrl_c = CTRL_C.swap(false, Relaxed);
    let before = if PROGRESS.load(Relaxed) {
        REMOVE
    } else if after_ctrl_c && std::io::stderr().is_terminal() {
        "\n"
    } else {
        ""
    };
    // If standard error is closed, the line is lost.
    let _ = std::io::stderr().write_all(format!("{before}{line}\n").as_bytes());
}

/// Set by SIGINT: the terminal may show `^C` where the cursor is.
pub(crate) static CTRL_C: AtomicBool = AtomicBool::new(false);

/// Whether the terminal's last line shows progress.
static PROGRESS: AtomicBool = AtomicBool::new(false);

/// Removes the line that the cursor is in.
const REMOVE: &str = "\r\x1b[K";

/// Notes that a line of progress is about to be shown, or removes it.
pub(crate) fn set_progress(shown: bool) {
    if PROGRESS.swap(shown, Relaxed) && !shown {
        // If the terminal is gone, so is the progress.
        let _ = std::io::stderr().write_all(REMOVE.as_bytes());
    }
}

/// Leaves out the number of an error, as in `No such file or directory (os error 2)`: the words
/// say it.
pub(crate) fn without_error_numbers(line: &str) -> String {
    const BEGIN: &str = " (os error ";
    let mut parts = line.split(BEGIN);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once(')') {
            Some((number, rest)) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.push_str(rest);
            }
            _ => text.extend([BEGIN, part]),
        }
    }
    text
}

/// Reports each panic in one line, like every other failure. `RUST_BACKTRACE` adds a backtrace.
pub(crate) fn report_panics() {
    std::panic::set_hook(Box::new(|info| {
        let location = info
            .location()
            .map_or_else(String::new, |at| format!(" at {at}"));
        // Each connection of a server is a task, and a panic ends only its task.
        let in_task = tokio::task::try_id().is_some();
        notice(panic_line(location, panic_message(info.payload()), in_task));
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            notice(backtrace);
        }
    }));
}

fn panic_line(location: impl Display, message: &str, in_task: bool) -> String {
    let message = message.replace('\n', " ");
    let end = if in_task {
        "it ends one connection, and the others go on; please report it"
    } else {
        "please report it"
    };
    format!("internal error{location}: {message}: this is a bug: {end}")
}

/// The message of a panic.
fn panic_message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_no_numbers() {
        for (line, want) in [
            ("a: No such file (os error 2)", "a: No such file"),
            (
                "a: one (os error 2); b: two (os error 111), after 5",
                "a: one; b: two, after 5",
            ),
            ("a (os error x)", "a (os error x)"),
            ("a (os error 2", "a (os error 2"),
            ("plain", "plain"),
        ] {
            assert_eq!(without_error_numbers(line), want);
        }
    }

    #[test]
    fn a_panic_is_one_line_whatever_it_says() {
        let payload = std::panic::catch_unwind(|| panic!("{} and\nmore", "this")).unwrap_err();
        let said = panic_line(" at a.rs:1:2", panic_message(&*payload), true);
        assert!(
            said.starts_with("internal error at a.rs:1:2: this and more: "),
            "{said}"
        );
        assert!(
            said.contains("one connection") && !said.contains('\n'),
            "{said}"
        );
        assert!(!panic_line("", panic_message(&5), false).contains("connection"));
    }
}
