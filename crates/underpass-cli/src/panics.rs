//! A panic is reported as every other failure is: in one line.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::Display;

use crate::report;

/// From here on. Who sets `RUST_BACKTRACE` gets a backtrace behind the line.
pub(crate) fn report_in_one_line() {
    std::panic::set_hook(Box::new(|info| {
        let place = info
            .location()
            .map_or_else(String::new, |at| format!(" at {at}"));
        // A server's connections are tasks, and a panic ends no more than one of them.
        let in_task = tokio::task::try_id().is_some();
        report::notice(line(place, message(info.payload()), in_task));
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            report::notice(backtrace);
        }
    }));
}

fn line(place: impl Display, message: &str, in_task: bool) -> String {
    let message = message.replace('\n', " ");
    let end = if in_task {
        "it ends one connection, and the others go on; please report it"
    } else {
        "please report it"
    };
    format!("internal error{place}: {message}: this is a bug: {end}")
}

/// What `panic!` was given.
fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_one_line_whatever_it_says() {
        let payload = std::panic::catch_unwind(|| panic!("{} and\nmore", "this")).unwrap_err();
        let said = line(" at a.rs:1:2", message(&*payload), true);
        assert!(
            said.starts_with("internal error at a.rs:1:2: this and more: "),
            "{said}"
        );
        assert!(
            said.contains("one connection") && !said.contains('\n'),
            "{said}"
        );
        assert!(!line("", message(&5), false).contains("connection"));
    }
}
