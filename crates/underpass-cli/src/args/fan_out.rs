//! The command line of `underpass fan-out`.

use std::time::Duration;

use clap::ValueEnum;
use clap::builder::BoolishValueParser;
use underpass::Route;

use super::server::{CapacityArgs, ReceiptArgs, ServerArgs};
use super::tls::{KtlsArgs, TlsServerArgs};
use crate::values::{FileOrAddress, duration, size};

// `underpass fan-out`
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Where and how")]
pub(crate) struct FanOutArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// What subscribers get. A file: each gets all of it, whenever it connects. A stream: each gets
    /// what arrives after it has connected. `-` is standard input; at HOST:PORT or unix:PATH,
    /// fan-out waits for a producer to connect
    #[arg(long, value_name = "SOURCE", env = "UNDERPASS_FROM", hide_env = true)]
    pub(crate) from: FileOrAddress,
    #[command(flatten)]
    pub(crate) stream: StreamArgs,
    #[command(flatten)]
    pub(crate) reporting: ReceiptArgs,
    #[command(flatten)]
    pub(crate) limits: FanOutLimits,
    #[command(flatten)]
    pub(crate) tls: TlsServerArgs,
    #[command(flatten)]
    pub(crate) ktls: KtlsArgs,
}

/// How far subscribers may fall behind, if no option says so.
const LAG: &str = "16MiB";

// How a stream is sent to its subscribers.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Streams (refused for files)")]
pub(crate) struct StreamArgs {
    /// What to do when a subscriber is --lag bytes behind
    #[arg(long, value_enum, value_name = "POLICY", default_value = "wait")]
    #[arg(env = "UNDERPASS_SLOW", hide_env = true)]
    pub(crate) slow: SlowPolicy,
    /// How far subscribers may fall behind the source. One buffer of this size serves all of them;
    /// 1 MiB at least
    #[arg(long, value_name = "BYTES", default_value = LAG, value_parser = size::bytes)]
    #[arg(env = "UNDERPASS_LAG", hide_env = true)]
    pub(crate) lag: u64,
    /// What to do while there is no subscriber
    #[arg(long, value_enum, value_name = "POLICY", default_value = "wait")]
    #[arg(env = "UNDERPASS_ALONE", hide_env = true)]
    pub(crate) alone: AlonePolicy,
    /// Read nothing from the source until N subscribers are connected at once. They get all of the
    /// stream
    #[arg(long = "await", value_name = "N", default_value_t = 0)]
    #[arg(env = "UNDERPASS_AWAIT", hide_env = true)]
    pub(crate) begin_with: usize,
    /// Accept a producer that ends without a byte as an empty stream. Otherwise it is reported, and
    /// fan-out waits for the next one
    #[arg(long, env = "UNDERPASS_ALLOW_EMPTY", hide_env = true, value_parser = BoolishValueParser::new())]
    pub(crate) allow_empty: bool,
    /// If the producer breaks off, close the connections normally instead of resetting them
    #[arg(long, env = "UNDERPASS_CLEAN_END", hide_env = true, value_parser = BoolishValueParser::new())]
    pub(crate) clean_end: bool,
    /// Use only splice or only read-write. Without it, small messages are copied and bulk is
    /// spliced
    #[arg(long, value_name = "NAME", value_parser = super::relay::route)]
    #[arg(env = "UNDERPASS_ROUTE", hide_env = true)]
    pub(crate) route: Option<Route>,
}

impl StreamArgs {
    /// The options that are not as they are without being given.
    pub(crate) fn given(&self) -> impl Iterator<Item = &'static str> {
        let given = [
            ("--slow", self.slow != SlowPolicy::Wait),
            ("--lag", size::bytes(LAG) != Ok(self.lag)),
            ("--alone", self.alone != AlonePolicy::Wait),
            ("--await", self.begin_with != 0),
            ("--allow-empty", self.allow_empty),
            ("--clean-end", self.clean_end),
            ("--route", self.route.is_some()),
        ];
        let given = given.into_iter().filter(|(_, is_given)| *is_given);
        given.map(|(option, _)| option)
    }
}

// Limits on connections and times.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits (times: 30, 500ms, 10m, 2h)")]
pub(crate) struct FanOutLimits {
    #[command(flatten)]
    pub(crate) capacity: CapacityArgs,
    /// Reset a subscriber that takes nothing for this long while there is data for it. Without it,
    /// never
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    #[arg(env = "UNDERPASS_IDLE_TIMEOUT", hide_env = true)]
    pub(crate) idle_timeout: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SlowPolicy {
    /// Read no more from the source until it has caught up
    Wait,
    /// Reset its connection. For sources that cannot wait
    Drop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AlonePolicy {
    /// Read nothing from the source
    Wait,
    /// Discard what arrives
    Discard,
}

pub(super) const EXAMPLES: &str = "\
Examples:
  underpass fan-out --listen :9000 --from disk.img   # read from disk once
  # To 16 machines at once:
  tar c /srv | underpass fan-out --listen :9000 --from - --await 16
  camera | underpass fan-out --listen :9000 --from - --slow drop --alone discard
  # From whoever connects first: underpass send, nc, socat, any program:
  underpass fan-out --listen :9000 --from 127.0.0.1:8999
  underpass send disk.img 127.0.0.1:8999

Subscribers just connect: underpass recv --connect, nc, socat, or any program
with a socket. What they send is discarded.

When the stream ends, the connections end. When the producer breaks off, or the
fan-out is killed, the connections are reset, so that nobody mistakes a part
for the whole. There are two exceptions. If a producer other than underpass
send is killed, the kernel may close its connection or pipe normally, and that
looks like the end of the stream. And Unix sockets have no reset: there only
underpass recv --connect can tell.

Exit code 0: the stream ended, and every subscriber got all of its data; or
SIGTERM or Ctrl-C asked to stop, and every subscriber that was getting a file
got all of it. 3: that is not the case. Every option has an environment
variable: --listen is UNDERPASS_LISTEN. The command line wins.";
