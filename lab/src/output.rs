//! Standard output that may be closed early, as by `head`.

use std::io::{ErrorKind, Write};

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
