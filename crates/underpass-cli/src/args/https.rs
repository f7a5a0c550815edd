//! The options of `underpass serve` for HTTPS.

use std::path::PathBuf;

use clap::builder::BoolishValueParser;

// How HTTPS is served.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "HTTPS")]
pub(crate) struct HttpsArgs {
    /// Serve HTTPS with this certificate and the chain behind it, in PEM. Repeatable: clients get
    /// the certificate for the name that they ask for, or else the first. SIGHUP, or a change of
    /// the files, reads all of them again
    #[arg(long, value_name = "FILE", env = "UNDERPASS_TLS_CERT", hide_env = true)]
    #[arg(value_delimiter = ',')]
    pub(crate) tls_cert: Vec<PathBuf>,
    /// The private key of --tls-cert, in PEM. With several certificates, their keys in the same
    /// order
    #[arg(long, value_name = "FILE", env = "UNDERPASS_TLS_KEY", hide_env = true)]
    #[arg(value_delimiter = ',')]
    pub(crate) tls_key: Vec<PathBuf>,
    /// Encrypt in this process even where the kernel can (kTLS)
    #[arg(long, env = "UNDERPASS_NO_KTLS", hide_env = true, value_parser = BoolishValueParser::new())]
    pub(crate) no_ktls: bool,
}
