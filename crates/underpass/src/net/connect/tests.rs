//! Tests both drivers with one table of peers.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;

use rustix::fd::{AsFd, OwnedFd};
use rustix::net::sockopt;

use super::*;

/// Connects with the synchronous driver, and with tokio's.
fn each(to: &Peer) -> Vec<io::Result<OwnedFd>> {
    #[cfg_attr(not(feature = "tokio"), allow(unused_mut))]
    let mut outcomes = vec![connect(to, Some(PATIENCE), None)];
    #[cfg(feature = "tokio")]
    outcomes.push({
        let runtime = ::tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let socket = ::tokio::time::timeout(PATIENCE, connect_async(to)).await;
            socket?.map(|socket| socket.as_fd().try_clone_to_owned())?
        })
    });
    outcomes
}

/// A test that hangs fails after this time.
const PATIENCE: Duration = Duration::from_secs(60);

/// A listener at `ip`, and its address.
fn listener(ip: [u8; 4]) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::from(ip), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A listener whose queue is full, so that the kernel drops new connections; the sockets that fill
/// the queue; and the listener's address.
fn swallowing() -> (TcpListener, Vec<OwnedFd>, SocketAddr) {
    let (listener, address) = listener([127, 0, 0, 1]);
    rustix::net::listen(&listener, 0).unwrap();
    let peer = Peer::Tcp(vec![address]);
    let short = Some(Duration::from_millis(200));
    let filling = std::iter::from_fn(|| connect(&peer, short, None).ok()).collect();
    (listener, filling, address)
}

fn refusing() -> SocketAddr {
    listener([127, 0, 0, 1]).1
}

fn answering(socket: &OwnedFd) -> SocketAddr {
    let name = rustix::net::getpeername(socket).unwrap();
    SocketAddr::try_from(name.unwrap()).unwrap()
}

#[test]
fn pitfall_30_an_address_that_swallows_or_refuses_leaves_the_next_its_turn() {
    let (_full, _filling, swallowed) = swallowing();
    let (_listener, good) = listener([127, 0, 0, 1]);
    for first in [swallowed, refusing()] {
        for addresses in [
            vec![first, good],
            vec![first, first, good],
            vec![good, first],
        ] {
            for outcome in each(&Peer::Tcp(addresses.clone())) {
                assert_eq!(answering(&outcome.unwrap()), good, "{addresses:?}");
            }
        }
    }
}

#[test]
fn a_refusal_is_told_before_what_else_failed() {
    let unreachable = "[2001:db8::1]:9".parse().unwrap();
    for addresses in [vec![refusing()], vec![refusing(), unreachable]] {
        for outcome in each(&Peer::Tcp(addresses.clone())) {
            let error = outcome.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{error}");
        }
    }
    for outcome in each(&Peer::Tcp(Vec::new())) {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
    }
}

#[test]
fn what_swallows_is_left_after_the_timeout_and_when_cancelled() {
    let (_full, _filling, swallowed) = swallowing();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("full");
    let full = UnixListener::bind(&path).unwrap();
    rustix::net::listen(&full, 0).unwrap();
    let peers = [Peer::Tcp(vec![swallowed]), Peer::Unix(path)];
    let _filling = connect(&peers[1], None, None).unwrap();
    for peer in peers {
        let timeout = Some(Duration::from_millis(50));
        let error = connect(&peer, timeout, None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{peer:?}");
        let cancel = Cancel::new().unwrap();
        cancel.cancel();
        let error = connect(&peer, None, Some(&cancel)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Interrupted, "{peer:?}");
    }
}

#[test]
fn pitfall_29_a_full_backlog_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("full");
    let listener = UnixListener::bind(&path).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let peer = Peer::Unix(path);
    let filling = connect(&peer, None, None).unwrap();
    let accepting = std::thread::spawn(move || {
        // More than will come: the loop ends with the error of a closed listener.
        let mut accepted = Vec::new();
        for _ in 0..(if cfg!(feature = "tokio") { 3 } else { 2 }) {
            std::thread::sleep(Duration::from_millis(5));
            accepted.push(listener.accept().unwrap());
        }
    });
    for outcome in each(&peer) {
        outcome.unwrap();
    }
    accepting.join().unwrap();
    drop(filling);
}

#[test]
fn what_is_connected_is_blocking_and_kept_alive() {
    let (_listener, address) = listener([127, 0, 0, 1]);
    for (nth, outcome) in each(&Peer::Tcp(vec![address])).into_iter().enumerate() {
        let socket = outcome.unwrap();
        assert!(sockopt::socket_keepalive(&socket).unwrap());
        assert_eq!(
            sockopt::tcp_keepidle(&socket).unwrap(),
            Duration::from_secs(60)
        );
        let flags = rustix::fs::fcntl_getfl(&socket).unwrap();
        let nonblocking = flags.contains(rustix::fs::OFlags::NONBLOCK);
        assert_eq!(nonblocking, nth == 1, "tokio's are not blocking");
    }
}
