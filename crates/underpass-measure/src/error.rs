//! Why a measurement ended without a report.

use std::fmt::{self, Display};

/// Why a measurement ended without a report: one line for the user.
#[derive(Debug)]
#[non_exhaustive]
pub struct Error {
    line: String,
    cancelled: bool,
}

impl Error {
    pub(crate) fn new(line: impl Into<String>) -> Self {
        Self {
            line: line.into(),
            cancelled: false,
        }
    }

    pub(crate) fn cancelled() -> Self {
        Self {
            line: "ended before everything was measured; everything it had made is removed"
                .to_owned(),
            cancelled: true,
        }
    }

    /// Whether [`Watch::cancelled`](crate::Watch::cancelled) ended the measurement.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

impl std::error::Error for Error {}

pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Adds to an error what was being done when it occurred.
pub(crate) trait Context<T> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Display> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::new(format!("{}: {error}", what())))
    }
}
