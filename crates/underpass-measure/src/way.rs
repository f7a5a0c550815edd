//! The ways to move a file to a socket, one per file. None is timed or counted here.

use std::fmt;
use std::fs::File;
use std::io;
use std::net::TcpStream;
use std::ops::AddAssign;
use std::str::FromStr;
use std::sync::Arc;

use underpass::receipt::CryptoPlace;
use underpass::{Cancel, Route};
use underpass_tls::Session;

mod engine;
mod mmap_write;
mod read_write;
mod sendfile;
mod splice;
mod tls_read_write;

/// Bytes that one call asks for: the buffer of the classic loop. It is the same for every way
/// except those that the engine carries out, so that numbers of calls can be compared.
pub(crate) const CALL: usize = 64 << 10;

/// A way to move a file to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Way {
    /// read(2) into a buffer, and write(2) from it: the classic loop, S1.
    ReadWrite,
    /// write(2) from a mapping of the file.
    MmapWrite,
    /// sendfile(2): S3, or S2 if the interface does not gather.
    Sendfile,
    /// splice(2) into a pipe and out of it.
    Splice,
    /// send(2) with `MSG_ZEROCOPY` from a mapping of the file.
    SendZerocopy,
    /// What `underpass send` does: the route and call sizes that its plan chooses.
    Underpass,
    /// read(2) into a buffer, TLS from it into another one in user space, and send(2): what web
    /// servers do without TLS in the kernel.
    TlsReadWrite,
    /// TLS in user space from a mapping of the file straight into the outgoing buffer, and send(2):
    /// the route `seal`, which `underpass` takes without TLS in the kernel.
    TlsSeal,
    /// sendfile(2), and TLS in the kernel, which `underpass` takes where it can.
    TlsSendfile,
}

/// The first `bytes` of a file, and the socket to send them to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job<'a> {
    pub(crate) file: &'a File,
    pub(crate) bytes: u64,
    pub(crate) socket: &'a TcpStream,
    /// The TLS on the socket; `None` for ways without.
    pub(crate) session: Option<&'a Arc<Session>>,
    /// Ends a way that may have to wait for more than room in the socket.
    pub(crate) cancel: Option<&'a Cancel>,
}

/// What a way itself reports about its cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SendReport {
    /// Number of system calls it made.
    pub(crate) calls: u64,
    /// Bytes that the kernel said it copied after all (`SO_EE_CODE_ZEROCOPY_COPIED`); `None` if the
    /// kernel does not say.
    pub(crate) copied: Option<u64>,
    /// Copies by the CPU between kernel and user space, as documented for the way.
    pub(crate) expected: UserCopies,
}

impl AddAssign for SendReport {
    /// Adds the cost of another file that was sent by the same way.
    fn add_assign(&mut self, more: Self) {
        self.calls += more.calls;
        self.copied = more.copied.map(|copied| self.copied.unwrap_or(0) + copied);
        self.expected = more.expected;
    }
}

/// Copies between kernel and user space, per byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct UserCopies {
    pub(crate) kernel_to_user: u8,
    pub(crate) user_to_socket: u8,
}

impl UserCopies {
    /// What is sent is in memory, but was not read into it.
    const TO_SOCKET: Self = Self {
        kernel_to_user: 0,
        user_to_socket: 1,
    };

    /// Both copies: the program has the bytes in a buffer of its own.
    const BOTH: Self = Self {
        kernel_to_user: 1,
        user_to_socket: 1,
    };
}

/// Sends the file once.
pub(crate) type Send<'a> = Box<dyn FnMut() -> io::Result<SendReport> + 'a>;

impl Way {
    /// All ways, in the order of the tables.
    pub const ALL: [Self; 9] = [
        Self::ReadWrite,
        Self::MmapWrite,
        Self::Sendfile,
        Self::Splice,
        Self::SendZerocopy,
        Self::Underpass,
        Self::TlsReadWrite,
        Self::TlsSeal,
        Self::TlsSendfile,
    ];

    /// The name in tables, options and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadWrite => "read-write",
            Self::MmapWrite => "mmap-write",
            Self::Sendfile => "sendfile",
            Self::Splice => "splice",
            Self::SendZerocopy => "send-zerocopy",
            Self::Underpass => "underpass",
            Self::TlsReadWrite => "tls-read-write",
            Self::TlsSeal => "tls-seal",
            Self::TlsSendfile => "tls-sendfile",
        }
    }

    /// Where the bytes are encrypted; `None` for ways without TLS.
    pub fn encrypts(self) -> Option<CryptoPlace> {
        match self {
            Self::TlsReadWrite | Self::TlsSeal => Some(CryptoPlace::User),
            Self::TlsSendfile => Some(CryptoPlace::Kernel),
            _ => None,
        }
    }

    /// Makes what can be kept from one file to the next, such as buffers and pipes. Everything else
    /// is part of sending.
    pub(crate) fn prepare(self, job: Job<'_>) -> io::Result<Send<'_>> {
        Ok(match self {
            Self::ReadWrite => read_write::prepare(job),
            Self::MmapWrite => mmap_write::prepare(job),
            Self::Sendfile => sendfile::prepare(job),
            Self::Splice => splice::prepare(job)?,
            Self::SendZerocopy => engine::send_zerocopy(job),
            Self::Underpass => engine::own_choice(job),
            Self::TlsReadWrite => tls_read_write::prepare(job, job.session()?),
            Self::TlsSeal => engine::tls(job, job.session()?, Route::Seal),
            Self::TlsSendfile => engine::tls(job, job.session()?, Route::Sendfile),
        })
    }
}

impl<'a> Job<'a> {
    /// The TLS on the socket.
    fn session(&self) -> io::Result<&'a Arc<Session>> {
        let session = self.session;
        session.ok_or_else(|| io::Error::other("there is no TLS on this connection"))
    }

    /// The length of the call at position `at`.
    fn call(&self, at: u64) -> usize {
        (self.bytes - at).min(CALL as u64) as usize
    }
}

/// The error for a file that is shorter than it was made.
fn ended_early() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the test file ended early")
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Way {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|way| way.name() == text)
            .ok_or_else(|| format!("{text:?} is not a way; these are: {}", known()))
    }
}
