//! One connection: a target for it, a word on who it is, and then bytes.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::net::sockopt;
use underpass::relay::{Ended, Settings, Socket};

use super::proxy_header;
use super::targets::Targets;
use crate::args::ProxyHeader;
use crate::report;

/// What all connections are joined by.
pub(super) struct Connector {
    pub(super) targets: Targets,
    pub(super) settings: Settings,
    pub(super) connect_timeout: Duration,
    pub(super) proxy_header: Option<ProxyHeader>,
    /// Tell of every connection that ended early.
    pub(super) verbose: bool,
}

impl Connector {
    pub(super) async fn relay(&self, near: Socket) {
        let peer = peer(&near);
        let far = match self.open(&near).await {
            Ok(far) => far,
            Err(error) => {
                // To close it in the ordinary way would be to say that the target had nothing to say.
                let _ = sockopt::set_socket_linger(&near, Some(Duration::ZERO));
                return self.tell(peer, &error);
            }
        };
        let relayed = underpass::relay(near, far, &self.settings).await;
        match relayed.ended {
            Ended::Closed => {}
            Ended::Reset { raw_os_error, .. } => {
                self.tell(peer, &io::Error::from_raw_os_error(raw_os_error));
            }
            _ => self.tell(peer, &"nothing moved for too long"),
        }
    }

    /// A connection to a target that knows who it is for.
    async fn open(&self, near: &Socket) -> io::Result<Socket> {
        let far = self.targets.connect(self.connect_timeout).await?;
        // Messages are passed on as they come: there is nothing for Nagle's algorithm to join.
        for socket in [near, &far] {
            if let Socket::Tcp(socket) = socket {
                socket.set_nodelay(true)?;
            }
        }
        if let Some(version) = self.proxy_header {
            let header = proxy_header::header(version, near);
            write_all(&far, &header).await?;
        }
        Ok(far)
    }

    fn tell(&self, peer: Option<SocketAddr>, why: &dyn std::fmt::Display) {
        if self.verbose {
            let peer = peer.map(|peer| SocketAddr::new(peer.ip().to_canonical(), peer.port()));
            let peer = peer.map_or_else(|| "a local peer".to_owned(), |peer| peer.to_string());
            report::notice(format_args!("{peer}: {why}"));
        }
    }
}

fn peer(socket: &Socket) -> Option<SocketAddr> {
    match socket {
        Socket::Tcp(socket) => socket.peer_addr().ok(),
        Socket::Unix(_) => None,
    }
}

async fn write_all(socket: &Socket, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = match socket {
            Socket::Tcp(socket) => {
                socket.writable().await?;
                socket.try_write(bytes)
            }
            Socket::Unix(socket) => {
                socket.writable().await?;
                socket.try_write(bytes)
            }
        };
        match written {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
