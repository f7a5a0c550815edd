//! The lab's error: one sentence for the user.

use std::fmt;

/// What went wrong, as the one line that is printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Error(String);

pub(crate) type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// Adds what was being done to an error that only says what the kernel returned.
pub(crate) trait Context<T> {
    /// `doing` is the beginning of the sentence, such as "cannot open /tmp/x".
    fn context(self, doing: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for std::result::Result<T, E> {
    fn context(self, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|cause| Error(format!("{}: {cause}", doing())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_puts_the_deed_before_the_cause() {
        let failed: std::result::Result<(), &str> = Err("no such file");
        let error = failed.context(|| "cannot open x".into());
        assert_eq!(error, Err(Error::new("cannot open x: no such file")));
    }
}
