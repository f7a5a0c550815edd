//! The command line of `underpass relay`.

use std::time::Duration;

use underpass::Route;

use super::server::{AcceptProxyArgs, CapacityArgs, ReceiptArgs, ServerArgs};
use super::tls::{KtlsArgs, TlsClientArgs, TlsServerArgs};
use crate::values::{Address, ProxyVersion, duration};

// `underpass relay`
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Where and how")]
pub(crate) struct RelayArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Connect to this target: HOST:PORT, :PORT on this machine, or unix:PATH. Repeatable:
    /// connections go to each target in turn, or to the next one if it cannot be reached. Names are
    /// looked up once, at the start
    #[arg(long, value_name = "ADDR", env = "UNDERPASS_TO", hide_env = true)]
    #[arg(value_delimiter = ',', required = true)]
    pub(crate) to: Vec<Address>,
    /// Use only splice or only read-write. Without it, small messages are copied and bulk is
    /// spliced
    #[arg(long, value_name = "NAME", value_parser = route)]
    #[arg(env = "UNDERPASS_ROUTE", hide_env = true)]
    pub(crate) route: Option<Route>,
    /// Send a PROXY protocol header that tells the target who connected
    #[arg(long, value_enum, value_name = "VERSION")]
    #[arg(env = "UNDERPASS_PROXY_PROTOCOL", hide_env = true)]
    pub(crate) proxy_protocol: Option<ProxyVersion>,
    #[command(flatten)]
    pub(crate) accept: AcceptProxyArgs,
    #[command(flatten)]
    pub(crate) reporting: ReceiptArgs,
    #[command(flatten)]
    pub(crate) limits: RelayLimits,
    #[command(flatten)]
    pub(crate) tls: TlsServerArgs,
    #[command(flatten)]
    pub(crate) tls_client: TlsClientArgs,
    #[command(flatten)]
    pub(crate) ktls: KtlsArgs,
}

// Limits on connections and times.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits (times: 30, 500ms, 10m, 2h)")]
pub(crate) struct RelayLimits {
    #[command(flatten)]
    pub(crate) capacity: CapacityArgs,
    /// How long to wait for a target before the next one is tried
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration::parse)]
    #[arg(env = "UNDERPASS_CONNECT_TIMEOUT", hide_env = true)]
    pub(crate) connect_timeout: Duration,
    /// Reset a connection when no byte was delivered in either direction for this long. Without it,
    /// never
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    #[arg(env = "UNDERPASS_IDLE_TIMEOUT", hide_env = true)]
    pub(crate) idle_timeout: Option<Duration>,
}

pub(super) fn route(text: &str) -> Result<Route, String> {
    match text.parse() {
        Ok(route @ (Route::Splice | Route::ReadWrite)) => Ok(route),
        _ => Err("the routes here are splice and read-write".to_owned()),
    }
}

pub(super) const EXAMPLES: &str = "\
Examples:
  underpass relay --listen :8080 --to 10.0.0.7:80
  # In turn; a dead target is skipped:
  underpass relay --listen unix:/run/db.sock --to db1:5432 --to db2:5432
  # The target learns who connected:
  underpass relay --listen :443 --to unix:/run/web.sock --proxy-protocol v2
  # Between proxies:
  underpass relay --listen :443 --to :8443 \\
    --accept-proxy 10.0.0.0/8 --proxy-protocol v2
  underpass relay --listen :9000 --to 127.0.0.1:9001 \\
    --idle-timeout 10m --metrics 127.0.0.1:9100

A side that ends its data (half-close) still gets the rest of the other side's.
If one side resets, the other is reset too; a client first gets everything that
its target sent.

Every option has an environment variable: --listen is UNDERPASS_LISTEN, --to is
UNDERPASS_TO. The command line wins. When systemd passes sockets, relay listens
on those.

SIGTERM and Ctrl-C let connections end: exit code 0 if they did, 3 if --drain
ran out. SIGHUP opens --receipt-file again, for logrotate.";
