//! Why there is no certificate: one line, and a kind for the metrics.

use std::fmt::{self, Display};
use std::io;
use std::time::Duration;

use instant_acme::{Error, Problem};
use underpass_tls::{FailureReason, HandshakeError};

#[derive(Debug)]
pub(super) struct AcmeError {
    pub(super) kind: ErrorKind,
    line: String,
    /// How long the ACME server wants to be left alone.
    pub(super) retry_after: Option<Duration>,
}

/// The names are labels of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ErrorKind {
    /// The ACME server cannot be reached, or is none.
    Unreachable,
    /// The state directory cannot be used.
    State,
    /// The ACME server was asked too often.
    RateLimited,
    /// The ACME server did not find the proof that the name leads here.
    Challenge,
    /// The ACME server does not know the account.
    UnknownAccount,
    /// The file with the account is damaged.
    DamagedAccount,
    /// The ACME server refused for another reason.
    Refused,
}

impl ErrorKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::State => "state",
            Self::RateLimited => "rate-limited",
            Self::Challenge => "challenge",
            Self::UnknownAccount => "unknown-account",
            Self::DamagedAccount => "damaged-account",
            Self::Refused => "refused",
        }
    }

    /// Whether another account would help.
    pub(super) fn is_of_account(self) -> bool {
        matches!(self, Self::UnknownAccount | Self::DamagedAccount)
    }
}

impl AcmeError {
    pub(super) fn new(kind: ErrorKind, line: impl Display) -> Self {
        Self {
            kind,
            line: line.to_string(),
            retry_after: None,
        }
    }

    /// The error of a request to the ACME server at `directory`.
    pub(super) fn of(error: &Error, directory: &str) -> Self {
        match error {
            Error::Api(problem) => Self::of_problem(problem),
            Error::Json(error) => Self::new(
                ErrorKind::Unreachable,
                format_args!("what answers at {directory} is no ACME server ({error})"),
            ),
            Error::Timeout(_) => Self::new(
                ErrorKind::Refused,
                format_args!("{directory} did not decide in time"),
            ),
            // Those of our own client.
            Error::Other(other) => match other.downcast_ref() {
                Some(error) => Self::of_request(error, directory),
                None => Self::refused(error, directory),
            },
            error => Self::refused(error, directory),
        }
    }

    fn refused(error: &Error, directory: &str) -> Self {
        Self::new(ErrorKind::Refused, format_args!("{directory}: {error}"))
    }

    fn of_request(error: &io::Error, directory: &str) -> Self {
        let reason = HandshakeError::of(error).map(HandshakeError::reason);
        let hint = match reason {
            Some(FailureReason::CertificateRejected) => {
                " (--acme-ca names a file with the authorities to believe)"
            }
            _ => "",
        };
        let line = format!("{directory} cannot be asked: {error}{hint}");
        Self::new(ErrorKind::Unreachable, line)
    }

    /// What the ACME server said.
    pub(super) fn of_problem(problem: &Problem) -> Self {
        let kind = kind_of(problem);
        let said = said(problem);
        match kind {
            ErrorKind::RateLimited => Self::new(
                kind,
                format_args!("the ACME server was asked too often: {said}"),
            ),
            ErrorKind::Challenge => Self::new(
                kind,
                format_args!("the ACME server could not check that the name leads here: {said}"),
            ),
            ErrorKind::UnknownAccount => Self::new(
                kind,
                format_args!("the ACME server does not know the account any more: {said}"),
            ),
            _ => Self::new(kind, format_args!("the ACME server refused: {said}")),
        }
    }
}

impl Display for AcmeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

/// The types of RFC 8555 section 6.7.
fn kind_of(problem: &Problem) -> ErrorKind {
    match short_type(problem) {
        "rateLimited" => ErrorKind::RateLimited,
        "accountDoesNotExist" => ErrorKind::UnknownAccount,
        "connection" | "unauthorized" | "tls" | "dns" | "caa" | "incorrectResponse" => {
            ErrorKind::Challenge
        }
        _ => ErrorKind::Refused,
    }
}

fn short_type(problem: &Problem) -> &str {
    let kind = problem.r#type.as_deref().unwrap_or_default();
    kind.strip_prefix("urn:ietf:params:acme:error:")
        .unwrap_or(kind)
}

/// What it said, on one line: `connection refused (connection)`.
fn said(problem: &Problem) -> String {
    let parts = problem.subproblems.iter();
    let details = problem
        .detail
        .iter()
        .chain(parts.filter_map(|part| part.detail.as_ref()));
    let details: Vec<&str> = details.map(String::as_str).collect();
    let details = details.join("; ").replace(['\n', '\r'], " ");
    match (details.as_str(), short_type(problem)) {
        ("", "") => "no reason was given".to_owned(),
        ("", kind) => kind.to_owned(),
        (details, "") => details.to_owned(),
        (details, kind) => format!("{details} ({kind})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(json: &str) -> AcmeError {
        AcmeError::of_problem(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn only_errors_of_requests_mean_that_nobody_was_reached() {
        let of = |error| AcmeError::of(&Error::Other(error), "https://acme.example.org/");
        let refused = of(io::Error::from(io::ErrorKind::ConnectionRefused).into());
        assert_eq!(refused.kind, ErrorKind::Unreachable);
        // Such as an order that leaves out which certificate it replaces.
        assert_eq!(
            of("replaces field mismatch".into()).kind,
            ErrorKind::Refused
        );
    }

    #[test]
    fn problems_become_one_line() {
        let limited = error(
            r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many certificates\nalready"}"#,
        );
        assert_eq!(limited.kind, ErrorKind::RateLimited);
        assert_eq!(
            limited.to_string(),
            "the ACME server was asked too often: too many certificates already (rateLimited)"
        );
        let unchecked =
            error(r#"{"type":"urn:ietf:params:acme:error:connection","detail":"refused"}"#);
        assert_eq!(unchecked.kind, ErrorKind::Challenge);
        let refused = error(
            r#"{"type":"urn:ietf:params:acme:error:malformed","subproblems":[{"detail":"a"},{"detail":"b"}]}"#,
        );
        assert_eq!(
            refused.to_string(),
            "the ACME server refused: a; b (malformed)"
        );
        let silent = error("{}").to_string();
        assert_eq!(silent, "the ACME server refused: no reason was given");
    }
}
