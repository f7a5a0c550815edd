//! The receipt of a relayed connection.

use std::fmt;
use std::os::fd::AsFd;
use std::sync::Arc;

use super::{DirectionCounts, RelayEnd, RelayOutcome, Side};
use crate::endpoint::Endpoint;
use crate::layer::Layer;
use crate::printable::Printable;
use crate::receipt::summary::{CopiedShare, CryptoShare, amount};
use crate::receipt::{Copies, Crypto, Party, RouteUse, copies, crypto};
use crate::stream::report::{Copied, Encrypted, Routes, Seconds, inspect_socket, routes};
use crate::units::{count, grouped};

/// What the two sockets are. Ask while they are open, and keep the answer for the receipt.
#[derive(Clone, Debug)]
pub struct RelayEndpoints {
    near: (Party, Endpoint),
    far: (Party, Endpoint),
}

impl RelayEndpoints {
    /// Asks the kernel what both are, and by which interface a TCP connection leaves.
    ///
    /// # Errors
    /// As for [`Endpoint::of`].
    pub fn of(near: impl AsFd, far: impl AsFd) -> std::io::Result<Self> {
        Ok(Self {
            near: inspect_socket(near)?,
            far: inspect_socket(far)?,
        })
    }

    /// Notes the TLS that lies on them.
    #[must_use]
    pub fn with_layers(
        mut self,
        near: Option<&Arc<dyn Layer>>,
        far: Option<&Arc<dyn Layer>>,
    ) -> Self {
        for ((party, endpoint), layer) in [(&mut self.near, near), (&mut self.far, far)] {
            endpoint.tls = layer.map(|layer| layer.describe());
            party.tls.clone_from(&endpoint.tls);
        }
        self
    }

    /// Gives the sides other names, such as `unix:/run/a.sock` in place of a descriptor's number.
    #[must_use]
    pub fn named(mut self, near: String, far: String) -> Self {
        (self.near.0.name, self.far.0.name) = (near, far);
        self
    }
}

/// The receipt of one relayed connection.
///
/// `Display` prints it for people, and [`summary`](Self::summary) is one line; with the feature
/// `serde` it serialises as the JSON object that `underpass relay --receipt json` prints. It has no
/// CPU time: asking for that at each wake-up would cost more than many wake-ups do.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct RelayReceipt {
    /// Who connected.
    pub near: Party,
    /// Where to.
    pub far: Party,
    /// From the near side to the far one.
    pub up: DirectionReceipt,
    /// From the far side to the near one.
    pub down: DirectionReceipt,
    /// Both sides ended, and all they sent has arrived.
    pub complete: bool,
    /// `closed`, `reset`, `timed_out` or `cut`.
    pub ended: String,
    /// The side that went away, where one did.
    pub by: Option<Side>,
    /// The name of the error by which that was found, such as `ECONNRESET`.
    pub errno: Option<String>,
    /// From the first step to the last, in seconds.
    pub wall_s: f64,
}

/// The receipt of one direction.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct DirectionReceipt {
    /// Bytes sent to the sink.
    pub bytes: u64,
    /// The source ended, and everything it sent has arrived, its end too.
    pub complete: bool,
    /// Each route that moved bytes or made calls.
    pub routes: Vec<RouteUse>,
    /// Bytes read from the source and not sent to the sink.
    pub undelivered: u64,
    /// Bytes sent over TCP that the sink had not acknowledged at the end.
    pub unacknowledged: u64,
    /// How often it became bulk.
    pub promotions: u64,
    /// How often it stopped being bulk.
    pub demotions: u64,
    /// How often it was bulk and no pipe could be had.
    pub pipes_refused: u64,
    /// The kernel refused splice(2) between these sockets.
    pub splice_refused: bool,
    /// System calls that moved bytes or would have blocked. Waits of the reactor are not counted.
    pub syscalls: u64,
    /// Bytes copied by the CPU on this machine between the two sockets' queues.
    pub copies: Copies,
    /// Bytes decrypted and encrypted on this machine.
    #[cfg_attr(feature = "serde", serde(default))]
    pub crypto: Crypto,
}

impl RelayOutcome {
    /// The receipt, for the sockets that `ends` describes.
    pub fn receipt(&self, ends: &RelayEndpoints) -> RelayReceipt {
        let (ended, by, errno) = match self.ended {
            RelayEnd::Closed => ("closed", None, None),
            RelayEnd::Reset { by, error } => ("reset", Some(by), Some(error.name())),
            RelayEnd::TimedOut => ("timed_out", None, None),
            RelayEnd::Cut => ("cut", None, None),
        };
        RelayReceipt {
            near: ends.near.0.clone(),
            far: ends.far.0.clone(),
            up: direction(&self.up, &ends.near.1, &ends.far.1),
            down: direction(&self.down, &ends.far.1, &ends.near.1),
            complete: self.up.is_complete() && self.down.is_complete(),
            ended: ended.to_owned(),
            by,
            errno,
            wall_s: self.wall.as_secs_f64(),
        }
    }
}

fn direction(carried: &DirectionCounts, source: &Endpoint, sink: &Endpoint) -> DirectionReceipt {
    let routes = routes(
        (carried.spliced, carried.splice_calls),
        (carried.copied, carried.copy_calls),
    );
    DirectionReceipt {
        bytes: carried.bytes(),
        complete: carried.is_complete(),
        copies: copies::count(&routes, source, sink, 0),
        crypto: crypto::count(carried.bytes(), source, sink),
        routes,
        undelivered: carried.undelivered,
        unacknowledged: carried.unacknowledged,
        promotions: carried.promotions,
        demotions: carried.demotions,
        pipes_refused: carried.pipes_refused,
        splice_refused: carried.splice_refused,
        syscalls: carried.splice_calls + carried.copy_calls,
    }
}

impl RelayReceipt {
    /// The receipt in one line: who was joined, how much went each way in which time, and what the
    /// CPU copied of it.
    ///
    /// `10.0.0.5:41000 <-> db1:5432: closed after 1.23 s; 1.2 MiB up, 286 MiB down, none of it
    /// copied by the CPU`
    pub fn summary(&self) -> String {
        let (up, down) = (&self.up, &self.down);
        let share = CopiedShare {
            moved: up.bytes + down.bytes,
            copies: &copies::together([up, down].into_iter().map(|way| way.copies.clone())),
            routes: &[&up.routes[..], &down.routes[..]].concat(),
            ends: (self.near.kind, self.far.kind),
            fallbacks: &[],
        };
        let mut crypto = up.crypto.clone();
        crypto.add(&down.crypto);
        let lost = up.undelivered + down.undelivered;
        let lost = match lost {
            0 => String::new(),
            lost => format!(", {} taken and not delivered", amount(lost)),
        };
        let (went_up, went_down) = (amount(up.bytes), amount(down.bytes));
        let crypto = CryptoShare(&crypto);
        format!(
            "{}; {went_up} up, {went_down} down{lost}{share}{crypto}",
            Ended(self)
        )
    }
}

/// Who was joined, how it ended, and after which time.
struct Ended<'a>(&'a RelayReceipt);

impl fmt::Display for Ended<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = self.0;
        let (near, far) = (Printable(&of.near.name), Printable(&of.far.name));
        write!(f, "{near} <-> {far}: {}", of.ended)?;
        if let (Some(by), Some(errno)) = (of.by, &of.errno) {
            let side = match by {
                Side::Near => &of.near.name,
                Side::Far => &of.far.name,
            };
            write!(f, " by {} ({errno})", Printable(side))?;
        }
        write!(f, " after {}", Seconds(of.wall_s))
    }
}

impl fmt::Display for RelayReceipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", Ended(self))?;
        for party in [&self.near, &self.far] {
            if let Some(tls) = &party.tls {
                writeln!(f, "  tls: {tls}, with {}", Printable(&party.name))?;
            }
        }
        write!(f, "  up         {}", self.up)?;
        write!(f, "\n  down       {}", self.down)
    }
}

impl fmt::Display for DirectionReceipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", count(self.bytes, "byte"), Routes(&self.routes))?;
        if self.undelivered > 0 {
            write!(f, ", {} taken and not delivered", grouped(self.undelivered))?;
        }
        if self.unacknowledged > 0 {
            write!(f, ", {} not acknowledged", grouped(self.unacknowledged))?;
        }
        if self.pipes_refused > 0 {
            write!(f, ", {} without a pipe", count(self.pipes_refused, "time"))?;
        }
        write!(f, "; {}{}", Copied(&self.copies), Encrypted(&self.crypto))
    }
}
