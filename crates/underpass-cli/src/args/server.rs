//! Options that `serve`, `relay` and `fan-out` share.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use rustix::fs::Mode;

use crate::values::{Address, ReceiptForm, SocketAccess, Trusted, duration, socket_access};

// Where connections are accepted, and by how many threads.
#[derive(Debug, clap::Args)]
pub(crate) struct ServerArgs {
    /// Listen here: HOST:PORT, :PORT on every address, [::1]:PORT, unix:PATH. Port 0 means any free
    /// port. Repeatable
    #[arg(
        short,
        long,
        value_name = "ADDR",
        env = "UNDERPASS_LISTEN",
        hide_env = true
    )]
    #[arg(value_delimiter = ',')]
    pub(crate) listen: Vec<Address>,
    /// The permissions of the files of Unix sockets, as chmod takes them: 0660. Without it, as the
    /// umask has them
    #[arg(long, value_name = "MODE", value_parser = socket_access::mode)]
    #[arg(env = "UNDERPASS_SOCKET_MODE", hide_env = true)]
    pub(crate) socket_mode: Option<Mode>,
    /// The group of the files of Unix sockets: its name or number
    #[arg(long, value_name = "GROUP", value_parser = socket_access::group)]
    #[arg(env = "UNDERPASS_SOCKET_GROUP", hide_env = true)]
    pub(crate) socket_group: Option<u32>,
    /// Number of threads, each with connections of its own. Without it, one for each CPU
    #[arg(long, value_name = "N", env = "UNDERPASS_THREADS", hide_env = true)]
    pub(crate) threads: Option<NonZeroUsize>,
}

// Proxies that connections come from.
#[derive(Debug, clap::Args)]
pub(crate) struct AcceptProxyArgs {
    /// Expect the PROXY protocol (version 1 or 2) on every connection, before TLS, from this proxy
    /// or this network; `unix:` is all peers on Unix sockets. Other connections are closed.
    /// Repeatable
    #[arg(
        long,
        value_name = "ADDR[/BITS]|unix:",
        env = "UNDERPASS_ACCEPT_PROXY",
        hide_env = true
    )]
    #[arg(value_delimiter = ',')]
    pub(crate) accept_proxy: Vec<Trusted>,
}

// Receipts, for the commands that write one for each connection.
#[derive(Debug, clap::Args)]
#[command(
    next_help_heading = "Receipts and metrics",
    mut_arg("verbose", and_receipts)
)]
pub(crate) struct ReceiptArgs {
    /// Write a receipt to standard output when a connection has ended
    #[arg(long, value_enum, value_name = "FORM")]
    #[arg(env = "UNDERPASS_RECEIPT", hide_env = true)]
    pub(crate) receipt: Option<ReceiptForm>,
    /// Append receipts to FILE instead of standard output, as JSON unless --receipt says otherwise.
    /// SIGHUP opens it again
    #[arg(
        long,
        value_name = "FILE",
        env = "UNDERPASS_RECEIPT_FILE",
        hide_env = true
    )]
    pub(crate) receipt_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) monitor: MonitorArgs,
}

// Metrics and messages.
#[derive(Debug, clap::Args)]
pub(crate) struct MonitorArgs {
    /// Serve /metrics (for Prometheus) and /healthz at this address
    #[arg(long, value_name = "ADDR", env = "UNDERPASS_METRICS", hide_env = true)]
    pub(crate) metrics: Option<Address>,
    /// Print only failures
    #[arg(short, long, env = "UNDERPASS_QUIET", hide_env = true, value_parser = BoolishValueParser::new())]
    pub(crate) quiet: bool,
    /// Also print why connections ended early
    #[arg(short, long, env = "UNDERPASS_VERBOSE", hide_env = true, value_parser = BoolishValueParser::new())]
    pub(crate) verbose: bool,
}

// Limits on connections, and how they end.
#[derive(Debug, clap::Args)]
pub(crate) struct CapacityArgs {
    /// Limit on open connections, divided among threads and addresses; more have to wait. Without
    /// it 16384, or what the limit on open files (ulimit -Hn) allows
    #[arg(
        long,
        value_name = "N",
        env = "UNDERPASS_MAX_CONNECTIONS",
        hide_env = true
    )]
    pub(crate) max_connections: Option<NonZeroUsize>,
    /// How long transfers may continue after SIGTERM or Ctrl-C; a second signal ends them at once
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration::parse)]
    #[arg(env = "UNDERPASS_DRAIN", hide_env = true)]
    pub(crate) drain: Duration,
}

impl ReceiptArgs {
    /// The form of receipts. A file alone means JSON.
    pub(crate) fn form(&self) -> ReceiptForm {
        let unasked = match self.receipt_file {
            Some(_) => ReceiptForm::Json,
            None => ReceiptForm::None,
        };
        self.receipt.unwrap_or(unasked)
    }
}

/// Adds to the help of --verbose what it does to receipts.
fn and_receipts(verbose: clap::Arg) -> clap::Arg {
    with_more_help(verbose, ". Receipts for people get all numbers")
}

/// Adds `more` to the help of an option that several commands share.
pub(super) fn with_more_help(option: clap::Arg, more: &str) -> clap::Arg {
    let help = option.get_help().cloned().unwrap_or_default();
    option.help(format!("{help}{more}"))
}

impl ServerArgs {
    /// The permissions of Unix sockets.
    pub(crate) fn access(&self) -> SocketAccess {
        SocketAccess {
            mode: self.socket_mode,
            group: self.socket_group,
        }
    }
}
