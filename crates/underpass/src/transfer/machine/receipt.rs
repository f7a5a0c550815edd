//! Makes the receipt of a transfer.

use std::net::SocketAddr;

use rustix::fd::{AsFd, BorrowedFd};

use super::Machine;
use crate::endpoint::{Endpoint, Kind, name_of, peer_of};
use crate::net::egress::Egress;
use crate::receipt::{ContextSwitches, CpuTime, Party, Receipt, copies, crypto};
use crate::route::Origin;
use crate::sys::Sys;
use crate::transfer::input::{Input, origin};

impl<S: Input, D: AsFd, K: Sys> Machine<'_, S, D, K> {
    /// The receipt so far.
    pub(in crate::transfer) fn receipt(&self, complete: bool) -> Receipt {
        let routes = self.counters.routes_but(self.unsent());
        let peer = self.peer();
        let sink = self.with_egress(peer);
        let usage = self.counters.usage;
        let syscalls = self.sys.calls();
        Receipt {
            source: self.source_party(),
            sink: Party {
                kind: self.to.kind,
                name: self.sink_name(peer),
                tls: self.to.tls.clone(),
            },
            bytes: self.bytes(),
            complete,
            route: self.counters.main_route(),
            copies: copies::count(&routes, &self.from, &sink, self.sends.copied_bytes()),
            crypto: crypto::count(self.bytes() - self.counters.hole_bytes, &self.from, &sink),
            routes,
            hole_bytes: self.counters.hole_bytes,
            undelivered: self.undelivered(),
            fallbacks: self.counters.fallbacks.clone(),
            syscalls,
            mode_switches: 2 * syscalls,
            context_switches: ContextSwitches::of(&usage),
            cpu: CpuTime::of(&usage),
            wall: self.counters.wall(),
            sync: None,
            already_there: 0,
            checksum: None,
        }
    }

    /// Bytes in flight that are lost. None are lost if the source has offsets, since it can be read
    /// again.
    fn undelivered(&self) -> u64 {
        if self.positions.source.is_some() {
            0
        } else {
            self.staging.held() + self.unsent()
        }
    }

    fn source_party(&self) -> Party {
        let kind = self.from.kind;
        let name = match origin(&self.source) {
            Some(Origin::Fd(fd)) => name(self.settings.source_name.as_ref(), fd, kind),
            _ => self
                .settings
                .source_name
                .clone()
                .unwrap_or_else(|| "memory".to_owned()),
        };
        let tls = self.from.tls.clone();
        Party { kind, name, tls }
    }

    /// The peer of a TCP sink, if its name or its interface is needed.
    fn peer(&self) -> Option<SocketAddr> {
        let is_needed = self.counters.bytes > 0 || self.settings.sink_name.is_none();
        (self.to.kind == Kind::Tcp && is_needed)
            .then(|| peer_of(self.sink.as_fd()))
            .flatten()
    }

    /// The sink with its network interface. The interface is looked up only if bytes went to TCP.
    fn with_egress(&self, peer: Option<SocketAddr>) -> Endpoint {
        let mut sink = self.to.clone();
        if self.counters.bytes > 0 {
            sink.egress = peer.and_then(|peer| Egress::recent(self.sink.as_fd(), peer).ok());
        }
        sink
    }

    fn sink_name(&self, peer: Option<SocketAddr>) -> String {
        match (&self.settings.sink_name, peer) {
            (Some(name), _) => name.clone(),
            (None, Some(address)) => address.to_string(),
            (None, None) => name_of(self.sink.as_fd(), self.to.kind),
        }
    }
}

fn name(given: Option<&String>, fd: BorrowedFd<'_>, kind: Kind) -> String {
    given.cloned().unwrap_or_else(|| name_of(fd, kind))
}
