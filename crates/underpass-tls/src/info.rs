//! What a handshake agreed on.

use std::fmt;

use rustls::pki_types::CertificateDer;
use underpass::{Tls, TlsCipher, TlsMode, TlsVersion};

/// What the handshake agreed on, and who seals the records.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TlsInfo {
    /// Who seals and opens the records.
    pub mode: Mode,
    /// The version of the protocol.
    pub version: TlsVersion,
    /// The cipher of the records.
    pub cipher: TlsCipher,
    /// The application protocol, such as `http/1.1`, if the two agreed on one.
    pub alpn: Option<Vec<u8>>,
    /// The name that the client asked for.
    pub server_name: Option<String>,
    /// Whether the handshake resumed an earlier session.
    pub resumed: bool,
    /// The certificates of the peer, its own first; empty if it showed none.
    pub peer_certificates: Vec<CertificateDer<'static>>,
}

impl TlsInfo {
    /// The mode, the version and the cipher.
    pub fn tls(&self) -> Tls {
        let mode = match self.mode {
            Mode::Kernel => TlsMode::Kernel,
            Mode::User(reason) => TlsMode::User {
                reason: reason.to_string(),
            },
        };
        Tls::new(mode, self.version, self.cipher)
    }
}

/// `kernel, TLS 1.3 AES-128-GCM`
impl fmt::Display for TlsInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tls().fmt(f)
    }
}

/// Who seals and opens the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// The kernel: sendfile(2) and splice(2) work on the socket.
    Kernel,
    /// This process, for this reason.
    User(UserReason),
}

/// Why it is not the kernel that seals the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UserReason {
    /// The configuration says so.
    Configured,
    /// The kernel has no TLS, or a policy keeps it from this process: the errno of `TCP_ULP`.
    NoKernelTls(i32),
    /// The kernel does not have this version and cipher: the errno of `TLS_TX` or `TLS_RX`.
    NoKernelCipher(i32),
    /// The kernel refused this connection: the errno of `TCP_ULP`. ENOTCONN means that the peer had
    /// already closed it.
    RefusedSocket(i32),
    /// The connection is not TCP.
    NotTcp,
}

impl UserReason {
    /// The kinds of reasons, by the names that they have in metrics.
    pub(crate) const NAMES: [&'static str; 5] = [
        "configured",
        "no-kernel-tls",
        "no-kernel-cipher",
        "refused-socket",
        "not-tcp",
    ];

    /// The place of its kind in [`NAMES`](Self::NAMES).
    pub(crate) fn kind(self) -> usize {
        match self {
            Self::Configured => 0,
            Self::NoKernelTls(_) => 1,
            Self::NoKernelCipher(_) => 2,
            Self::RefusedSocket(_) => 3,
            Self::NotTcp => 4,
        }
    }
}

impl Mode {
    /// `kernel` or `user`
    pub fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::User(_) => "user",
        }
    }
}

impl fmt::Display for UserReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configured => f.write_str("as configured"),
            Self::NoKernelTls(errno) => {
                write!(f, "the kernel has no TLS: {}", error_name(*errno))
            }
            Self::NoKernelCipher(errno) => {
                write!(f, "the kernel lacks this cipher: {}", error_name(*errno))
            }
            Self::RefusedSocket(errno) => {
                write!(f, "the kernel refused the socket: {}", error_name(*errno))
            }
            Self::NotTcp => f.write_str("not TCP"),
        }
    }
}

/// The name of an errno, `ENOENT`, or its number.
fn error_name(errno: i32) -> std::borrow::Cow<'static, str> {
    match errno {
        libc::ENOENT => "ENOENT".into(),
        libc::ENOPROTOOPT => "ENOPROTOOPT".into(),
        libc::EPERM => "EPERM".into(),
        libc::EACCES => "EACCES".into(),
        libc::ENOSYS => "ENOSYS".into(),
        libc::EINVAL => "EINVAL".into(),
        libc::EOPNOTSUPP => "EOPNOTSUPP".into(),
        libc::ENOTCONN => "ENOTCONN".into(),
        libc::EBUSY => "EBUSY".into(),
        other => format!("errno {other}").into(),
    }
}
