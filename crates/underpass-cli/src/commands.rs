//! The commands, one per file.

use crate::args::Command;
use crate::exit::Failure;

mod agreement;
mod checksum;
mod command_line;
pub(crate) mod complete;
mod connecting;
mod copy;
mod explain;
mod fan_out;
mod generate;
mod man;
mod measure;
mod progress;
mod receipt;
mod recv;
mod relay;
mod send;
mod serve;
mod top;
mod transfer;

/// Runs the command that was asked for.
pub(crate) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Send(args) => send::run(args),
        Command::Recv(args) => recv::run(args),
        Command::Copy(args) => copy::run(args),
        Command::Serve(args) => serve::run(args),
        Command::Measure(args) => measure::run(args),
        Command::Top(args) => top::run(args),
        Command::Relay(args) => relay::run(args),
        Command::FanOut(args) => fan_out::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Completions { shell } => generate::completions(*shell),
        Command::Man { command } => man::run(command.as_deref()),
    }
}
