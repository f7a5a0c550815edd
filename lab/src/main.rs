//! Side-by-side measurements of underpass and its rivals, on the machine on which this runs.

mod archive;
mod bench;
mod child;
mod clock;
mod cluster;
mod commands;
mod contender;
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
mod ready;
mod receipt;
mod record;
mod relay;
mod rivals;
mod run;
mod scenario;
mod send;
mod sendfile;
mod server;
mod simulate;
mod sink;
mod size;
mod spawned;
mod stats;
mod sys;
mod table;
mod testfile;
mod tls;
mod tree;
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
    /// Run underpass and its rivals side by side, and keep the results in a folder
    Rivals(rivals::Options),
    /// Find the body size from which sendfile takes less CPU than read and send
    Crossover(crossover::Options),
    /// Check that the peak memory of underpass stays small whatever it moves
    Memory(memory::Options),
    /// Measure directories as archives: time to the first byte, memory, CPU beside plain files
    Archive(archive::Options),
    /// Run a distributed store, three nodes that serve it and a balancer, and let things go wrong
    Cluster(cluster::Options),
    /// Calculate and simulate what nodes in front of a store need: hit rate, bandwidth, CPU
    SimulateCluster(simulate::Options),
    /// Run a command under one of Debian's kernels, in a machine emulated by QEMU
    Vm(vm::Options),
    /// A rival that is measured; the other subcommands start these
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
    // A rival keeps the default signal handling: it has nothing to clean up.
    if let Command::Child(child) = command {
        return child::run(child).map(|()| ExitCode::SUCCESS);
    }
    sys::catch_interrupts().context(|| "cannot catch interrupts".into())?;
    match command {
        Command::Rivals(options) => return rivals::run(options),
        Command::Crossover(options) => crossover::run(options),
        Command::Memory(options) => memory::run_all(options),
        Command::Archive(options) => archive::run(options),
        Command::Cluster(options) => return cluster::run(options),
        Command::SimulateCluster(options) => simulate::run(options),
        Command::Vm(options) => return Ok(vm::run(options)),
        Command::Child(_) => Ok(()),
    }
    .map(|()| ExitCode::SUCCESS)
}
