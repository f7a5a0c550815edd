//! Ports for programs that cannot be asked which one they chose.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use crate::error::{Error, Result};

/// SeaweedFS uses a second port for gRPC: the first one and this.
const GRPC: u16 = 10_000;
/// Both are below the ports that Linux gives to outgoing connections.
const FIRST: u16 = 11_000;
const LAST: u16 = 22_000;

/// Gives out each port once.
pub(super) struct Ports(u16);

impl Ports {
    /// Two clusters at a time begin at different ports, mostly.
    pub(super) fn new() -> Self {
        let offset = std::process::id() % u32::from(LAST - FIRST);
        Self(FIRST + offset as u16)
    }

    /// An address of this machine that is free, with its port for gRPC.
    pub(super) fn next(&mut self) -> Result<SocketAddr> {
        for _ in FIRST..LAST {
            let port = self.0;
            self.0 = if port + 1 < LAST { port + 1 } else { FIRST };
            if is_free(port) && is_free(port + GRPC) {
                return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
            }
        }
        Err(Error::new("cannot find a free port"))
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_in_use_is_not_given_out() {
        let mut ports = Ports::new();
        let first = ports.next().unwrap();
        let _taken = TcpListener::bind(first).unwrap();
        let mut again = Ports(first.port());
        assert_ne!(again.next().unwrap(), first);
    }
}
