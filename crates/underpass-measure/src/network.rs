//! The interfaces that bytes leave by: loopback, and veth pairs that are made for the measurement.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use underpass::Egress;
use underpass::connect::{Peer, connect};

use crate::error::{Context, Error, Result};

mod namespace;
mod retransmissions;
mod rtnetlink;
mod veth;

use veth::Veth;

/// A kind of network interface to measure over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Link {
    /// The loopback interface.
    Loopback,
    /// A veth pair between two network namespaces, with scatter-gather.
    Veth,
    /// The same without scatter-gather: S2.
    VethNoGather,
}

impl Link {
    /// All links, in the order of the tables.
    pub const ALL: [Self; 3] = [Self::Loopback, Self::Veth, Self::VethNoGather];

    /// The link's name in tables, options and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::Veth => "veth",
            Self::VethNoGather => "veth-no-gather",
        }
    }

    /// Whether scatter-gather is to be on.
    fn gathers(self) -> bool {
        self != Self::VethNoGather
    }
}

/// A link that is up, with a listener at its far end.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) link: Link,
    /// Whether the interface says that it gathers.
    pub(crate) gathers: Option<bool>,
    veth: Option<Veth>,
    listener: TcpListener,
    address: SocketAddr,
}

impl Network {
    /// Brings `link` up. With `swap`, its scatter-gather setting is the opposite of what its name
    /// says, so that checks can be seen to fail.
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
        // The routing table that leads to the receiver is the one in the sender's namespace.
        let egress = network.near(|| Egress::of(&socket));
        network.gathers = egress.ok().and_then(|egress| egress.gathers);
        Ok(network)
    }

    /// Runs `work` in the sender's namespace.
    fn near<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        match &self.veth {
            None => work(),
            Some(veth) => veth.near(work),
        }
    }

    /// How many segments were sent again over this link since it was made. `None` for loopback,
    /// which is not ours alone, and if the kernel does not say.
    pub(crate) fn retransmissions(&self) -> Option<u64> {
        self.veth.as_ref()?.near(retransmissions::count).ok()
    }

    /// Makes a new connection. Returns the sender's end and the receiver's.
    pub(crate) fn connect(&self) -> Result<(TcpStream, TcpStream)> {
        let connected = || -> io::Result<_> {
            let peer = Peer::Tcp(vec![self.address]);
            let near = TcpStream::from(self.near(|| connect(&peer, None, None))?);
            let (far, _) = self.listener.accept()?;
            // As servers do: small files must not wait for each other's acknowledgements.
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

/// What the user can do about `error`, which occurred while `link` was set up.
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
