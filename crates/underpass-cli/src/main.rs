//! `underpass`: files, pipes and sockets moved without the CPU copying the bytes, with a receipt.
//!
//! Raw arguments (`args`) become checked settings, a command (`commands`) runs, and its outcome becomes an exit code
//! (`exit`), the one place where those are listed.

use std::process::ExitCode;

mod args;
mod commands;
mod exit;
mod interrupt;
mod io;

mod panics;

mod report;
mod server;

mod sys;
mod values;

#[cfg(panic = "abort")]
compile_error!("a panic that aborts ends all connections of a server, and leaves temporary files");

fn main() -> ExitCode {
    panics::report_in_one_line();
    let args = match args::parse() {
        Ok(args) => args,
        Err(said) => return said,
    };
    match interrupt::survive_file_limits().and_then(|()| commands::run(&args.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
