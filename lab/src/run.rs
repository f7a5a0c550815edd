//! Runs one program to its end, and returns what it cost.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::MemfdFlags;

use crate::error::{Context, Error, Result};
use crate::sys::{self, Usage};

/// A program and its arguments.
#[derive(Debug, Clone)]
pub(crate) struct Invocation {
    pub(crate) program: OsString,
    pub(crate) args: Vec<OsString>,
    dir: Option<PathBuf>,
}

impl Invocation {
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            dir: None,
        }
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    pub(crate) fn args<A: AsRef<OsStr>>(self, args: impl IntoIterator<Item = A>) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    /// The directory in which it runs; without this, the lab's own.
    pub(crate) fn within(mut self, dir: &Path) -> Self {
        self.dir = Some(dir.to_owned());
        self
    }
}

impl fmt::Display for Invocation {
    /// The command as it would be typed, with quotes where they are needed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quoted(&self.program))?;
        self.args
            .iter()
            .try_for_each(|arg| write!(f, " {}", quoted(arg)))
    }
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@+,%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A program that has ended with exit code 0.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) stdout: String,
    /// Time from before the start of the process to its end: what a user at a terminal waits.
    pub(crate) wall: Duration,
    pub(crate) usage: Usage,
}

/// Runs a program to its end. A non-zero exit code is an error, which quotes the last line of
/// standard error.
pub(crate) fn run(invocation: &Invocation) -> Result<Finished> {
    let name = invocation.program.to_string_lossy().into_owned();
    // Output goes to files, not pipes. So nothing has to be read while the program runs, and
    // nothing of ours competes with it. The files are in memory, so a program that prints a receipt
    // does not pay for a disk's file system.
    let (mut stdout, mut stderr) = (scratch()?, scratch()?);
    let started = Instant::now();
    let mut command = Command::new(&invocation.program);
    if let Some(dir) = &invocation.dir {
        command.current_dir(dir);
    }
    let child = command
        .args(&invocation.args)
        .stdin(Stdio::null())
        .stdout(share(&stdout)?)
        .stderr(share(&stderr)?)
        .spawn()
        .context(|| format!("cannot start {name}"))?;
    let (status, usage) = sys::wait4(child).context(|| format!("cannot wait for {name}"))?;
    let wall = started.elapsed();
    if sys::interrupted() {
        return Err(Error::new("interrupted"));
    }
    if !status.success() {
        let last = last_line(&mut stderr)?;
        return Err(Error::new(format!("{name} failed ({status}): {last}")));
    }
    Ok(Finished {
        stdout: contents(&mut stdout)?,
        wall,
        usage,
    })
}

/// A file in memory.
pub(crate) fn scratch() -> Result<File> {
    rustix::fs::memfd_create("output", MemfdFlags::CLOEXEC)
        .map(File::from)
        .map_err(std::io::Error::from)
        .context(|| "cannot make a file in memory".into())
}

pub(crate) fn share(file: &File) -> Result<Stdio> {
    let copy = file
        .try_clone()
        .context(|| "cannot share a temporary file".into())?;
    Ok(copy.into())
}

/// The last line that a program printed, for an error message.
pub(crate) fn last_line(stderr: &mut File) -> Result<String> {
    let said = contents(stderr)?;
    let last = said.lines().rev().find(|line| !line.trim().is_empty());
    Ok(last.unwrap_or("it said nothing").to_owned())
}

/// Everything that a program printed.
pub(crate) fn contents(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind()
        .and_then(|()| file.read_to_end(&mut bytes))
        .context(|| "cannot read what a program printed".into())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Result<Finished> {
        run(&Invocation::new("sh").arg("-c").arg(script))
    }

    #[test]
    fn returns_what_was_printed_and_used() {
        let finished = sh("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo done").unwrap();
        assert_eq!(finished.stdout, "done\n");
        assert!(finished.usage.user_s + finished.usage.system_s > 0.0);
        assert!(finished.usage.max_rss_kib > 100);
    }

    #[test]
    fn a_failure_quotes_the_last_line_said() {
        let message = sh("echo first >&2; echo second >&2; exit 3")
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("exit status: 3") && message.ends_with("second"),
            "{message}"
        );
    }

    #[test]
    fn an_absent_program_is_an_error() {
        let message = run(&Invocation::new("/nonexistent/program"))
            .unwrap_err()
            .to_string();
        assert!(
            message.starts_with("cannot start /nonexistent/program"),
            "{message}"
        );
    }
}
