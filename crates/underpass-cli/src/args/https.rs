//! The options of `underpass serve` for HTTPS.

use std::path::PathBuf;

use clap::builder::BoolishValueParser;

use super::acme::AcmeArgs;
use crate::values::{Address, MinTlsVersion};

/// A year, as browsers ask of sites on their lists.
const HSTS: &str = "31536000";

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
    /// Serve HTTPS with a certificate that is made for this run. Prints the fingerprint of its key,
    /// for clients to compare
    #[arg(long, env = "UNDERPASS_TLS_SELF_SIGNED", hide_env = true, value_parser = BoolishValueParser::new())]
    #[arg(conflicts_with_all = ["tls_cert", "tls_key"])]
    pub(crate) tls_self_signed: bool,
    /// Refuse clients without a certificate that one of the authorities in FILE (PEM) has signed
    #[arg(
        long,
        value_name = "FILE",
        env = "UNDERPASS_TLS_CLIENT_CA",
        hide_env = true
    )]
    pub(crate) tls_client_ca: Option<PathBuf>,
    /// The oldest version of TLS to speak. Without it, 1.2
    #[arg(long, value_enum, value_name = "VERSION")]
    #[arg(env = "UNDERPASS_TLS_MIN_VERSION", hide_env = true)]
    pub(crate) tls_min_version: Option<MinTlsVersion>,
    /// Encrypt in this process even where the kernel can (kTLS)
    #[arg(long, env = "UNDERPASS_NO_KTLS", hide_env = true, value_parser = BoolishValueParser::new())]
    pub(crate) no_ktls: bool,
    /// Listen for plain HTTP here, too, and redirect everything to HTTPS: HOST:PORT or :PORT
    #[arg(
        long,
        value_name = "ADDR",
        env = "UNDERPASS_REDIRECT_HTTP",
        hide_env = true
    )]
    pub(crate) redirect_http: Option<Address>,
    /// Tell browsers to come by HTTPS only, for this long (Strict-Transport-Security). Without a
    /// number, for a year; 0 takes it back
    #[arg(long, value_name = "SECONDS", env = "UNDERPASS_HSTS", hide_env = true)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = HSTS)]
    pub(crate) hsts: Option<u32>,
    #[command(flatten)]
    pub(crate) acme: AcmeArgs,
}

impl HttpsArgs {
    /// Whether HTTPS is served.
    pub(crate) fn is_wanted(&self) -> bool {
        self.tls_self_signed || !self.tls_cert.is_empty() || !self.acme.acme.is_empty()
    }
}
