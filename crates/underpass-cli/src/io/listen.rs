//! Listening sockets, for servers and for commands that take one connection.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};

use rustix::fs::Gid;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use super::tls::TlsServer;
use crate::values::{Address, SocketAccess};

/// Limit on connections that wait to be accepted; the kernel caps it at net.core.somaxconn. The
/// standard library's limit is too low for bursts.
const BACKLOG: i32 = 4096;

/// With port 0, how many ports are tried until one is free in both families.
const PORT_TRIES: usize = 16;

/// A listening socket, marked `O_NONBLOCK`.
pub(crate) enum ListeningSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
    /// Its connections have TLS.
    Tls(TcpListener, TlsServer),
}

/// Listens at an address, with one socket for each IP address of a host name. The path of a Unix
/// socket is removed when the result is dropped. `all` are the addresses that are listened at
/// together.
pub(crate) fn bind(
    address: &Address,
    all: &[Address],
    access: SocketAccess,
) -> io::Result<(Vec<ListeningSocket>, Option<SocketPath>)> {
    let (sockets, path): (Vec<_>, _) = match address {
        Address::Tcp(host) => {
            let listeners = tcp(host, leaves_ipv4(address, all))?.into_iter();
            (listeners.map(ListeningSocket::Tcp).collect(), None)
        }
        Address::Port(port) => (vec![ListeningSocket::Tcp(everywhere(*port)?)], None),
        Address::Tls(tls) => return bind(tls.below(), all, access),
        Address::Unix(path) => {
            let (listener, path) = unix(path, access)?;
            (vec![ListeningSocket::Unix(listener)], Some(path))
        }
    };
    for socket in &sockets {
        socket.set_nonblocking()?;
    }
    Ok((sockets, path))
}

/// Whether `address` is `[::]:PORT` beside `0.0.0.0:PORT`. Then each of the two is for its own
/// address family.
fn leaves_ipv4(address: &Address, all: &[Address]) -> bool {
    let addr = |address: &Address| match address {
        Address::Tcp(host) => host.parse::<SocketAddr>().ok(),
        Address::Tls(tls) => match tls.below() {
            Address::Tcp(host) => host.parse().ok(),
            _ => None,
        },
        _ => None,
    };
    addr(address).is_some_and(|own| {
        let other = SocketAddr::from((Ipv4Addr::UNSPECIFIED, own.port()));
        own.ip() == Ipv6Addr::UNSPECIFIED && all.iter().any(|it| addr(it) == Some(other))
    })
}

/// A clause that says what to do about an error of [`bind`].
pub(crate) fn advice(address: &Address, error: &io::Error) -> &'static str {
    match (error.kind(), address) {
        (ErrorKind::NotFound, Address::Unix(_)) => "; there is no directory for it",
        (ErrorKind::AddrNotAvailable, _) => {
            "; this machine does not have the address: :PORT listens at all that it has"
        }
        (ErrorKind::AddrInUse, Address::Unix(_)) => {
            "; something else is at this path: choose another"
        }
        (ErrorKind::AddrInUse, _) => {
            "; another program listens there: stop it, or choose another port"
        }
        (ErrorKind::PermissionDenied, Address::Tcp(_) | Address::Port(_) | Address::Tls(_)) => {
            "; ports below 1024 are root's: choose another, or let systemd open it (see packaging)"
        }
        _ => "",
    }
}

impl ListeningSocket {
    /// The same socket, whose connections have TLS. A Unix socket stays as it is.
    pub(crate) fn with_tls(self, server: &TlsServer) -> Self {
        match self {
            Self::Tcp(listener) | Self::Tls(listener, _) => Self::Tls(listener, server.clone()),
            Self::Unix(listener) => Self::Unix(listener),
        }
    }

    pub(crate) fn set_nonblocking(&self) -> io::Result<()> {
        Ok(rustix::io::ioctl_fionbio(self, true)?)
    }

    /// The same socket for another thread.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(listener) => Self::Tcp(listener.try_clone()?),
            Self::Unix(listener) => Self::Unix(listener.try_clone()?),
            Self::Tls(listener, server) => Self::Tls(listener.try_clone()?, server.clone()),
        })
    }

    /// The IP address and port that it is bound to; a Unix socket has none.
    pub(crate) fn ip_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) | Self::Tls(listener, _) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// The path that it is bound to; a TCP socket has none.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        match self {
            Self::Tcp(_) | Self::Tls(..) => None,
            Self::Unix(listener) => {
                let address = listener.local_addr().ok()?;
                address.as_pathname().map(PathBuf::from)
            }
        }
    }
}

impl AsFd for ListeningSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) | Self::Tls(listener, _) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

/// The IP addresses of `HOST:PORT`, each once. An address may name its interface:
/// `[fe80::1%eth0]:80`.
pub(crate) fn look_up(address: &str) -> io::Result<Vec<SocketAddr>> {
    let zoned = address
        .strip_prefix('[')
        .and_then(|it| it.rsplit_once("]:"));
    let found: Vec<_> = match zoned.filter(|(host, _)| host.contains('%')) {
        // The standard library parses interfaces only by number; the resolver knows their names,
        // too.
        Some((host, port)) => {
            let port: u16 = port.parse().map_err(|_| ErrorKind::InvalidInput)?;
            let found = (host, port).to_socket_addrs();
            found
                .map_err(|error| without_interface(host, error))?
                .collect()
        }
        None => address.to_socket_addrs()?.collect(),
    };
    let mut addrs = Vec::new();
    for addr in found {
        if !addrs.contains(&addr) {
            addrs.push(addr);
        }
    }
    if addrs.is_empty() {
        return Err(io::Error::other("the name has no address"));
    }
    if addrs.iter().all(lacks_interface) {
        return Err(io::Error::other(
            "a link-local address needs its interface, as in [fe80::1%eth0]:8080",
        ));
    }
    Ok(addrs)
}

/// Says so if the interface in an address is what was not found.
fn without_interface(host: &str, error: io::Error) -> io::Error {
    let (_, interface) = host.rsplit_once('%').unwrap_or_default();
    let all = Path::new("/sys/class/net");
    if !all.is_dir() || all.join(interface).exists() {
        return error;
    }
    io::Error::other(format!(
        "this machine has no network interface {interface:?}; ip link shows them"
    ))
}

/// A link-local address is one for each interface, so the kernel takes it only with its interface.
fn lacks_interface(addr: &SocketAddr) -> bool {
    matches!(addr, SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() && v6.scope_id() == 0)
}

/// Listens at every IP address of `HOST:PORT`, on one port. An address that this machine lacks is
/// skipped if there is another; a machine without IPv6 lacks `::1`.
fn tcp(address: &str, v6_only: bool) -> io::Result<Vec<TcpListener>> {
    let addrs = look_up(address)?;
    for _ in 1..PORT_TRIES {
        match all(&addrs, v6_only) {
            // The port that the kernel chose for one address is taken on another.
            Err(error) if error.kind() == ErrorKind::AddrInUse && addrs[0].port() == 0 => {}
            done => return done,
        }
    }
    all(&addrs, v6_only)
}

fn all(addrs: &[SocketAddr], v6_only: bool) -> io::Result<Vec<TcpListener>> {
    let (mut listeners, mut port) = (Vec::<TcpListener>::new(), None);
    let mut missing = io::Error::from(ErrorKind::AddrNotAvailable);
    for mut addr in addrs.iter().copied() {
        addr.set_port(port.unwrap_or(addr.port()));
        match one(addr, v6_only || addrs.len() > 1) {
            Ok(listener) => {
                port = Some(listener.local_addr()?.port());
                listeners.push(listener);
            }
            Err(error) if is_missing(&error) => missing = error,
            Err(error) => return Err(error),
        }
    }
    if listeners.is_empty() {
        return Err(missing);
    }
    Ok(listeners)
}

/// Listens on every address of this machine: with one dual-stack socket, or on IPv4 alone if that
/// fails.
fn everywhere(port: u16) -> io::Result<TcpListener> {
    // Independent of net.ipv6.bindv6only.
    match one((Ipv6Addr::UNSPECIFIED, port).into(), false) {
        Err(error) if error.kind() != ErrorKind::AddrInUse => {
            one((Ipv4Addr::UNSPECIFIED, port).into(), false)
        }
        bound => bound,
    }
}

/// Whether this machine lacks the address or its whole family.
fn is_missing(error: &io::Error) -> bool {
    let missing = [Errno::ADDRNOTAVAIL, Errno::AFNOSUPPORT];
    Errno::from_io_error(error).is_some_and(|errno| missing.contains(&errno))
}

/// Listens at one address. With `v6_only` an IPv6 socket for every address leaves IPv4 to another
/// socket.
fn one(addr: SocketAddr, v6_only: bool) -> io::Result<TcpListener> {
    let family = match addr {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket: OwnedFd =
        rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    if addr.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, v6_only)?;
    }
    // The standard library does this too, so that connections in TIME_WAIT do not block the port.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &addr)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// Listens at a path. A socket file that nobody listens at is removed first.
fn unix(path: &Path, access: SocketAccess) -> io::Result<(UnixListener, SocketPath)> {
    remove_stale(path);
    let flags = SocketFlags::CLOEXEC;
    let (family, kind) = (AddressFamily::UNIX, SocketType::STREAM);
    let socket: OwnedFd = rustix::net::socket_with(family, kind, flags, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    let socket_path = SocketPath::of(path);
    // Nobody can connect before listen(2), so nobody can who may not.
    if let Some(group) = access.group {
        rustix::fs::chown(path, None, Some(Gid::from_raw(group)))?;
    }
    if let Some(mode) = access.mode {
        rustix::fs::chmod(path, mode)?;
    }
    rustix::net::listen(&socket, BACKLOG)?;
    Ok((socket.into(), socket_path))
}

/// The address by which this machine reaches other machines. Connecting a datagram socket consults
/// the routing table and sends nothing.
pub(crate) fn outward() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // TEST-NET-1 (RFC 5737) belongs to nobody.
    socket.connect(("192.0.2.1", 9)).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
}

/// The path of a Unix socket. Removed when this is dropped, unless another process has put its own
/// socket there.
pub(crate) struct SocketPath {
    path: PathBuf,
    file: Option<(u64, u64)>,
}

impl SocketPath {
    fn of(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            file: file_at(path),
        }
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        if self.file.is_some() && file_at(&self.path) == self.file {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Device and inode of the file at `path`.
fn file_at(path: &Path) -> Option<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Removes a socket file that nobody listens at: it would keep the address in use for ever.
fn remove_stale(path: &Path) {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket());
    // This is asked with a datagram socket. A listener for streams refuses it for its type
    // (EPROTOTYPE, unix(7)), and does not get a connection that nobody uses.
    let refused = |error: io::Error| error.kind() == ErrorKind::ConnectionRefused;
    let asked = UnixDatagram::unbound().and_then(|socket| socket.connect(path));
    if is_socket && asked.is_err_and(refused) {
        let _ = std::fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_name_its_interface() {
        for zone in ["lo", "1"] {
            let found = look_up(&format!("[fe80::1%{zone}]:80")).unwrap();
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].to_string(), "[fe80::1%1]:80");
        }
        assert!(look_up("[fe80::1%there-is-none]:80").is_err());
        assert!(look_up("[fe80::1%lo]:x").is_err());
        assert_eq!(look_up("[::1]:80").unwrap(), ["[::1]:80".parse().unwrap()]);
    }

    #[test]
    fn several_addresses_share_the_port_that_was_chosen() {
        let addrs = ["127.0.0.1:0", "127.0.0.2:0"].map(|it| it.parse().unwrap());
        let listeners = all(&addrs, false).unwrap();
        let ports = listeners.iter().map(|it| it.local_addr().unwrap().port());
        let ports: Vec<_> = ports.collect();
        assert!(
            ports.len() == 2 && ports[0] == ports[1] && ports[0] > 0,
            "{ports:?}"
        );
    }

    #[test]
    fn addresses_that_this_machine_lacks_are_passed_over() {
        // TEST-NET-1 (RFC 5737) belongs to nobody.
        let addrs = ["192.0.2.1:0", "127.0.0.1:0"].map(|it| it.parse().unwrap());
        assert_eq!(all(&addrs, false).unwrap().len(), 1);
        assert!(all(&addrs[..1], false).is_err());
    }
}
