//! Sockets from, and notices to, the service manager (sd_listen_fds(3), sd_notify(3)).

use std::io;

use listenfd::ListenFd;
use rustix::net::sockopt;
use sd_notify::NotifyState;

use crate::exit::Failure;
use crate::io::listen::ListeningSocket;

/// The sockets that the service manager passed to this process.
pub(super) fn sockets() -> Result<Vec<ListeningSocket>, Failure> {
    let mut passed = ListenFd::from_env();
    (0..passed.len())
        .map(|index| socket(&mut passed, index))
        .collect::<Result<_, _>>()
        .map_err(|error| Failure::failed(format_args!("socket activation: {error}")))
}

fn socket(passed: &mut ListenFd, index: usize) -> io::Result<ListeningSocket> {
    let socket = if let Ok(Some(listener)) = passed.take_tcp_listener(index) {
        ListeningSocket::Tcp(listener)
    } else {
        let listener = passed.take_unix_listener(index);
        ListeningSocket::Unix(listener.ok().flatten().ok_or_else(|| {
            let which = FIRST + index;
            io::Error::other(format!(
                "descriptor {which} is not a stream socket: the socket unit needs ListenStream="
            ))
        })?)
    };
    if !sockopt::socket_acceptconn(&socket)? {
        return Err(io::Error::other(
            "it was given a connection instead of a listening socket: the socket unit has Accept=yes, and \
             needs Accept=no",
        ));
    }
    socket.set_nonblocking()?;
    Ok(socket)
}

/// `SD_LISTEN_FDS_START`
const FIRST: usize = 3;

/// Tells the service manager that connections are accepted.
pub(super) fn ready() {
    // Without a service manager, this does nothing.
    let _ = sd_notify::notify(&[NotifyState::Ready]);
}

/// Tells the service manager that files are being reopened and read again, until [`ready`] is
/// called.
pub(super) fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        let _ = sd_notify::notify(&[NotifyState::Reloading, now]);
    }
}

/// Tells the service manager that no more connections are accepted.
pub(super) fn stopping() {
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
}
