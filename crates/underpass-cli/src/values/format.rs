//! Formats that options choose between.

use clap::ValueEnum;
use underpass_http::ProxyHeader;

/// The values of `--receipt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReceiptForm {
    /// One line for people; with --verbose, several
    Human,
    /// One JSON object on one line
    Json,
    /// Nothing
    None,
}

/// The values of `--access-log`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AccessLogForm {
    /// No lines
    None,
    /// Time, client, request, status, size and duration, for people
    Short,
    /// Apache's Combined Log Format
    Combined,
    /// One JSON object a line
    Json,
}

/// The values of `--proxy-header`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ForwardedHeader {
    /// X-Forwarded-For, as nginx, HAProxy, Caddy and load balancers of clouds send
    #[default]
    XForwardedFor,
    /// Forwarded (RFC 7239)
    Forwarded,
}

impl From<ForwardedHeader> for ProxyHeader {
    fn from(header: ForwardedHeader) -> Self {
        match header {
            ForwardedHeader::XForwardedFor => Self::XForwardedFor,
            ForwardedHeader::Forwarded => Self::Forwarded,
        }
    }
}

/// The values of `--proxy-protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProxyVersion {
    /// A line of text
    V1,
    /// Binary
    V2,
}

/// The values of `--tls-min-version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum MinTlsVersion {
    /// TLS 1.2 and 1.3
    #[value(name = "1.2")]
    Tls12,
    /// TLS 1.3 only
    #[value(name = "1.3")]
    Tls13,
}
