//! What a file descriptor refers to, asked once.

use std::fmt;
use std::net::SocketAddr;

use rustix::fd::{AsFd, AsRawFd, BorrowedFd};
use rustix::fs::{FileType, OFlags, SeekFrom};
use rustix::net::{AddressFamily, Protocol, SocketType, ipproto};

use crate::layer::Tls;
use crate::net::egress::Egress;
use crate::net::ip_address;
use crate::sys::tcp;

use file_stat::FileStat;
pub use file_system::FileSystem;

mod file_stat;
mod file_system;

/// The kinds of endpoint that differ in how bytes can be moved to or from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Kind {
    /// A regular file with a reliable size.
    File,
    /// A file that the kernel generates (`/proc`, `/sys`, cgroups, …). Its size is meaningless;
    /// only read(2) finds its end.
    PseudoFile,
    /// A block device.
    BlockDevice,
    /// A character device other than a terminal, such as `/dev/null`.
    CharDevice,
    /// A terminal.
    Terminal,
    /// A directory, which holds no bytes to move.
    Directory,
    /// A TCP socket (multipath TCP too).
    Tcp,
    /// A Unix stream socket.
    UnixStream,
    /// Another socket that carries a stream.
    OtherStream,
    /// A socket that carries messages; their boundaries would be lost.
    MessageSocket,
    /// A pipe or FIFO.
    Pipe,
    /// Memory that this process owns.
    Memory,
    /// Anything else that can be read or written, such as an eventfd.
    Other,
}

impl Kind {
    /// Whether bytes can be addressed by offset.
    pub const fn is_seekable(self) -> bool {
        matches!(self, Self::File | Self::BlockDevice | Self::Memory)
    }

    /// Whether it is a socket that carries a stream.
    pub const fn is_stream_socket(self) -> bool {
        matches!(self, Self::Tcp | Self::UnixStream | Self::OtherStream)
    }

    /// The kind in a few words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::PseudoFile => "pseudo-file",
            Self::BlockDevice => "block device",
            Self::CharDevice => "character device",
            Self::Terminal => "terminal",
            Self::Directory => "directory",
            Self::Tcp => "tcp socket",
            Self::UnixStream => "unix stream socket",
            Self::OtherStream => "stream socket",
            Self::MessageSocket => "message socket",
            Self::Pipe => "pipe",
            Self::Memory => "memory",
            Self::Other => "descriptor of another kind",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A source or a sink, as [`plan`](crate::plan::plan) sees it: plain data, no descriptor.
///
/// [`Endpoint::of`] asks the kernel; [`Endpoint::assumed`] makes one up, for plans of things that
/// are not open.
///
/// ```
/// use underpass::{Endpoint, Kind};
///
/// let null = std::fs::File::open("/dev/null")?;
/// assert_eq!(Endpoint::of(&null)?.kind, Kind::CharDevice);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Endpoint {
    /// What it is.
    pub kind: Kind,
    /// Open for reading.
    pub readable: bool,
    /// Open for writing.
    pub writable: bool,
    /// `O_APPEND` is set: writes go to the end, and `copy_file_range` and `sendfile` refuse such a
    /// sink.
    pub append: bool,
    /// `O_NONBLOCK` is set.
    pub nonblocking: bool,
    /// `O_DIRECT` is set: reads bypass the page cache.
    pub direct: bool,
    /// Files: the file system they are on.
    pub file_system: Option<FileSystem>,
    /// Files, block devices and memory: the size in bytes, when it was asked for.
    pub size: Option<u64>,
    /// Files: there are holes (fewer blocks are allocated than the size needs), and the file system
    /// reports them reliably.
    pub holes: bool,
    /// TCP: an upper-layer protocol (kernel TLS) transforms the bytes on the way out.
    pub ulp: bool,
    /// The TLS that is on it, and who encrypts. Not asked by [`Endpoint::of`]: only the
    /// [`Layer`](crate::Layer) knows.
    pub tls: Option<Tls>,
    /// TCP sinks: the interface the bytes leave by. Not asked by [`Endpoint::of`], see
    /// [`Egress::of`].
    pub egress: Option<Egress>,
}

impl Endpoint {
    /// An endpoint of `kind`, readable and writable, with nothing else known of it.
    pub const fn assumed(kind: Kind) -> Self {
        Self {
            kind,
            readable: true,
            writable: true,
            append: false,
            nonblocking: false,
            direct: false,
            file_system: None,
            size: None,
            holes: false,
            ulp: false,
            tls: None,
            egress: None,
        }
    }

    /// The same endpoint with TLS on it.
    #[must_use]
    pub fn with_tls(mut self, tls: impl Into<Option<Tls>>) -> Self {
        self.tls = tls.into();
        self
    }

    /// TLS is on it, and this process encrypts and decrypts.
    pub(crate) fn is_tls_in_process(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| !tls.is_in_kernel())
    }

    /// TLS is on it, and the kernel encrypts and decrypts.
    pub(crate) fn is_tls_in_kernel(&self) -> bool {
        self.tls.as_ref().is_some_and(Tls::is_in_kernel)
    }

    /// Asks the kernel what `fd` is. Nothing is read, written or moved.
    ///
    /// # Errors
    /// The errors of fcntl(2), fstat(2), fstatfs(2) or getsockopt(2).
    pub fn of(fd: impl AsFd) -> std::io::Result<Self> {
        let fd = fd.as_fd();
        let mut endpoint = Self::of_flags(rustix::fs::fcntl_getfl(fd)?);
        endpoint.describe(fd)?;
        Ok(endpoint)
    }

    /// As [`of`](Self::of), with fewer calls if `fd` is a socket.
    pub(crate) fn of_sink(fd: BorrowedFd<'_>) -> std::io::Result<Self> {
        let mut endpoint = Self::of_flags(rustix::fs::fcntl_getfl(fd)?);
        match rustix::net::sockopt::socket_protocol(fd) {
            Ok(protocol) => endpoint.describe_socket(fd, protocol)?,
            // ENOTSOCK; ENOSYS or EPERM of a sandbox that does not allow the call.
            Err(_) => endpoint.describe(fd)?,
        }
        Ok(endpoint)
    }

    /// What the flags of the open file say.
    fn of_flags(flags: OFlags) -> Self {
        let mode = flags & OFlags::RWMODE;
        let path_only = flags.contains(OFlags::PATH);
        Self {
            readable: !path_only && (mode == OFlags::RDONLY || mode == OFlags::RDWR),
            writable: !path_only && (mode == OFlags::WRONLY || mode == OFlags::RDWR),
            append: flags.contains(OFlags::APPEND),
            nonblocking: flags.contains(OFlags::NONBLOCK),
            direct: flags.contains(OFlags::DIRECT),
            ..Self::assumed(Kind::Other)
        }
    }

    fn describe(&mut self, fd: BorrowedFd<'_>) -> std::io::Result<()> {
        let stat = FileStat::of(fd)?;
        match stat.kind {
            FileType::RegularFile => self.describe_file(fd, &stat)?,
            FileType::Directory => self.kind = Kind::Directory,
            FileType::BlockDevice => {
                self.kind = Kind::BlockDevice;
                self.size = Some(device_size(fd)?);
            }
            FileType::CharacterDevice if rustix::termios::isatty(fd) => {
                self.kind = Kind::Terminal;
            }
            FileType::CharacterDevice => self.kind = Kind::CharDevice,
            FileType::Fifo => self.kind = Kind::Pipe,
            FileType::Socket => {
                let protocol = rustix::net::sockopt::socket_protocol(fd)?;
                self.describe_socket(fd, protocol)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// TCP is known by two answers: its protocol, and that it knows `TCP_ULP`. Other families use
    /// the same numbers of protocols, but none of them knows that option.
    fn describe_socket(
        &mut self,
        fd: BorrowedFd<'_>,
        protocol: Option<Protocol>,
    ) -> std::io::Result<()> {
        let may_be_tcp = matches!(protocol, Some(ipproto::TCP | ipproto::MPTCP));
        match may_be_tcp.then(|| tcp::has_ulp(fd)) {
            Some(Ok(ulp)) => (self.kind, self.ulp) = (Kind::Tcp, ulp),
            _ => self.kind = socket_kind(fd, may_be_tcp)?,
        }
        Ok(())
    }

    /// A file that would be made in the open directory `directory`.
    ///
    /// # Errors
    /// The errors of fstat(2) or fstatfs(2); `NotADirectory` for anything else.
    pub fn of_new_file_in(directory: impl AsFd) -> std::io::Result<Self> {
        let fd = directory.as_fd();
        let stat = rustix::fs::fstat(fd)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Err(std::io::ErrorKind::NotADirectory.into());
        }
        Ok(Self {
            file_system: Some(FileSystem::of(fd, stat.st_dev)?),
            size: Some(0),
            ..Self::assumed(Kind::File)
        })
    }

    fn describe_file(&mut self, fd: BorrowedFd<'_>, stat: &FileStat) -> std::io::Result<()> {
        let file_system = FileSystem::of_file(fd, stat)?;
        self.kind = if file_system.is_pseudo() {
            Kind::PseudoFile
        } else {
            Kind::File
        };
        self.size = (self.kind == Kind::File).then_some(stat.size);
        self.holes = file_system.knows_holes() && stat.allocated < stat.size;
        self.file_system = Some(file_system);
        Ok(())
    }
}

/// The size of a block device. `st_size` is 0 for devices, so this seeks to the end and back.
fn device_size(fd: BorrowedFd<'_>) -> std::io::Result<u64> {
    let here = rustix::fs::tell(fd)?;
    let end = rustix::fs::seek(fd, SeekFrom::End(0))?;
    rustix::fs::seek(fd, SeekFrom::Start(here))?;
    Ok(end)
}

fn socket_kind(fd: BorrowedFd<'_>, may_be_tcp: bool) -> std::io::Result<Kind> {
    if rustix::net::sockopt::socket_type(fd)? != SocketType::STREAM {
        return Ok(Kind::MessageSocket);
    }
    Ok(match rustix::net::sockopt::socket_domain(fd)? {
        AddressFamily::INET | AddressFamily::INET6 if may_be_tcp => Kind::Tcp,
        AddressFamily::UNIX => Kind::UnixStream,
        _ => Kind::OtherStream,
    })
}

/// What to call a descriptor in a report: the address of a TCP socket's peer; otherwise the link in
/// `/proc/self/fd`, which for a file is its path (proc(5)).
pub(crate) fn name_of(fd: BorrowedFd<'_>, kind: Kind) -> String {
    if kind == Kind::Tcp
        && let Some(address) = peer_of(fd)
    {
        return address.to_string();
    }
    let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
    match std::fs::read_link(&link) {
        Ok(path) => path.to_string_lossy().into_owned(),
        Err(_) => format!("descriptor {}", fd.as_raw_fd()),
    }
}

/// The address of an IP socket's peer.
pub(crate) fn peer_of(fd: BorrowedFd<'_>) -> Option<SocketAddr> {
    rustix::net::getpeername(fd)
        .ok()
        .flatten()
        .and_then(ip_address)
}

#[cfg(test)]
mod tests;
