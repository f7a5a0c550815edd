//! What the commands that accept connections for ever take alike.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;

use crate::values::{Address, ReceiptForm, duration};

// Where connections are accepted.
#[derive(Debug, clap::Args)]
pub(crate) struct ServerArgs {
    /// Listen here: HOST:PORT, :PORT on every address, [::1]:PORT, unix:PATH. Port 0 is any free
    /// one. Repeatable
    #[arg(
        short,
        long,
        value_name = "ADDR",
        env = "UNDERPASS_LISTEN",
        hide_env = true
    )]
    #[arg(value_delimiter = ',')]
    pub(crate) listen: Vec<Address>,
    /// Threads, each with connections of its own; as many as there are CPUs without it
    #[arg(long, value_name = "N", env = "UNDERPASS_THREADS", hide_env = true)]
    pub(crate) threads: Option<NonZeroUsize>,
}

// What is told of connections that are more than requests.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Receipts and metrics")]
pub(crate) struct ReceiptArgs {
    /// Write what each connection cost to standard output, when it has ended
    #[arg(long, value_enum, value_name = "FORM")]
    #[arg(env = "UNDERPASS_RECEIPT", hide_env = true)]
    pub(crate) receipt: Option<ReceiptForm>,
    /// Append receipts to FILE and not to standard output, as JSON unless --receipt says otherwise.
    /// SIGHUP opens it anew
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

// What is told of everything.
#[derive(Debug, clap::Args)]
pub(crate) struct MonitorArgs {
    /// Answer /metrics (for Prometheus) and /healthz here
    #[arg(long, value_name = "ADDR", env = "UNDERPASS_METRICS", hide_env = true)]
    pub(crate) metrics: Option<Address>,
    /// Print nothing but failures
    #[arg(short, long, env = "UNDERPASS_QUIET", hide_env = true, value_parser = BoolishValueParser::new())]
    pub(crate) quiet: bool,
    /// Print why connections ended early, too
    #[arg(short, long, env = "UNDERPASS_VERBOSE", hide_env = true, value_parser = BoolishValueParser::new())]
    pub(crate) verbose: bool,
}

// How many connections there may be, and how they end.
#[derive(Debug, clap::Args)]
pub(crate) struct CapacityArgs {
    /// Connections open at once, shared out evenly among threads and addresses; more have to wait.
    /// 16384 without it, or what the limit on open files (ulimit -Hn) leaves room for. `serve`
    /// closes the idlest where others wait
    #[arg(
        long,
        value_name = "N",
        env = "UNDERPASS_MAX_CONNECTIONS",
        hide_env = true
    )]
    pub(crate) max_connections: Option<NonZeroUsize>,
    /// For what is under way when SIGTERM or Ctrl-C asks for the end; a second one ends at once
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration::parse)]
    #[arg(env = "UNDERPASS_DRAIN", hide_env = true)]
    pub(crate) drain: Duration,
}

impl ReceiptArgs {
    /// The form that is asked for, be it by naming a file.
    pub(crate) fn form(&self) -> ReceiptForm {
        let unasked = match self.receipt_file {
            Some(_) => ReceiptForm::Json,
            None => ReceiptForm::None,
        };
        self.receipt.unwrap_or(unasked)
    }
}
