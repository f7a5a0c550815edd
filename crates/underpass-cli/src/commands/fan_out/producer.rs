//! Where a stream comes from: something that is open already, or whoever connects first.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::{TcpListener, UnixListener};
use underpass::relay::Socket;

use crate::address::Address;
use crate::exit::Failure;
use crate::place::Source;
use crate::server;
use crate::socket::{self, Listener};

pub(super) enum Producer {
    AtHand(Source),
    /// It is waited for.
    Awaited(Listener),
}

/// A producer that is there, and what it is called.
pub(super) struct Opened {
    from: From,
    pub(super) name: String,
}

enum From {
    Source(Source),
    Socket(Socket),
}

impl Producer {
    pub(super) fn at_hand(source: Source) -> Self {
        Self::AtHand(source)
    }

    pub(super) fn listen(address: &Address) -> Result<Self, Failure> {
        let listener = socket::resolve(address).and_then(|resolved| Listener::bind(&resolved));
        listener
            .map(Self::Awaited)
            .map_err(|error| Failure::failed(format_args!("--from {address}: {error}")))
    }

    /// As it is said to people.
    pub(super) fn name(&self) -> String {
        match self {
            Self::AtHand(source) => source.name(),
            Self::Awaited(listener) => format!("a producer at {}", listener.address()),
        }
    }

    /// Waits for it where that is needed, and listens no more then: a stream has one producer.
    pub(super) async fn open(self) -> io::Result<Opened> {
        match self {
            Self::AtHand(source) => Ok(Opened {
                name: source.name(),
                from: From::Source(source),
            }),
            Self::Awaited(listener) => {
                let socket = accept(&listener).await?;
                Ok(Opened {
                    name: server::peer(server::number(&socket)),
                    from: From::Socket(socket),
                })
            }
        }
    }
}

async fn accept(listener: &Listener) -> io::Result<Socket> {
    rustix::io::ioctl_fionbio(listener, true)?;
    Ok(match listener {
        Listener::Tcp(listener) => {
            let listener = TcpListener::from_std(listener.try_clone()?)?;
            let (socket, _) = listener.accept().await?;
            keep_alive(&socket)?;
            socket.into()
        }
        Listener::Unix(listener, _) => {
            let listener = UnixListener::from_std(listener.try_clone()?)?;
            listener.accept().await?.0.into()
        }
    })
}

/// A producer whose machine is gone says nothing any more, not even that: after a minute of silence it is asked, six times in
/// another, and then it has broken off (tcp(7)).
fn keep_alive(socket: impl AsFd) -> io::Result<()> {
    sockopt::set_tcp_keepidle(&socket, Duration::from_secs(60))?;
    sockopt::set_tcp_keepintvl(&socket, Duration::from_secs(10))?;
    sockopt::set_tcp_keepcnt(&socket, 6)?;
    sockopt::set_socket_keepalive(&socket, true)?;
    Ok(())
}

impl AsFd for Opened {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.from {
            From::Source(source) => source.as_fd(),
            From::Socket(socket) => socket.as_fd(),
        }
    }
}
