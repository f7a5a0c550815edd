//! The command line of `underpass fan-out`.

use std::time::Duration;

use clap::ValueEnum;
use clap::builder::BoolishValueParser;
use underpass::Route;

use super::server::{CapacityArgs, ReceiptArgs, ServerArgs};
use crate::values::{FileOrAddress, duration, size};

// `underpass fan-out`
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Where and how")]
pub(crate) struct FanOutArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// What subscribers get. A file: each gets all of it, whenever it connects. A stream: each gets
    /// what comes after it has connected; `-` is standard input, and with HOST:PORT or unix:PATH a
    /// producer is waited for there
    #[arg(long, value_name = "SOURCE", env = "UNDERPASS_FROM", hide_env = true)]
    pub(crate) from: FileOrAddress,
    #[command(flatten)]
    pub(crate) stream: StreamArgs,
    #[command(flatten)]
    pub(crate) reporting: ReceiptArgs,
    #[command(flatten)]
    pub(crate) limits: FanOutLimits,
}

// How a stream is handed out.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Streams (not files)")]
pub(crate) struct StreamArgs {
    /// What to do about a subscriber that is --lag behind
    #[arg(long, value_enum, value_name = "POLICY", default_value = "wait")]
    #[arg(env = "UNDERPASS_SLOW", hide_env = true)]
    pub(crate) slow: SlowPolicy,
    /// How far subscribers may fall behind the source. So much is kept for all of them together,
    /// and 1 MiB at least
    #[arg(long, value_name = "BYTES", default_value = "16MiB", value_parser = size::bytes)]
    #[arg(env = "UNDERPASS_LAG", hide_env = true)]
    pub(crate) lag: u64,
    /// What to do while there is no subscriber
    #[arg(long, value_enum, value_name = "POLICY", default_value = "wait")]
    #[arg(env = "UNDERPASS_ALONE", hide_env = true)]
    pub(crate) alone: AlonePolicy,
    /// Take nothing from the source before there have been N subscribers at once: those get all of
    /// the stream
    #[arg(long = "await", value_name = "N", default_value_t = 0)]
    #[arg(env = "UNDERPASS_AWAIT", hide_env = true)]
    pub(crate) begin_with: usize,
    /// Take a producer that goes without a byte for an empty stream. Without it, that is told of,
    /// and the next is waited for
    #[arg(long, env = "UNDERPASS_ALLOW_EMPTY", hide_env = true, value_parser = BoolishValueParser::new())]
    pub(crate) allow_empty: bool,
    /// When the producer breaks off, end connections as if it had ended, and not by resets
    #[arg(long, env = "UNDERPASS_CLEAN_END", hide_env = true, value_parser = BoolishValueParser::new())]
    pub(crate) clean_end: bool,
    /// Use splice or read-write for all bytes. Without it, what trickles is copied and bulk is
    /// spliced
    #[arg(long, value_name = "NAME", value_parser = super::relay::route)]
    #[arg(env = "UNDERPASS_ROUTE", hide_env = true)]
    pub(crate) route: Option<Route>,
}

// What connections may take, and how long.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits (times: 30, 500ms, 10m, 2h)")]
pub(crate) struct FanOutLimits {
    #[command(flatten)]
    pub(crate) capacity: CapacityArgs,
    /// Reset a subscriber that takes nothing for so long while there is something for it. Without
    /// it, never
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    #[arg(env = "UNDERPASS_IDLE_TIMEOUT", hide_env = true)]
    pub(crate) idle_timeout: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SlowPolicy {
    /// Take no more from the source until it has caught up
    Wait,
    /// Disconnect it by a reset. For sources that do not wait
    Drop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AlonePolicy {
    /// Take nothing from the source
    Wait,
    /// Throw away what comes
    Discard,
}

pub(super) const EXAMPLES: &str = "\
Examples:
  underpass fan-out --listen :9000 --from disk.img       # all of it to each, read from disk once
  tar c /srv | underpass fan-out --listen :9000 --from - --await 16      # to 16 machines at once
  camera | underpass fan-out --listen :9000 --from - --slow drop --alone discard
  underpass fan-out --listen :9000 --from 127.0.0.1:8999       # from who connects first: underpass
  underpass send disk.img 127.0.0.1:8999                       # send, nc, socat, any program

Subscribers just connect: underpass recv --connect, nc, socat, or any program with a socket. What
they send is thrown away.

The end of a stream is the end of their connections. When the producer breaks off, they are reset,
so that nobody takes a part for the whole; so they are when the fan-out is killed. Two things look
like an end though: a producer other than underpass send that is killed, as its kernel ends its
connection, or its pipe, in good order; and to a subscriber at a Unix socket, which knows no reset,
everything, unless it is underpass recv --connect.

Exit code 0 when a stream ended and every subscriber was given all that was for it, or SIGTERM or
Ctrl-C asked for the end and those who were getting a file got all of it; 3 when not. Every option
has an environment variable: --listen is UNDERPASS_LISTEN. The command line wins.";
