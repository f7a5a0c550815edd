//! The options of `underpass serve` for certificates from an ACME server.

use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;

use crate::values::{DomainName, duration};

// Certificates from an ACME server.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Certificates from an ACME server, such as Let's Encrypt")]
pub(crate) struct AcmeArgs {
    /// Serve HTTPS for this host name with a certificate from an ACME server, and renew it in time.
    /// The name must lead to this server's port 443, or to --redirect-http at port 80. By using it
    /// you agree to the ACME server's terms. Repeatable; each name has its own certificate
    #[arg(long, value_name = "DOMAIN", env = "UNDERPASS_ACME", hide_env = true)]
    #[arg(value_delimiter = ',', requires = "acme_state")]
    #[arg(conflicts_with_all = ["tls_cert", "tls_key", "tls_self_signed"])]
    pub(crate) acme: Vec<DomainName>,
    /// Directory for the account, the certificates and their keys. Several servers may share it,
    /// and then share certificates: one gets them, and all answer the ACME server
    #[arg(
        long,
        value_name = "DIR",
        env = "UNDERPASS_ACME_STATE",
        hide_env = true
    )]
    pub(crate) acme_state: Option<PathBuf>,
    /// Where the ACME server can send warnings. It is told when the account is made
    #[arg(
        long,
        value_name = "MAIL",
        env = "UNDERPASS_ACME_EMAIL",
        hide_env = true
    )]
    pub(crate) acme_email: Option<String>,
    /// The ACME server's directory
    #[arg(long, value_name = "URL", value_parser = directory)]
    #[arg(default_value = "https://acme-v02.api.letsencrypt.org/directory")]
    #[arg(env = "UNDERPASS_ACME_DIRECTORY", hide_env = true)]
    pub(crate) acme_directory: String,
    /// The authorities (PEM) that the ACME server's own certificate may be from. Without it, those
    /// of the system
    #[arg(long, value_name = "FILE", env = "UNDERPASS_ACME_CA", hide_env = true)]
    pub(crate) acme_ca: Option<PathBuf>,
    /// How long to wait after the ACME server refused or did not answer. It doubles with each
    /// further failure, up to 6 hours
    #[arg(long, value_name = "TIME", default_value = "4m", value_parser = duration::parse)]
    #[arg(env = "UNDERPASS_ACME_RETRY", hide_env = true)]
    pub(crate) acme_retry: Duration,
}

/// Reads the URL of a directory.
fn directory(text: &str) -> Result<String, String> {
    let uri: Uri = text
        .parse()
        .map_err(|error| format!("{text:?} is not a URL: {error}"))?;
    if uri.scheme() != Some(&Scheme::HTTPS) || uri.host().is_none_or(str::is_empty) {
        return Err(format!(
            "{text:?}: an ACME server's directory is at https://HOST[:PORT]/PATH"
        ));
    }
    Ok(text.to_owned())
}
