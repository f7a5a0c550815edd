//! Options of addresses with TLS (`tls://HOST:PORT`).

use std::path::PathBuf;

use clap::builder::BoolishValueParser;

// Whom a client believes, and who it is.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "TLS (tls://HOST:PORT)")]
#[allow(clippy::struct_field_names, reason = "the names of the options")]
pub(crate) struct TlsClientArgs {
    /// Believe servers whose certificate an authority in this PEM file has signed, instead of those
    /// of the system's authorities. An address that ends in #sha256-... needs neither
    #[arg(long, value_name = "FILE", env = "UNDERPASS_TLS_CA", hide_env = true)]
    pub(crate) tls_ca: Option<PathBuf>,
    /// Show servers that ask for it this certificate (a PEM chain); needs --tls-client-key
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_client_key",
        env = "UNDERPASS_TLS_CLIENT_CERT",
        hide_env = true
    )]
    pub(crate) tls_client_cert: Option<PathBuf>,
    /// The key of --tls-client-cert, in PEM
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_client_cert",
        env = "UNDERPASS_TLS_CLIENT_KEY",
        hide_env = true
    )]
    pub(crate) tls_client_key: Option<PathBuf>,
}

// Who a server is, and whom it lets in.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "TLS (tls://HOST:PORT)")]
#[allow(clippy::struct_field_names, reason = "the names of the options")]
pub(crate) struct TlsServerArgs {
    /// Show this certificate (a PEM chain); needs --tls-key. Without it, one is made for this run,
    /// and the address with the fingerprint of its key is printed
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_key",
        env = "UNDERPASS_TLS_CERT",
        hide_env = true
    )]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The key of --tls-cert, in PEM
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_cert",
        env = "UNDERPASS_TLS_KEY",
        hide_env = true
    )]
    pub(crate) tls_key: Option<PathBuf>,
    /// Let only clients in whose certificate an authority in this PEM file has signed
    #[arg(
        long,
        value_name = "FILE",
        env = "UNDERPASS_TLS_CLIENT_CA",
        hide_env = true
    )]
    pub(crate) tls_client_ca: Option<PathBuf>,
}

// Where records are encrypted.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
#[command(next_help_heading = "TLS (tls://HOST:PORT)")]
pub(crate) struct KtlsArgs {
    /// Encrypt in this process, even where the kernel could (kTLS)
    #[arg(long, env = "UNDERPASS_NO_KTLS", hide_env = true, value_parser = BoolishValueParser::new())]
    pub(crate) no_ktls: bool,
}

impl TlsClientArgs {
    /// An option that was given, if any.
    pub(crate) fn given(&self) -> Option<&'static str> {
        if self.tls_ca.is_some() {
            Some("--tls-ca")
        } else if self.tls_client_cert.is_some() {
            Some("--tls-client-cert")
        } else {
            None
        }
    }
}

impl TlsServerArgs {
    /// An option that was given, if any.
    pub(crate) fn given(&self) -> Option<&'static str> {
        if self.tls_cert.is_some() {
            Some("--tls-cert")
        } else if self.tls_client_ca.is_some() {
            Some("--tls-client-ca")
        } else {
            None
        }
    }
}
