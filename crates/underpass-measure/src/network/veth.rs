//! A veth pair (veth(4)) with each end in a network namespace of its own, so that packets really
//! leave one network stack and enter another.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;

use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::net::netdevice::name_to_index;
use underpass::Egress;

use super::namespace::Namespace;
use super::rtnetlink::{create, set};

/// Addresses for documentation (RFC 5737). Nobody else is in these namespaces.
const NEAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(super) const FAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const PREFIX: u8 = 30;

pub(super) const NEAR_NAME: &str = "underpass-near";
const FAR_NAME: &str = "underpass-far";

/// A pair that is up.
#[derive(Debug)]
pub(super) struct Veth {
    near: Namespace,
    far: Namespace,
}

impl Veth {
    /// Makes a new pair. This needs CAP_SYS_ADMIN for the namespaces and CAP_NET_ADMIN for the
    /// pair.
    pub(super) fn new(gathers: bool) -> io::Result<Self> {
        let (near, far) = (Namespace::new()?, Namespace::new()?);
        near.enter(|| {
            create(RouteNetlinkMessage::NewLink(pair(&far)))?;
            up(NEAR_NAME, NEAR)?;
            let any_socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            Egress::set_gathers(any_socket, NEAR_NAME, gathers)
        })?;
        far.enter(|| up(FAR_NAME, FAR))?;
        Ok(Self { near, far })
    }

    /// Runs `work` in the sender's namespace.
    pub(super) fn near<T: Send>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send,
    ) -> io::Result<T> {
        self.near.enter(work)
    }

    /// Runs `work` in the receiver's namespace, where its address is [`FAR`].
    pub(super) fn far<T: Send>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send,
    ) -> io::Result<T> {
        self.far.enter(work)
    }
}

fn pair(far: &Namespace) -> LinkMessage {
    let named = |name: &str| LinkAttribute::IfName(name.to_owned());
    let mut peer = LinkMessage::default();
    let namespace = std::os::fd::AsFd::as_fd(far).as_raw_fd();
    peer.attributes = vec![named(FAR_NAME), LinkAttribute::NetNsFd(namespace)];
    let mut link = LinkMessage::default();
    link.attributes = vec![
        named(NEAR_NAME),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]),
    ];
    link
}

/// Gives the interface `name`, in the calling thread's namespace, its address, and switches it on.
fn up(name: &str, address: Ipv4Addr) -> io::Result<()> {
    let any_socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let index = name_to_index(any_socket, name)?;
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = PREFIX;
    message.header.index = index;
    message.attributes = vec![
        AddressAttribute::Local(address.into()),
        AddressAttribute::Address(address.into()),
    ];
    create(RouteNetlinkMessage::NewAddress(message))?;
    let mut link = LinkMessage::default();
    link.header.index = index;
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    set(RouteNetlinkMessage::SetLink(link))
}
