//! Side-by-side measurements of underpass and its rivals, on the machine at hand.

mod child;
mod copy;
mod crossover;
mod error;
mod fan_out;
mod header;
mod http;
mod memory;
mod mount;
mod output;
mod pin;
mod process;
mod program;
mod receipt;
mod rounds;
mod run;
mod send;
mod sink;
mod size;
mod stats;
mod sys;
mod table;
mod testfile;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::child::Child;
use crate::error::{Context, Result};

#[derive(Debug, Parser)]
#[command(name = "lab", about, version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Send a file over loopback: underpass, a bare sendfile loop, std, Java
    Send(send::Options),
    /// Copy a file on ext4, btrfs and XFS: underpass, cp, dd, std
    Copy(copy::Options),
    /// Find the body size from which sendfile takes less CPU than read and send
    Crossover(crossover::Options),
    /// Check that the peak memory of underpass stays small whatever it moves
    Memory(memory::Options),
    /// Serve files over HTTP: underpass, nginx, h2o, lighttpd, tower-http
    Http(http::Options),
    /// Hand one stream or file out to many: underpass, read + N writes, tee + nc, mbuffer, ncat
    FanOut(fan_out::Options),
    /// Run a command under one of Debian's kernels, in a machine emulated by QEMU
    Vm(vm::Options),
    /// A rival to be measured; the other subcommands start these
    #[command(hide = true, subcommand)]
    Child(Child),
}

fn main() -> ExitCode {
    match run(&Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lab: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<ExitCode> {
    // A rival keeps the default handling: it has nothing to tidy up.
    if let Command::Child(child) = command {
        return child::run(child).map(|()| ExitCode::SUCCESS);
    }
    sys::catch_interrupts().context(|| "cannot catch interrupts".into())?;
    match command {
        Command::Send(options) => send::run_all(options),
        Command::Copy(options) => copy::run_all(options),
        Command::Crossover(options) => crossover::run(options),
        Command::Memory(options) => memory::run_all(options),
        Command::Http(options) => http::run_all(options),
        Command::FanOut(options) => fan_out::run_all(options),
        Command::Vm(options) => return Ok(vm::run(options)),
        Command::Child(_) => Ok(()),
    }
    .map(|()| ExitCode::SUCCESS)
}
