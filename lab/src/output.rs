//! The output of results: standard output, which may be closed early, as by `head`, and a file for
//! the raw samples.

use std::io::{ErrorKind, Write};
use std::path::Path;

use serde_json::Value;

use crate::error::{Context, Result};

pub(crate) fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context(|| "cannot write the result".into()),
    }
}

/// Writes the raw samples to `file`, if one was given.
pub(crate) fn save(file: Option<&Path>, samples: impl FnOnce() -> Value) -> Result<()> {
    let Some(file) = file else {
        return Ok(());
    };
    std::fs::write(file, format!("{}\n", samples()))
        .context(|| format!("cannot write {}", file.display()))
}
