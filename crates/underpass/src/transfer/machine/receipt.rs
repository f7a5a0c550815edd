//! Makes the receipt of a transfer.

use rustix::fd::{AsFd, BorrowedFd};

use super::Machine;
use crate::endpoint::{Endpoint, Kind, name_of};
use crate::net::egress::Egress;
use crate::receipt::{ContextSwitches, CpuTime, Party, Receipt, copies, crypto};
use crate::route::Origin;
use crate::sys::Sys;
use crate::transfer::input::{Input, origin};

impl<S: Input, D: AsFd, K: Sys> Machine<'_, S, D, K> {
    /// The receipt so far.
    pub(in crate::transfer) fn receipt(&self, complete: bool) -> Receipt {
        let routes = self.counters.routes_but(self.unsent());
        let sink = self.asked_for_egress();
        let usage = self.counters.usage;
        let syscalls = self.sys.calls();
        Receipt {
            source: self.source_party(),
            sink: Party {
                kind: self.to.kind,
                name: name(
                    self.settings.sink_name.as_ref(),
                    self.sink.as_fd(),
                    self.to.kind,
                ),
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

    /// The sink with its network interface. The interface is looked up only if bytes went to TCP.
    fn asked_for_egress(&self) -> Endpoint {
        let mut sink = self.to.clone();
        if sink.kind == Kind::Tcp && self.counters.bytes > 0 {
            sink.egress = Egress::of(self.sink.as_fd()).ok();
        }
        sink
    }
}

fn name(given: Option<&String>, fd: BorrowedFd<'_>, kind: Kind) -> String {
    given.cloned().unwrap_or_else(|| name_of(fd, kind))
}
