//! A network of a given rate between the store and everybody else: two network namespaces and a
//! veth pair (veth(4)). They have no names, and are gone with the lab and what it started.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::{Context, Result};
use crate::run::{Invocation, run};
use crate::sys;

/// Addresses for documentation (RFC 5737). Nobody else is in these namespaces.
const NEAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// What is sent at once: a few of the largest packets that a socket hands over (64 KiB).
const BURST: &str = "256kb";
/// More than a socket has under way, so that nothing is dropped and the rate alone is the limit.
const QUEUE: &str = "16mb";

pub(super) struct Link {
    near: File,
    far: File,
}

impl Link {
    /// Moves this thread, and with it all that it starts from now on, to the near end. What comes
    /// from the far end comes at `rate`, as tc(8) writes it. This needs root.
    pub(super) fn new(rate: &str) -> Result<Self> {
        let link = Self {
            far: leave()?,
            near: leave()?,
        };
        let far = format!("/proc/{}/fd/{}", std::process::id(), link.far.as_raw_fd());
        ip("link set lo up")?;
        ip(&format!(
            "link add lab-near type veth peer name lab-far netns {far}"
        ))?;
        up("lab-near", NEAR)?;
        link.at_far_end(|_| {
            ip("link set lo up")?;
            up("lab-far", FAR)?;
            let limit = format!("root tbf rate {rate} burst {BURST} limit {QUEUE}");
            call("tc", &format!("qdisc add dev lab-far {limit}"))
        })?;
        Ok(link)
    }

    /// Runs `work` at the far end, which has this address. What it starts stays there.
    pub(super) fn at_far_end<T>(&self, work: impl FnOnce(IpAddr) -> Result<T>) -> Result<T> {
        enter(&self.far)?;
        let done = work(FAR.into());
        enter(&self.near)?;
        done
    }
}

fn leave() -> Result<File> {
    sys::leave_network()
        .and_then(|()| File::open("/proc/thread-self/ns/net"))
        .context(|| "cannot make a network (this needs root)".into())
}

fn enter(network: &File) -> Result<()> {
    move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
        .context(|| "cannot enter a network".into())
}

fn up(name: &str, address: Ipv4Addr) -> Result<()> {
    ip(&format!("address add {address}/30 dev {name}"))?;
    ip(&format!("link set {name} up"))
}

fn ip(words: &str) -> Result<()> {
    call("ip", words)
}

fn call(program: &str, words: &str) -> Result<()> {
    run(&Invocation::new(program).args(words.split(' '))).map(drop)
}
