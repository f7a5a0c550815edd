//! `underpass`: files, pipes and sockets moved without the CPU copying the bytes, with a receipt.
//!
//! Raw arguments (`args`) become checked settings, a command (`commands`) runs, and its outcome becomes an exit code
//! (`exit`), the one place where those are listed.

use std::process::ExitCode;

use clap::Parser;

mod address;
mod args;
mod commands;
mod exit;
mod interrupt;
mod moving;
mod place;
mod progress;
mod report;
mod server;
mod size;
mod socket;

fn main() -> ExitCode {
    let args = args::Args::parse();
    match commands::run(&args.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
