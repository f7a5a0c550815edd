//! `underpass`: moves files, pipes and sockets without the CPU copying the bytes, and prints a
//! receipt.
//!
//! `args` reads the command line, `commands` runs a command, and `exit` lists the exit codes. Below
//! them, `server` has what servers share, `io` has files and sockets, and `values` has what
//! arguments parse into.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::process::ExitCode;

use crate::args::{Args, NotParsed};
use crate::commands::complete;
use crate::io::StandardStream;

mod args;
mod commands;
mod exit;
mod interrupt;
mod io;
mod report;
mod server;
mod sys;
mod usage;
mod values;

#[cfg(panic = "abort")]
compile_error!("a panic that aborts ends all connections of a server, and leaves temporary files");

fn main() -> ExitCode {
    report::report_panics();
    let typed: Vec<_> = std::env::args_os().collect();
    if let Some(words) = complete::request(&typed) {
        return complete::answer(words)
            .map_or_else(|failure| failure.report(), |()| ExitCode::SUCCESS);
    }
    let args = match parse(&typed) {
        Ok(args) => args,
        Err(said) => return said,
    };
    match interrupt::survive_file_limits().and_then(|()| commands::run(&args.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Reads the command line. If it asks for no command, prints the help, the version or the error,
/// and returns the exit code.
fn parse(typed: &[OsString]) -> Result<Args, ExitCode> {
    let error = match Args::read(typed) {
        Ok(args) => return Ok(args),
        Err(NotParsed::Config(failure)) => return Err(failure.report()),
        Err(NotParsed::Typed(error)) => error,
    };
    let code = ExitCode::from(error.exit_code() as u8);
    if error.use_stderr() {
        let changed = usage::text(&error);
        let is_changed = changed.is_some();
        let text = changed.unwrap_or_else(|| error.render().to_string());
        // clap's error repeats what was typed, including its control characters.
        if is_changed || text.contains(|c: char| c.is_control() && c != '\n') {
            report::lines(&text);
        } else {
            let _ = error.print();
        }
        return Err(code);
    }
    let text = error.render().ansi().to_string();
    let plain = error.render().to_string();
    let styled = std::io::stdout().is_terminal();
    let text = if styled { text } else { plain };
    match StandardStream::Output.print(text.as_bytes()) {
        Ok(()) => Err(code),
        Err(failure) => Err(failure.report()),
    }
}
