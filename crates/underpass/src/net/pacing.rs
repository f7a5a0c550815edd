//! Pacing, and the connections that do better without it.
//!
//! BBR spreads the packets of a connection over time, and TCP arms a timer for each of them. That
//! keeps queues in the network short. Between two sockets of one host there is no such queue, and
//! the timers only cost: 1 GiB over loopback took twice the CPU time (DESIGN.md, "Why do
//! connections within one host not use BBR?").

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::sockopt;

use super::ip_address;

/// Takes a TCP connection out of pacing if both of its ends are on this host: a connection under
/// BBR then uses Reno, which every process may choose (`TCP_CONGESTION`, tcp(7)). Other connections
/// stay as they are. Returns whether it was changed.
///
/// Connections of [`connect`](crate::connect::connect()) and of
/// [`accept::Listener`](crate::accept::Listener) are handled already.
///
/// # Errors
/// `socket` is not a connected TCP socket, or the kernel has no Reno.
///
/// ```
/// use std::net::{TcpListener, TcpStream};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let socket = TcpStream::connect(listener.local_addr()?)?;
/// underpass::avoid_local_pacing(&socket)?;
/// assert!(!underpass::avoid_local_pacing(&socket)?, "nothing is left to change");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn avoid_local_pacing(socket: impl AsFd) -> io::Result<bool> {
    let socket = socket.as_fd();
    let paced = sockopt::tcp_congestion(socket)?.starts_with("bbr") && is_local(socket)?;
    if paced {
        sockopt::set_tcp_congestion(socket, "reno")?;
    }
    Ok(paced)
}

/// Whether the peer is on this host: it has the same address, or a loopback address.
fn is_local(socket: BorrowedFd<'_>) -> io::Result<bool> {
    let canonical = |name: std::net::SocketAddr| name.ip().to_canonical();
    let peer = rustix::net::getpeername(socket)?.and_then(ip_address);
    let Some(peer) = peer.map(canonical) else {
        return Ok(false);
    };
    if peer.is_loopback() {
        return Ok(true);
    }
    let own: Option<IpAddr> = ip_address(rustix::net::getsockname(socket)?).map(canonical);
    Ok(own == Some(peer))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// Both ends of a connection over `ip`, the connecting one under `congestion`; `None` if this
    /// kernel or this process cannot use that.
    fn pair(ip: &str, congestion: &str) -> Option<(TcpStream, TcpStream)> {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let far = listener.accept().unwrap().0;
        sockopt::set_tcp_congestion(&near, congestion).ok()?;
        Some((near, far))
    }

    #[test]
    fn a_paced_connection_of_this_host_is_taken_out_of_pacing_and_no_other() {
        for ip in ["127.0.0.1", "127.8.8.8"] {
            let Some((near, _far)) = pair(ip, "bbr") else {
                // Not every kernel that is required to run all tests has BBR.
                eprintln!("skipped: this kernel has no BBR, or not for this user");
                return;
            };
            assert!(avoid_local_pacing(&near).unwrap());
            assert_eq!(sockopt::tcp_congestion(&near).unwrap(), "reno");
            assert!(!avoid_local_pacing(&near).unwrap());
        }
    }

    #[test]
    fn what_is_not_paced_stays_as_it_is() {
        let (near, _far) = pair("127.0.0.1", "reno").unwrap();
        assert!(!avoid_local_pacing(&near).unwrap());
        assert_eq!(sockopt::tcp_congestion(&near).unwrap(), "reno");
    }

    #[test]
    fn other_sockets_are_an_error() {
        let (unix, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        avoid_local_pacing(&unix).unwrap_err();
    }
}
