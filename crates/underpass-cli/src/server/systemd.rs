//! Sockets from, and notices to, the service manager (sd_listen_fds(3), sd_notify(3)).

use listenfd::ListenFd;
use sd_notify::NotifyState;

use super::sockets::Socket;
use crate::exit::Failure;

/// The sockets that this process was started with.
pub(super) fn sockets() -> Result<Vec<Socket>, Failure> {
    let mut passed = ListenFd::from_env();
    (0..passed.len())
        .map(|index| {
            let socket = socket(&mut passed, index)?;
            let prepared = socket.nonblocking();
            prepared.map(|()| socket)
        })
        .collect::<Result<_, _>>()
        .map_err(|error| Failure::failed(format_args!("socket activation: {error}")))
}

fn socket(passed: &mut ListenFd, index: usize) -> std::io::Result<Socket> {
    if let Ok(Some(listener)) = passed.take_tcp_listener(index) {
        return Ok(Socket::Tcp(listener));
    }
    match passed.take_unix_listener(index)? {
        Some(listener) => Ok(Socket::Unix(listener)),
        None => Err(std::io::ErrorKind::InvalidInput.into()),
    }
}

/// Connections are accepted from now on.
pub(super) fn ready() {
    // Without a manager there is nobody to tell.
    let _ = sd_notify::notify(&[NotifyState::Ready]);
}

/// No more are.
pub(super) fn stopping() {
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
}
