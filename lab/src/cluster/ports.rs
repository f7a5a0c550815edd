//! Ports for programs that cannot be asked which one they chose.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use crate::error::{Error, Result};

/// SeaweedFS uses a second port for gRPC: the first one and this.
const GRPC: u16 = 10_000;
/// Both are below the ports that Linux gives to outgoing connections.
const FIRST: u16 = 11_000;
const LAST: u16 = 22_000;

/// Gives out each port of an address once.
pub(super) struct Ports {
    address: IpAddr,
    next: u16,
}

impl Ports {
    pub(super) fn of_loopback() -> Self {
        Self::of(Ipv4Addr::LOCALHOST.into())
    }

    /// Two clusters at a time begin at different ports, mostly.
    pub(super) fn of(address: IpAddr) -> Self {
        let offset = std::process::id() % u32::from(LAST - FIRST);
        let next = FIRST + offset as u16;
        Self { address, next }
    }

    /// A port that is free in the network of this thread, with its port for gRPC.
    pub(super) fn next(&mut self) -> Result<SocketAddr> {
        for _ in FIRST..LAST {
            let port = self.next;
            self.next = if port + 1 < LAST { port + 1 } else { FIRST };
            if self.is_free(port) && self.is_free(port + GRPC) {
                return Ok(SocketAddr::new(self.address, port));
            }
        }
        Err(Error::new("cannot find a free port"))
    }

    fn is_free(&self, port: u16) -> bool {
        TcpListener::bind((self.address, port)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_in_use_is_not_given_out() {
        let mut ports = Ports::of_loopback();
        let first = ports.next().unwrap();
        let _taken = TcpListener::bind(first).unwrap();
        let mut again = Ports {
            next: first.port(),
            ..ports
        };
        assert_ne!(again.next().unwrap(), first);
    }
}
