//! Lines on standard error. Names in them cannot steer a terminal.

use std::io::Write;

use underpass::Printable;

/// A line of information on standard error. Names in it cannot steer a terminal.
pub(crate) fn notice(line: impl std::fmt::Display) {
    let line = line.to_string();
    // A closed standard error leaves nobody to tell.
    let _ = writeln!(std::io::stderr(), "underpass: {}", Printable(&line));
}

/// Lines on standard error that were made elsewhere, with names in them.
pub(crate) fn lines(text: &str) {
    for line in text.lines() {
        let _ = writeln!(std::io::stderr(), "{}", Printable(line));
    }
}
