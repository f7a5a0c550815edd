//! Why a handshake failed.

use std::fmt;
use std::io;

use rustls::{AlertDescription, CertificateError, OtherError, PeerIncompatible};

/// A handshake that failed. It is inside the [`io::Error`] that is returned; [`HandshakeError::of`]
/// finds it.
#[derive(Debug)]
pub struct HandshakeError {
    reason: FailureReason,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    Tls(rustls::Error),
    Told(&'static str),
}

/// What kind of failure it was. The names are stable: they can be labels of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureReason {
    /// The peer closed the connection before the handshake was complete.
    Closed,
    /// What came is not TLS; it looks like an HTTP request.
    PlainHttp,
    /// What came is not TLS.
    NotTls,
    /// The two have no version, cipher or application protocol in common.
    Incompatible,
    /// There is no certificate for the name that the client asked for.
    UnknownName,
    /// The peer showed no certificate, although one is required.
    CertificateMissing,
    /// The peer's certificate is not believed.
    CertificateRejected,
    /// The peer ended the handshake by an alert.
    PeerAlert,
    /// The peer broke the protocol.
    Protocol,
    /// It took longer than the server allows, or the server stopped.
    TimedOut,
    /// Too many handshakes had begun, and this one was the oldest: it made room for another.
    Displaced,
    /// The socket failed.
    Socket,
    /// Something failed here.
    Internal,
}

impl FailureReason {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Closed,
        Self::PlainHttp,
        Self::NotTls,
        Self::Incompatible,
        Self::UnknownName,
        Self::CertificateMissing,
        Self::CertificateRejected,
        Self::PeerAlert,
        Self::Protocol,
        Self::TimedOut,
        Self::Displaced,
        Self::Socket,
        Self::Internal,
    ];

    /// `certificate-rejected`
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::PlainHttp => "plain-http",
            Self::NotTls => "not-tls",
            Self::Incompatible => "incompatible",
            Self::UnknownName => "unknown-name",
            Self::CertificateMissing => "certificate-missing",
            Self::CertificateRejected => "certificate-rejected",
            Self::PeerAlert => "peer-alert",
            Self::Protocol => "protocol",
            Self::TimedOut => "timed-out",
            Self::Displaced => "displaced",
            Self::Socket => "socket",
            Self::Internal => "internal",
        }
    }

    /// The reason for which a handshake failed with `error`.
    pub fn of(error: &io::Error) -> Self {
        HandshakeError::of(error).map_or(Self::Socket, HandshakeError::reason)
    }
}

impl HandshakeError {
    pub(crate) fn new(reason: FailureReason, what: &'static str) -> Self {
        Self {
            reason,
            cause: Cause::Told(what),
        }
    }

    pub(crate) fn told(reason: FailureReason, what: &'static str) -> io::Error {
        Self::new(reason, what).into()
    }

    /// The handshake's failure in `error`, if it is one.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    /// What kind of failure it was.
    pub fn reason(&self) -> FailureReason {
        self.reason
    }

    /// Whether it failed because no authority that is believed has signed the peer's certificate.
    pub fn is_unknown_issuer(&self) -> bool {
        use rustls::Error as Tls;
        let unknown = Tls::InvalidCertificate(CertificateError::UnknownIssuer);
        matches!(&self.cause, Cause::Tls(error) if *error == unknown)
    }
}

impl From<rustls::Error> for HandshakeError {
    fn from(error: rustls::Error) -> Self {
        Self {
            reason: reason_of(&error),
            cause: Cause::Tls(error),
        }
    }
}

impl From<HandshakeError> for io::Error {
    fn from(error: HandshakeError) -> Self {
        let kind = match error.reason {
            FailureReason::Closed => io::ErrorKind::UnexpectedEof,
            FailureReason::PeerAlert | FailureReason::Displaced => io::ErrorKind::ConnectionAborted,
            FailureReason::TimedOut => io::ErrorKind::TimedOut,
            FailureReason::Internal => io::ErrorKind::Other,
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TLS handshake failed: ")?;
        match &self.cause {
            Cause::Told(what) => f.write_str(what),
            Cause::Tls(rustls::Error::InvalidCertificate(error)) => {
                write!(f, "the peer's certificate {}", Wrong(error))
            }
            Cause::Tls(rustls::Error::AlertReceived(alert)) => {
                write!(f, "the peer refused it: {}", alert_name(*alert))
            }
            Cause::Tls(error) => error.fmt(f),
        }
    }
}

/// What is wrong with a certificate, in words that go on after "the certificate".
struct Wrong<'a>(&'a CertificateError);

impl fmt::Display for Wrong<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            CertificateError::UnknownIssuer => {
                f.write_str("is signed by no authority that is believed")
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                f.write_str("has expired")
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                f.write_str("is not valid yet")
            }
            CertificateError::NotValidForName => f.write_str("is for another name"),
            CertificateError::NotValidForNameContext {
                expected,
                presented,
            } => {
                let names: Vec<_> = presented.iter().map(|name| bare(name)).collect();
                let names = match names.len() {
                    0 => "no name".to_owned(),
                    _ => names.join(", "),
                };
                write!(f, "is for {names}, not for {}", expected.to_str())
            }
            CertificateError::ApplicationVerificationFailure => {
                f.write_str("has a key with another fingerprint")
            }
            CertificateError::Other(other) if is_of_authority(other) => f.write_str(
                "is that of an authority (CA:TRUE), which cannot be a server's or a client's: make \
                 one with basicConstraints=CA:FALSE",
            ),
            other => write!(f, "is not valid: {other}"),
        }
    }
}

/// Whether a certificate was refused because it may sign others. `openssl req -x509` makes such.
fn is_of_authority(error: &OtherError) -> bool {
    let refused = error.0.downcast_ref::<webpki::Error>();
    matches!(refused, Some(webpki::Error::CaUsedAsEndEntity))
}

/// rustls lists names as `DnsName("example.org")` and `IpAddress(192.0.2.1)`.
fn bare(name: &str) -> &str {
    let inside = name
        .split_once('(')
        .and_then(|(_, it)| it.strip_suffix(')'));
    inside.unwrap_or(name).trim_matches('"')
}

impl std::error::Error for HandshakeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            Cause::Tls(error) => Some(error),
            Cause::Told(_) => None,
        }
    }
}

fn reason_of(error: &rustls::Error) -> FailureReason {
    use rustls::Error as Tls;
    match error {
        Tls::AlertReceived(_) => FailureReason::PeerAlert,
        Tls::NoCertificatesPresented => FailureReason::CertificateMissing,
        Tls::PeerIncompatible(PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon) => {
            FailureReason::CertificateRejected
        }
        Tls::PeerIncompatible(_) | Tls::NoApplicationProtocol => FailureReason::Incompatible,
        Tls::InvalidCertificate(CertificateError::NotValidForName) => {
            FailureReason::CertificateRejected
        }
        Tls::InvalidCertificate(_) | Tls::InvalidCertRevocationList(_) => {
            FailureReason::CertificateRejected
        }
        Tls::General(what) if what.contains("no server certificate chain resolved") => {
            FailureReason::UnknownName
        }
        Tls::General(_) | Tls::FailedToGetCurrentTime | Tls::FailedToGetRandomBytes => {
            FailureReason::Internal
        }
        _ => FailureReason::Protocol,
    }
}

/// The name of an alert (RFC 8446 section 6), such as `unknown_ca`.
pub(crate) fn alert_name(alert: AlertDescription) -> &'static str {
    use AlertDescription as Alert;
    match alert {
        Alert::CloseNotify => "close_notify",
        Alert::UnexpectedMessage => "unexpected_message",
        Alert::BadRecordMac => "bad_record_mac",
        Alert::RecordOverflow => "record_overflow",
        Alert::HandshakeFailure => "handshake_failure",
        Alert::NoCertificate => "no_certificate",
        Alert::BadCertificate => "bad_certificate",
        Alert::UnsupportedCertificate => "unsupported_certificate",
        Alert::CertificateRevoked => "certificate_revoked",
        Alert::CertificateExpired => "certificate_expired",
        Alert::CertificateUnknown => "certificate_unknown",
        Alert::IllegalParameter => "illegal_parameter",
        Alert::UnknownCA => "unknown_ca",
        Alert::AccessDenied => "access_denied",
        Alert::DecodeError => "decode_error",
        Alert::DecryptError => "decrypt_error",
        Alert::ProtocolVersion => "protocol_version",
        Alert::InsufficientSecurity => "insufficient_security",
        Alert::InternalError => "internal_error",
        Alert::InappropriateFallback => "inappropriate_fallback",
        Alert::UserCanceled => "user_canceled",
        Alert::NoRenegotiation => "no_renegotiation",
        Alert::MissingExtension => "missing_extension",
        Alert::UnsupportedExtension => "unsupported_extension",
        Alert::UnrecognisedName => "unrecognized_name",
        Alert::BadCertificateStatusResponse => "bad_certificate_status_response",
        Alert::UnknownPSKIdentity => "unknown_psk_identity",
        Alert::CertificateRequired => "certificate_required",
        Alert::NoApplicationProtocol => "no_application_protocol",
        _ => "an alert that is not known",
    }
}
