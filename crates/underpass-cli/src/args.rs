//! The command line as it is typed.
//!
//! Structs have plain comments here: clap would take a doc comment, even that of a flattened one,
//! for what the command is about.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use underpass::Route;

use crate::exit;
use crate::values::{Address, ReceiptForm, duration, size};

mod fan_out;
mod measure;
mod relay;
mod serve;
mod server;

pub(crate) use fan_out::{AlonePolicy, FanOutArgs, SlowPolicy};
pub(crate) use measure::{MeasureArgs, Measured};
pub(crate) use relay::RelayArgs;
pub(crate) use serve::ServeArgs;

/// Moves bytes between files, sockets and pipes without the CPU copying them, and says what each
/// transfer cost.
#[derive(Debug, Parser)]
#[command(name = "underpass", version, propagate_version = true, after_help = exit::HELP, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// A command's options are put together when it is the one that was asked for: to do so for all
/// takes as long as to clone a file.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    /// Send a file, or standard input, to a listening peer
    #[command(after_help = SEND_EXAMPLES)]
    Send(SendArgs),
    /// Accept one connection, or make one, and write what it sends to a file, or standard output
    #[command(after_help = RECV_EXAMPLES)]
    Recv(RecvArgs),
    /// Copy a file, sharing its extents where the file system can
    #[command(after_help = COPY_EXAMPLES)]
    Copy(CopyArgs),
    /// Serve a directory over HTTP: files leave by sendfile, straight from the page cache
    #[command(after_help = serve::EXAMPLES)]
    Serve(Box<ServeArgs>),
    /// Count the copies and the mode switches of each way to move a file to a socket, on this
    /// machine
    #[command(after_help = measure::EXAMPLES)]
    Measure(MeasureArgs),
    /// Pass connections on to a target: bulk by splice, small messages by copying
    #[command(after_help = relay::EXAMPLES)]
    Relay(Box<RelayArgs>),
    /// Give a file, or one stream, to everyone who connects, from one buffer in the kernel
    #[command(after_help = fan_out::EXAMPLES)]
    FanOut(Box<FanOutArgs>),
    /// Show which routes could move SRC to DST, and why; moves nothing
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain(ExplainArgs),
    /// Print a completion script for a shell
    #[command(
        after_help = "Example:\n  underpass completions bash > ~/.local/share/bash-completion/completions/underpass"
    )]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print a manual page
    #[command(after_help = "Example:\n  underpass man send | man -l -")]
    Man {
        /// The page of this command; without it, underpass's own
        command: Option<String>,
    },
}

// `underpass send`
#[derive(Debug, clap::Args)]
pub(crate) struct SendArgs {
    /// The file to send; `-` for standard input
    #[arg(value_name = "FILE|-")]
    pub(crate) source: PathBuf,
    /// Where the peer listens: HOST:PORT, :PORT on this machine, or unix:PATH. tcp:// may stand
    /// before a host
    #[arg(value_name = "ADDR")]
    pub(crate) to: Address,
    /// Send only these bytes: START..END, either end may be left out
    #[arg(long, value_name = "RANGE", value_parser = size::range)]
    pub(crate) range: Option<size::ByteRange>,
    /// Send what the file holds when it is read, whatever is written to it meanwhile (copies)
    #[arg(long)]
    pub(crate) stable: bool,
    #[command(flatten)]
    pub(crate) network: TimeoutArgs,
    #[command(flatten)]
    pub(crate) common: TransferArgs,
}

// `underpass recv`
#[derive(Debug, clap::Args)]
pub(crate) struct RecvArgs {
    /// Where to listen: HOST:PORT, :PORT on every address, or unix:PATH. Port 0 is any free one
    #[arg(value_name = "ADDR")]
    pub(crate) at: Address,
    /// Connect to ADDR, as to `underpass fan-out`, and do not listen there
    #[arg(long)]
    pub(crate) connect: bool,
    /// The file to write; it appears whole or not at all. `-` for standard output
    #[arg(value_name = "FILE|-")]
    pub(crate) sink: PathBuf,
    /// Fail unless exactly this many bytes come
    #[arg(long, value_name = "BYTES", value_parser = size::bytes)]
    pub(crate) expect: Option<u64>,
    /// Take a connection that ends without a byte for an empty file. Without it, such a connection
    /// is told of, and the next is waited for
    #[arg(long)]
    pub(crate) allow_empty: bool,
    #[command(flatten)]
    pub(crate) writing: WriteArgs,
    #[command(flatten)]
    pub(crate) network: TimeoutArgs,
    #[command(flatten)]
    pub(crate) common: TransferArgs,
}

// `underpass copy`
#[derive(Debug, clap::Args)]
pub(crate) struct CopyArgs {
    /// The file to copy; `-` for standard input
    #[arg(value_name = "SRC|-")]
    pub(crate) source: PathBuf,
    /// The copy, or the directory to put it in; `-` for standard output
    #[arg(value_name = "DST|-")]
    pub(crate) sink: PathBuf,
    /// Copy only these bytes: START..END, either end may be left out
    #[arg(long, value_name = "RANGE", value_parser = size::range)]
    pub(crate) range: Option<size::ByteRange>,
    #[command(flatten)]
    pub(crate) writing: WriteArgs,
    #[command(flatten)]
    pub(crate) common: TransferArgs,
}

// `underpass explain`
#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    /// A file, `-`, or an address. Where a file is called as an address is, the file is meant
    #[arg(value_name = "SRC")]
    pub(crate) source: String,
    /// A file, `-`, or an address
    #[arg(value_name = "DST")]
    pub(crate) sink: String,
    /// Explain for this many bytes instead of the source's size
    #[arg(long, value_name = "BYTES", value_parser = size::bytes)]
    pub(crate) length: Option<u64>,
    /// Explain for a source that must arrive as it was when it was read
    #[arg(long)]
    pub(crate) stable: bool,
    /// Explain for this route only
    #[arg(long, value_name = "NAME")]
    pub(crate) route: Option<Route>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

// What every command that moves bytes takes.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct TransferArgs {
    /// Use this route, or fail saying which would serve: reflink, copy_file_range, sendfile,
    /// splice, read-write
    #[arg(long, value_name = "NAME")]
    pub(crate) route: Option<Route>,
    /// How to print what the transfer cost
    #[arg(long, value_enum, value_name = "FORM")]
    pub(crate) receipt: Option<ReceiptForm>,
    /// Print no progress, and no receipt unless it is asked for
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Print the plan first
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

impl TransferArgs {
    pub(crate) fn receipt_form(&self) -> ReceiptForm {
        let unasked = if self.quiet {
            ReceiptForm::None
        } else {
            ReceiptForm::Human
        };
        self.receipt.unwrap_or(unasked)
    }
}

// What every command that writes a file takes.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct WriteArgs {
    /// Replace the file if it exists; the new one keeps its owner, permissions, ACL and attributes
    #[arg(long)]
    pub(crate) force: bool,
    /// Write into the file itself if it exists, as cp does: its hard links stay, and who reads it
    /// sees it change. A transfer that fails leaves a part
    #[arg(long)]
    pub(crate) in_place: bool,
    /// Do not wait until the disk has it, as cp does not: quicker, but a power cut soon after may
    /// leave an empty file or none
    #[arg(long)]
    pub(crate) no_sync: bool,
}

// What every command with a peer takes.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct TimeoutArgs {
    /// Give up when nothing moves for this long: seconds, or 500ms, 10m, 2h. Without it, wait for
    /// ever
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) timeout: Option<Duration>,
}

const SEND_EXAMPLES: &str = "\
Examples:
  underpass send disk.img backup:9000
  tar c /etc | underpass send - unix:/run/etc.sock
  underpass send log 127.0.0.1:9000 --range 1MiB..2MiB --receipt json

The end of the transfer is the end of the connection. If it fails, or send is killed, a TCP
connection is reset, so that the receiver does not take a part for the whole. Over a Unix socket,
which has no reset, underpass recv is told by other means.

An empty file looks like no transfer over TCP: underpass recv takes it with --allow-empty only.";

const RECV_EXAMPLES: &str = "\
Examples:
  underpass recv :9000 disk.img                            # at every address
  underpass recv unix:/run/etc.sock - | tar x
  underpass recv 127.0.0.1:9000 part --expect 1MiB --timeout 30
  underpass recv --connect host:9000 disk.img             # from underpass fan-out

A connection that ends without a byte (a port scanner's) is told of, and the next is waited for.

A sender that is killed is known by its reset over TCP, and over a Unix socket if it is underpass
send. Other programs that are killed there end as those that are done do: where the length is
known, --expect tells the two apart.";

const COPY_EXAMPLES: &str = "\
Examples:
  underpass copy disk.img backup/
  underpass copy disk.img - | ssh host 'cat > disk.img'
  underpass copy disk.img clone.img --route reflink
  underpass copy new.conf /etc/app.conf --force      # keeps owner and mode; on the disk when it returns";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  underpass explain disk.img backup:9000
  underpass explain disk.img backup/disk.img
  underpass explain - unix:/run/etc.sock --json";
