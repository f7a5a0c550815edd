//! What may lie between a descriptor and its user: TLS.
//!
//! A socket that carries TLS is a descriptor and a [`Layer`]. The layer knows the connection's keys
//! and what mode it is in. In *kernel* mode the kernel encrypts and decrypts, so that sendfile(2)
//! and splice(2) work on the socket itself; only control records (alerts, key updates) pass through
//! the layer. In *user* mode the layer encrypts and decrypts each byte in this process, and nothing
//! but the layer may read or write the socket.
//!
//! The engine knows nothing about TLS but this. `underpass-tls` implements it.

use std::fmt;
use std::io::{self, IoSlice};

use rustix::fd::BorrowedFd;
use rustix::io::Errno;

/// TLS on a connected stream socket that is marked `O_NONBLOCK`.
///
/// All methods take the same socket for the whole life of the connection. None of them waits: where
/// the socket is not ready they fail with `WouldBlock`, and are called again later. Sending and
/// receiving may happen on different threads at once.
///
/// # Errors
/// System calls' own errors have their number. What TLS finds wrong is a [`LayerError`] inside the
/// [`io::Error`].
pub trait Layer: fmt::Debug + Send + Sync {
    /// The mode, version and cipher of this connection. They never change.
    fn describe(&self) -> Tls;

    /// Takes bytes from `slices`, in order, and sends them. Returns how many were taken, at least
    /// one unless all slices are empty.
    ///
    /// In user mode, bytes that were taken may still be in this process, as records that the socket
    /// had no room for: [`unsent`](Self::unsent) counts them, and [`flush`](Self::flush) or the
    /// next call sends them. `WouldBlock` means that nothing was taken.
    ///
    /// With `more`, further bytes follow at once, and a record may be left open for them. Without
    /// it, every byte that was taken is in a finished record.
    ///
    /// # Errors
    /// `WouldBlock`; those of send(2); a [`LayerError`].
    fn send(
        &self,
        socket: BorrowedFd<'_>,
        slices: &[IoSlice<'_>],
        more: bool,
    ) -> io::Result<usize> {
        self.send_checked(socket, slices, more, &mut || Ok(()))
    }

    /// As [`send`](Self::send), for slices that may turn out to be no good, such as the mapping of
    /// a file that is truncated: calls `check` when they were read for the last time, before
    /// anything that was made of them is sent. If `check` fails, nothing of this call is sent, and
    /// nothing ever after.
    ///
    /// # Errors
    /// As for [`send`](Self::send), and that of `check`.
    fn send_checked(
        &self,
        socket: BorrowedFd<'_>,
        slices: &[IoSlice<'_>],
        more: bool,
        check: &mut dyn FnMut() -> io::Result<()>,
    ) -> io::Result<usize>;

    /// Is told what was sent on the socket itself, in kernel mode, by sendfile(2) or splice(2):
    /// `count` bytes, or 0 if the call would have blocked. The layer counts records by it, because
    /// a key may seal only so many, and sees to it that a full socket becomes writable again (Linux
    /// 6.1 forgets that).
    ///
    /// # Errors
    /// Those of the socket; [`LayerError::Broken`] if the key is worn out and cannot be replaced.
    fn sent(&self, socket: BorrowedFd<'_>, count: u64) -> io::Result<()> {
        let _ = (socket, count);
        Ok(())
    }

    /// Sends the records that are still in this process. After `Ok` there are none.
    ///
    /// # Errors
    /// `WouldBlock`; those of send(2).
    fn flush(&self, socket: BorrowedFd<'_>) -> io::Result<()>;

    /// Bytes that [`send`](Self::send) took and whose records have not left this process.
    fn unsent(&self) -> u64;

    /// Receives bytes into `buffer`, which is not empty. Control records are handled inside. 0 is
    /// the end that the peer has said (close_notify).
    ///
    /// In user mode there may be more bytes in this process, which poll(2) does not know of: call
    /// it until it says `WouldBlock` before waiting.
    ///
    /// # Errors
    /// `WouldBlock`; those of recv(2); [`LayerError::Cut`] where the connection ended without
    /// close_notify, so that the peer may have meant to send more; another [`LayerError`].
    fn receive(&self, socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize>;

    /// Handles the next record if it is not data. Called in kernel mode when splice(2) has returned
    /// 0 or failed on the socket, as it does at control records. Never takes a byte of data.
    ///
    /// # Errors
    /// As for [`receive`](Self::receive). `WouldBlock`: there is no record.
    fn control(&self, socket: BorrowedFd<'_>) -> io::Result<Control>;

    /// Says the end to the peer (close_notify), after everything before it. Only then may the
    /// caller call shutdown(2). After `Ok`, calling it again does nothing.
    ///
    /// # Errors
    /// `WouldBlock`: call it again when the socket takes more. Those of send(2).
    fn close(&self, socket: BorrowedFd<'_>) -> io::Result<()>;

    /// System calls that the methods above have made so far.
    fn syscalls(&self) -> u64;
}

/// What [`Layer::control`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Control {
    /// A control record, which was handled. Data may follow it.
    Handled,
    /// The peer's close_notify: all data came before it.
    Ended,
    /// Data is next. An error of the system call stands; if it returned 0, it was at a record
    /// without a byte.
    Nothing,
}

/// The TLS of a connection: plain data.
///
/// ```
/// use underpass::{Tls, TlsCipher, TlsMode, TlsVersion};
///
/// let tls = Tls::new(TlsMode::Kernel, TlsVersion::Tls13, TlsCipher::Aes128Gcm);
/// assert_eq!(tls.to_string(), "kernel, TLS 1.3 AES-128-GCM");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Tls {
    /// Who encrypts and decrypts.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub mode: TlsMode,
    /// The version.
    pub version: TlsVersion,
    /// The cipher of its records.
    pub cipher: TlsCipher,
}

impl Tls {
    /// Puts the three together.
    pub const fn new(mode: TlsMode, version: TlsVersion, cipher: TlsCipher) -> Self {
        Self {
            mode,
            version,
            cipher,
        }
    }

    /// Whether the kernel encrypts and decrypts.
    pub const fn is_in_kernel(&self) -> bool {
        matches!(self.mode, TlsMode::Kernel)
    }
}

/// Who encrypts and decrypts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(tag = "mode", rename_all = "snake_case"))]
#[non_exhaustive]
pub enum TlsMode {
    /// The kernel (kTLS).
    Kernel,
    /// This process.
    User {
        /// Why not the kernel, in a few words.
        reason: String,
    },
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.2
    #[cfg_attr(feature = "serde", serde(rename = "TLS 1.2"))]
    Tls12,
    /// TLS 1.3
    #[cfg_attr(feature = "serde", serde(rename = "TLS 1.3"))]
    Tls13,
}

/// A cipher of TLS records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum TlsCipher {
    /// AES-128-GCM
    #[cfg_attr(feature = "serde", serde(rename = "AES-128-GCM"))]
    Aes128Gcm,
    /// AES-256-GCM
    #[cfg_attr(feature = "serde", serde(rename = "AES-256-GCM"))]
    Aes256Gcm,
    /// ChaCha20-Poly1305
    #[cfg_attr(feature = "serde", serde(rename = "ChaCha20-Poly1305"))]
    ChaCha20Poly1305,
}

impl TlsVersion {
    /// Its name, such as `TLS 1.3`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tls12 => "TLS 1.2",
            Self::Tls13 => "TLS 1.3",
        }
    }
}

impl TlsCipher {
    /// Its name, such as `AES-128-GCM`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aes128Gcm => "AES-128-GCM",
            Self::Aes256Gcm => "AES-256-GCM",
            Self::ChaCha20Poly1305 => "ChaCha20-Poly1305",
        }
    }
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for TlsCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// `kernel`, or `user space (this kernel has no TLS)`.
impl fmt::Display for TlsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel => f.write_str("kernel"),
            Self::User { reason } => write!(f, "user space ({reason})"),
        }
    }
}

impl fmt::Display for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} {}", self.mode, self.version, self.cipher)
    }
}

/// What TLS found wrong with a connection, rather than the kernel.
///
/// Inside an [`io::Error`] that it was made into, [`LayerError::of`] finds it again.
///
/// ```
/// use underpass::LayerError;
///
/// let error = std::io::Error::from(LayerError::Cut);
/// assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
/// assert_eq!(LayerError::of(&error), Some(LayerError::Cut));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayerError {
    /// The connection ended without close_notify. The peer, or somebody on the way, may have cut it
    /// short.
    Cut,
    /// The peer refused to go on: the name of its alert (RFC 8446, section 6), such as
    /// `bad_certificate`.
    Alert(&'static str),
    /// What arrived is not what TLS allows, or a limit of the keys is reached: why, in a few words.
    Broken(&'static str),
}

impl LayerError {
    /// The layer's error inside an I/O error. An `UnexpectedEof` of another origin is a
    /// [`Cut`](Self::Cut) too, and an `InvalidData` is [`Broken`](Self::Broken).
    pub fn of(error: &io::Error) -> Option<Self> {
        let inside = error.get_ref().and_then(|inner| inner.downcast_ref());
        match (inside, error.kind()) {
            (Some(&known), _) => Some(known),
            (None, io::ErrorKind::UnexpectedEof) => Some(Self::Cut),
            (None, io::ErrorKind::InvalidData) => Some(Self::Broken("the peer broke its rules")),
            _ => None,
        }
    }

    /// `TLS_CUT`, `TLS_ALERT` or `TLS_BROKEN`: what receipts show in place of an error number's
    /// name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Cut => "TLS_CUT",
            Self::Alert(_) => "TLS_ALERT",
            Self::Broken(_) => "TLS_BROKEN",
        }
    }
}

impl fmt::Display for LayerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut => f.write_str("the TLS stream was cut: it ended without close_notify"),
            Self::Alert(name) => write!(f, "the peer ended the TLS connection: {name}"),
            Self::Broken(why) => write!(f, "TLS: {why}"),
        }
    }
}

impl std::error::Error for LayerError {}

impl From<LayerError> for io::Error {
    fn from(error: LayerError) -> Self {
        let kind = match error {
            LayerError::Cut => io::ErrorKind::UnexpectedEof,
            LayerError::Alert(_) => io::ErrorKind::ConnectionAborted,
            LayerError::Broken(_) => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}

/// Why a call failed: the kernel's error number, or what the layer found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallError {
    Errno(Errno),
    Layer(LayerError),
}

impl CallError {
    /// The same call may succeed later.
    pub(crate) fn would_block(self) -> bool {
        self == Self::Errno(Errno::AGAIN)
    }

    /// The error number; `EPROTO` for what the layer found.
    pub(crate) fn errno(self) -> Errno {
        match self {
            Self::Errno(errno) => errno,
            Self::Layer(_) => Errno::PROTO,
        }
    }
}

impl From<Errno> for CallError {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<CallError> for Errno {
    fn from(error: CallError) -> Self {
        error.errno()
    }
}

impl From<LayerError> for CallError {
    fn from(error: LayerError) -> Self {
        Self::Layer(error)
    }
}

impl From<io::Error> for CallError {
    fn from(error: io::Error) -> Self {
        if let Some(errno) = Errno::from_io_error(&error) {
            return Self::Errno(errno);
        }
        match error.kind() {
            io::ErrorKind::WouldBlock => Self::Errno(Errno::AGAIN),
            io::ErrorKind::Interrupted => Self::Errno(Errno::INTR),
            _ => LayerError::of(&error).map_or(Self::Errno(Errno::IO), Self::Layer),
        }
    }
}

impl From<CallError> for io::Error {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Errno(errno) => errno.into(),
            CallError::Layer(error) => error.into(),
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Errno(errno) => errno.fmt(f),
            Self::Layer(error) => error.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_keep_what_they_are() {
        let table = [
            (io::ErrorKind::WouldBlock.into(), Errno::AGAIN.into()),
            (Errno::AGAIN.into(), Errno::AGAIN.into()),
            (Errno::PIPE.into(), Errno::PIPE.into()),
            (io::ErrorKind::UnexpectedEof.into(), LayerError::Cut.into()),
            (LayerError::Cut.into(), LayerError::Cut.into()),
            (
                LayerError::Alert("bad_certificate").into(),
                LayerError::Alert("bad_certificate").into(),
            ),
            (io::Error::other("?"), Errno::IO.into()),
        ];
        for (error, kept) in table {
            let error: io::Error = error;
            let kept: CallError = kept;
            assert_eq!(CallError::from(error), kept);
            assert_eq!(CallError::from(io::Error::from(kept)), kept);
        }
    }

    #[test]
    fn tls_reads_as_one_phrase() {
        let reason = "this kernel has no TLS".to_owned();
        let tls = Tls::new(
            TlsMode::User { reason },
            TlsVersion::Tls12,
            TlsCipher::ChaCha20Poly1305,
        );
        let phrase = "user space (this kernel has no TLS), TLS 1.2 ChaCha20-Poly1305";
        assert_eq!(tls.to_string(), phrase);
    }
}
