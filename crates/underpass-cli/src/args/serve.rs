//! The command line of `underpass serve`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use http::HeaderValue;

use super::archive::ArchiveArgs;
use super::bucket::BucketArgs;
use super::config::ConfigArgs;
use super::https::HttpsArgs;
use super::server::{AcceptProxyArgs, CapacityArgs, MonitorArgs, ServerArgs, with_more_help};
use crate::values::{AccessLogForm, Address, ForwardedHeader, Origin, Trusted, duration, size};

// `underpass serve`
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Where and how", mut_arg("listen", and_otherwise))]
pub(crate) struct ServeArgs {
    /// The directory to serve, or one file, or a bucket of a store: s3://BUCKET/PREFIX
    #[arg(value_name = "DIR|FILE", default_value = ".", env = "UNDERPASS_DIR")]
    #[arg(hide_env = true, help_heading = None)]
    pub(crate) path: PathBuf,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Listen at this port of 127.0.0.1, for clients on this machine. For others: --listen :PORT
    #[arg(
        short,
        long,
        value_name = "PORT",
        env = "UNDERPASS_PORT",
        hide_env = true
    )]
    #[arg(conflicts_with = "listen", value_parser = port)]
    pub(crate) port: Option<u16>,
    #[command(flatten)]
    pub(crate) https: HttpsArgs,
    #[command(flatten)]
    pub(crate) http2: Http2Args,
    #[command(flatten)]
    pub(crate) files: FileArgs,
    #[command(flatten)]
    pub(crate) bucket: BucketArgs,
    #[command(flatten)]
    pub(crate) archives: ArchiveArgs,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
    #[command(flatten)]
    pub(crate) uploads: UploadArgs,
    #[command(flatten)]
    pub(crate) reporting: ReportArgs,
    #[command(flatten)]
    pub(crate) limits: ServeLimits,
    #[command(flatten)]
    pub(crate) memory: MemoryArgs,
}

/// Adds the default address of `serve` to the help of --listen.
fn and_otherwise(listen: clap::Arg) -> clap::Arg {
    let otherwise = ". Without it 127.0.0.1:8080, and 127.0.0.1:8443 for HTTPS";
    with_more_help(listen, otherwise)
}

/// Adds to the help of --max-connections what `serve` does when others wait.
fn and_closes(max_connections: clap::Arg) -> clap::Arg {
    let closes = ". The connection that was idle longest is closed if others wait";
    with_more_help(max_connections, closes)
}

// Who speaks HTTP/2.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "HTTP/2")]
pub(crate) struct Http2Args {
    /// Speak HTTP/1.1 only. Otherwise clients choose, over TLS by ALPN
    #[arg(long, env = "UNDERPASS_NO_HTTP2", hide_env = true, value_parser = BoolishValueParser::new())]
    pub(crate) no_http2: bool,
    /// Do not speak HTTP/2 without TLS, to clients that begin with it (h2c with prior knowledge)
    #[arg(long, env = "UNDERPASS_NO_H2C", hide_env = true, value_parser = BoolishValueParser::new())]
    pub(crate) no_h2c: bool,
    /// The most requests in progress on one connection
    #[arg(long, value_name = "N", env = "UNDERPASS_MAX_STREAMS", hide_env = true)]
    #[arg(default_value = "100", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) max_streams: u32,
}

// Which file is sent for which path.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Files")]
pub(crate) struct FileArgs {
    /// Answer 404 for a directory without index.html instead of listing it
    #[arg(long, env = "UNDERPASS_NO_LISTING", hide_env = true, value_parser = BoolishValueParser::new())]
    pub(crate) no_listing: bool,
    /// List a directory even if it has an index.html
    #[arg(long, env = "UNDERPASS_NO_INDEX", hide_env = true, value_parser = BoolishValueParser::new())]
    pub(crate) no_index: bool,
    /// The opposite of --no-index, and the default
    #[arg(long, overrides_with = "no_index", hide = true)]
    pub(crate) index: bool,
    /// Serve and list names that begin with a dot
    #[arg(long, env = "UNDERPASS_HIDDEN", hide_env = true, value_parser = BoolishValueParser::new())]
    pub(crate) hidden: bool,
    /// Follow symbolic links that stay inside DIR. Without it, none is followed
    #[arg(long, env = "UNDERPASS_SYMLINKS", hide_env = true, value_parser = BoolishValueParser::new())]
    pub(crate) symlinks: bool,
    /// Send FILE.br, FILE.zst or FILE.gz instead of FILE to clients that accept it
    #[arg(long, env = "UNDERPASS_PRECOMPRESSED", hide_env = true, value_parser = BoolishValueParser::new())]
    pub(crate) precompressed: bool,
    /// Send this Cache-Control with every file but the page of --spa, as in 'public, max-age=3600'
    #[arg(
        long,
        value_name = "VALUE",
        env = "UNDERPASS_CACHE_CONTROL",
        hide_env = true
    )]
    #[arg(value_parser = header_value)]
    pub(crate) cache_control: Option<HeaderValue>,
    /// Send Content-Type: TYPE with files whose name ends in .EXT, as in ts=video/mp2t. Repeatable
    #[arg(long, value_name = "EXT=TYPE", env = "UNDERPASS_MIME", hide_env = true)]
    #[arg(value_delimiter = ',', value_parser = media_type)]
    pub(crate) mime: Vec<(String, HeaderValue)>,
    /// For applications with routes in the browser: answer a navigation to a missing path with FILE
    /// (below DIR) and 200
    #[arg(long, value_name = "FILE", env = "UNDERPASS_SPA", hide_env = true)]
    #[arg(conflicts_with = "not_found")]
    pub(crate) spa: Option<PathBuf>,
    /// Answer missing paths with FILE (below DIR) and 404
    #[arg(
        long,
        value_name = "FILE",
        env = "UNDERPASS_NOT_FOUND",
        hide_env = true
    )]
    pub(crate) not_found: Option<PathBuf>,
}

// Who has access.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Access")]
pub(crate) struct AccessArgs {
    /// Require this name and password (HTTP Basic). Repeatable. Everybody on the machine can see
    /// arguments in ps: prefer --auth-file, or the environment variable UNDERPASS_AUTH
    #[arg(
        long,
        value_name = "USER:PASSWORD",
        env = "UNDERPASS_AUTH",
        hide_env = true
    )]
    #[arg(hide_env_values = true)]
    // Parsed later: clap's error would repeat the value, and this may hold a password.
    pub(crate) auth: Vec<String>,
    /// Require one of the names and passwords in FILE: lines of user:password, where the password
    /// may be a bcrypt hash (htpasswd -B) or an argon2 hash; # begins a comment. It is read again
    /// when it changes
    #[arg(
        long,
        value_name = "FILE",
        env = "UNDERPASS_AUTH_FILE",
        hide_env = true
    )]
    pub(crate) auth_file: Option<PathBuf>,
    /// Believe this proxy, or the proxies of this network, who their clients are: the access log
    /// names those. `unix:` is all peers on Unix sockets. Repeatable. Clients of other peers cannot
    /// make an address up
    #[arg(
        long,
        value_name = "ADDR[/BITS]|unix:",
        env = "UNDERPASS_TRUSTED_PROXY",
        hide_env = true
    )]
    #[arg(value_delimiter = ',')]
    pub(crate) trusted_proxy: Vec<Trusted>,
    #[command(flatten)]
    pub(crate) accept: AcceptProxyArgs,
    /// The header in which trusted proxies name their clients. They must not pass one on that a
    /// client has made up
    #[arg(long, value_enum, value_name = "HEADER", requires = "trusted_proxy")]
    #[arg(env = "UNDERPASS_PROXY_HEADER", hide_env = true)]
    pub(crate) proxy_header: Option<ForwardedHeader>,
    /// Allow web pages of this origin to read responses: https://HOST[:PORT], or * for all.
    /// Repeatable
    #[arg(long, value_name = "ORIGIN|*", env = "UNDERPASS_CORS", hide_env = true)]
    #[arg(value_delimiter = ',')]
    pub(crate) cors: Vec<Origin>,
}

// Which uploads are accepted.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Uploads")]
pub(crate) struct UploadArgs {
    /// Accept files by PUT, and from the page of a directory: they appear whole or not at all.
    /// Needs --auth or --auth-file
    #[arg(long, env = "UNDERPASS_UPLOAD", hide_env = true, value_parser = BoolishValueParser::new())]
    pub(crate) upload: bool,
    /// Accept files from everybody who can connect
    #[arg(long, env = "UNDERPASS_INSECURE_UPLOAD", hide_env = true, value_parser = BoolishValueParser::new())]
    pub(crate) insecure_upload: bool,
    /// Refuse files that are larger
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = size::bytes)]
    #[arg(env = "UNDERPASS_UPLOAD_LIMIT", hide_env = true)]
    pub(crate) upload_limit: u64,
}

// Logs and metrics.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Logs and metrics")]
pub(crate) struct ReportArgs {
    /// Write a line for every request to standard output. On a terminal this is short unless this
    /// option, or --quiet, says otherwise
    #[arg(long, value_enum, value_name = "FORM")]
    #[arg(env = "UNDERPASS_ACCESS_LOG", hide_env = true)]
    pub(crate) access_log: Option<AccessLogForm>,
    /// Append the access log to FILE instead of standard output, in the combined format unless
    /// --access-log says otherwise. SIGHUP opens it again
    #[arg(
        long,
        value_name = "FILE",
        env = "UNDERPASS_ACCESS_LOG_FILE",
        hide_env = true
    )]
    pub(crate) access_log_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) monitor: MonitorArgs,
}

// Limits on clients.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits (times: 30, 500ms, 10m, 2h)")]
#[command(mut_arg("max_connections", and_closes))]
pub(crate) struct ServeLimits {
    #[command(flatten)]
    pub(crate) capacity: CapacityArgs,
    /// Send each connection at most this much per second, as in 10MiB/s. TCP paces it, and files
    /// are not copied for it. A browser may open several connections. Not for Unix sockets
    #[arg(long, value_name = "RATE", value_parser = size::rate)]
    #[arg(env = "UNDERPASS_RATE", hide_env = true)]
    pub(crate) rate: Option<u64>,
    /// Send all connections together at most this much per second. Those that send have equal
    /// shares. Files are not copied for it. Not for Unix sockets
    #[arg(long, value_name = "RATE", value_parser = size::rate)]
    #[arg(env = "UNDERPASS_RATE_TOTAL", hide_env = true)]
    pub(crate) rate_total: Option<u64>,
    /// How long a TLS handshake may take, and then the head of a request
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration::parse)]
    #[arg(env = "UNDERPASS_HEAD_TIMEOUT", hide_env = true)]
    pub(crate) head_timeout: Duration,
    /// How long to wait for more of an upload
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration::parse)]
    #[arg(env = "UNDERPASS_BODY_TIMEOUT", hide_env = true)]
    pub(crate) body_timeout: Duration,
    /// How long to wait for the client to take more of a response
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration::parse)]
    #[arg(env = "UNDERPASS_SEND_TIMEOUT", hide_env = true)]
    pub(crate) send_timeout: Duration,
    /// How long to wait for the next request on a connection
    #[arg(long, value_name = "TIME", default_value = "75s", value_parser = duration::parse)]
    #[arg(env = "UNDERPASS_KEEP_ALIVE", hide_env = true)]
    pub(crate) keep_alive: Duration,
}

// Use of memory.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Memory")]
pub(crate) struct MemoryArgs {
    /// After a response, remove the pages from the page cache that the response brought into it
    #[arg(long, env = "UNDERPASS_POLITE_CACHE", hide_env = true, value_parser = BoolishValueParser::new())]
    pub(crate) polite_cache: bool,
    /// Number of files that are kept open; at most a third of the limit on open files
    #[arg(
        long,
        value_name = "N",
        env = "UNDERPASS_CACHE_ENTRIES",
        hide_env = true
    )]
    #[arg(default_value = "4096")]
    pub(crate) cache_entries: usize,
    /// How long a path may still mean a file that was replaced; 0 looks it up for every request
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration::parse_or_zero)]
    #[arg(env = "UNDERPASS_CACHE_VALID", hide_env = true)]
    pub(crate) cache_valid: Duration,
}

impl ServeArgs {
    /// The addresses to listen at that were given.
    pub(crate) fn listen(&self) -> Vec<Address> {
        let local = self.port.map(local_address);
        self.server.listen.iter().cloned().chain(local).collect()
    }

    /// The address to listen at if none is given.
    pub(crate) fn default_address(&self) -> Address {
        local_address(if self.https.is_wanted() { 8443 } else { 8080 })
    }
}

fn local_address(port: u16) -> Address {
    Address::Tcp(SocketAddr::from(([127, 0, 0, 1], port)).to_string())
}

fn port(text: &str) -> Result<u16, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not a port: write a number from 0 to 65535"))
}

impl ReportArgs {
    /// The form of the access log, if there is one. A file alone means combined. `on_terminal` says
    /// whether standard output is a terminal.
    pub(crate) fn access_log(&self, on_terminal: bool) -> Option<AccessLogForm> {
        let unasked = match self.access_log_file {
            Some(_) => Some(AccessLogForm::Combined),
            None if on_terminal && !self.monitor.quiet => Some(AccessLogForm::Short),
            None => None,
        };
        self.access_log
            .or(unasked)
            .filter(|form| *form != AccessLogForm::None)
    }
}

impl AccessArgs {
    pub(crate) fn has_users(&self) -> bool {
        !self.auth.is_empty() || self.auth_file.is_some()
    }
}

impl FileArgs {
    pub(crate) fn index(&self) -> bool {
        self.index || !self.no_index
    }
}

impl UploadArgs {
    pub(crate) fn wanted(&self) -> bool {
        self.upload || self.insecure_upload
    }
}

fn media_type(text: &str) -> Result<(String, HeaderValue), String> {
    let wrong = || format!("{text:?} is not EXT=TYPE, as in log=text/plain");
    let (extension, value) = text.split_once('=').ok_or_else(wrong)?;
    let extension = extension.trim().trim_start_matches('.');
    let (kind, subtype) = value.split_once('/').ok_or_else(wrong)?;
    if [extension, kind.trim(), subtype.trim()].contains(&"") || extension.contains(['.', '/']) {
        return Err(wrong());
    }
    Ok((extension.to_owned(), header_value(value)?))
}

fn header_value(text: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_str(text.trim())
        .map_err(|_| format!("{text:?} cannot be the value of a header field"))
}

pub(super) const EXAMPLES: &str = "\
Examples:
  underpass serve                       # this directory: http://127.0.0.1:8080/
  underpass serve ~/Videos --listen :8080   # for all who can reach this machine
  underpass serve report.pdf -p 9000    # one file, on http://127.0.0.1:9000/
  underpass serve dist --spa index.html --precompressed \\
    --cache-control 'public, max-age=3600'
  # Any S3-compatible store. AWS_ENDPOINT_URL and other AWS_ variables say
  # where it is, and who asks:
  underpass serve s3://photos/2026 --cache /var/cache/photos
  # curl -u me -T report.pdf http://HOST:8080/
  underpass serve inbox --upload --auth-file users
  # HTTPS, with a certificate, with one that is made now, and by ACME:
  underpass serve /srv --listen :443 --tls-cert chain.pem --tls-key key.pem
  underpass serve --listen :8443 --tls-self-signed --auth-file users
  underpass serve /srv --listen :443 --acme www.example.org \\
    --acme-state /var/lib/acme
  underpass serve /srv --listen unix:/run/files.sock \\
    --socket-group www-data --socket-mode 0660
  underpass serve /srv --access-log-file /var/log/underpass/access.log \\
    --metrics 127.0.0.1:9100
  underpass serve --config serve.toml --check-config   # options from a file

Every option has an environment variable: --no-listing is
UNDERPASS_NO_LISTING=1, --listen is UNDERPASS_LISTEN, DIR or FILE is
UNDERPASS_DIR. The command line wins. The same names are in FILE of --config,
in TOML: no-listing = true, listen = [':8080'], dir = '/srv'. Paths are
relative to where serve is started. There are also tables for paths:

  [[path]]                  # all that match apply; the later wins
  glob = '/assets'          # as in .gitignore; also for all below a directory
  cache-control = 'max-age=3600'
  headers = { X-Frame-Options = 'DENY' }
  type = 'text/plain'       # Content-Type
  archive = false           # in no archive of a directory
  access = 'deny'           # or 'auth' (with --auth...), or 'allow' (without)

Without --tls-cert it speaks plain HTTP, and names and passwords can be read on
the way. When systemd passes sockets, serve listens on those.

SIGTERM and Ctrl-C let responses end: exit code 0 if they did, 3 if --drain ran
out. SIGHUP opens the access log again, for logrotate, and reads --auth-file,
certificates and --config again: its tables for paths and `auth` are used at
once. Files of users and certificates are also read when they change.";
