//! The interfaces that bytes leave by: loopback, and veth pairs of our own.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use underpass::Egress;
use underpass::connect::{Peer, connect};

use crate::error::{Context, Error, Result};

mod namespace;
mod rtnetlink;
mod veth;

use veth::Veth;

/// A kind of interface to measure over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Link {
    /// The loopback interface.
    Loopback,
    /// A veth pair between two network namespaces, that gathers.
    Veth,
    /// The same with scatter-gather off: S2.
    VethNoGather,
}

impl Link {
    /// All, in the order of the tables.
    pub const ALL: [Self; 3] = [Self::Loopback, Self::Veth, Self::VethNoGather];

    /// The name in tables, options and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::Veth => "veth",
            Self::VethNoGather => "veth-no-gather",
        }
    }

    /// Whether scatter-gather is wanted on.
    fn gathers(self) -> bool {
        self != Self::VethNoGather
    }
}

/// A link that is up, with somebody listening at its far end.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) link: Link,
    /// Whether it says that it gathers.
    pub(crate) gathers: Option<bool>,
    veth: Option<Veth>,
    listener: TcpListener,
    address: SocketAddr,
}

impl Network {
    /// Brings `link` up; `swap` does the contrary to scatter-gather of what the link is called
    /// after, to see checks fail.
    pub(crate) fn new(link: Link, swap: bool) -> Result<Self> {
        let what = || format!("{} cannot be set up", link.name());
        let veth = match link {
            Link::Loopback => None,
            Link::Veth | Link::VethNoGather => {
                Some(Veth::new(link.gathers() != swap).context(what)?)
            }
        };
        let listener = listen(veth.as_ref()).context(what)?;
        let address = listener.local_addr().context(what)?;
        let mut network = Self {
            link,
            gathers: None,
            veth,
            listener,
            address,
        };
        let (socket, _far) = network.connect()?;
        // The routing table that knows the way is the sender's.
        let egress = network.near(|| Egress::of(&socket));
        network.gathers = egress.ok().and_then(|egress| egress.gathers);
        Ok(network)
    }

    /// Runs `work` where the sender is.
    fn near<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        match &self.veth {
            None => work(),
            Some(veth) => veth.near(work),
        }
    }

    /// A new connection: the sender's end, and the receiver's.
    pub(crate) fn connect(&self) -> Result<(TcpStream, TcpStream)> {
        let connected = || -> io::Result<_> {
            let peer = Peer::Tcp(vec![self.address]);
            let near = TcpStream::from(self.near(|| connect(&peer, None, None))?);
            let (far, _) = self.listener.accept()?;
            // As servers do: small files must not wait for one another's acknowledgements.
            near.set_nodelay(true)?;
            Ok((near, far))
        };
        connected().context(|| format!("no connection over {}", self.link.name()))
    }
}

fn listen(veth: Option<&Veth>) -> io::Result<TcpListener> {
    match veth {
        None => TcpListener::bind((Ipv4Addr::LOCALHOST, 0)),
        Some(veth) => veth.far(|| TcpListener::bind((veth::FAR, 0))),
    }
}

impl std::str::FromStr for Link {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let known = || Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|link| link.name() == text)
            .ok_or_else(|| format!("{text:?} is not a link; these are: {}", known()))
    }
}

/// What would make `error`, met when `link` was set up, go away.
pub(crate) fn remedy(link: Link, error: &Error) -> String {
    match link {
        Link::Loopback => error.to_string(),
        _ if rustix::process::geteuid().is_root() => {
            format!("{error} (CAP_SYS_ADMIN and CAP_NET_ADMIN are needed)")
        }
        _ => format!("{error}; root (CAP_SYS_ADMIN, CAP_NET_ADMIN) would add it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn a_veth_pair_carries_bytes_gathers_as_told_and_is_gone_with_its_owner() {
        for (link, swap) in [
            (Link::Veth, false),
            (Link::VethNoGather, false),
            (Link::Veth, true),
        ] {
            let network = match Network::new(link, swap) {
                Ok(network) => network,
                Err(error) => {
                    assert!(!underpass_testing::needs::is_root(), "{error}");
                    underpass_testing::needs::lacking(&remedy(link, &error));
                    return;
                }
            };
            assert_eq!(network.gathers, Some((link == Link::Veth) != swap));
            let (mut near, mut far) = network.connect().unwrap();
            near.write_all(b"across").unwrap();
            drop(near);
            let mut got = String::new();
            far.read_to_string(&mut got).unwrap();
            assert_eq!(got, "across");
        }
        let left = std::fs::read_to_string("/proc/net/dev").unwrap();
        assert!(!left.contains(veth::NEAR_NAME), "{left}");
    }
}
