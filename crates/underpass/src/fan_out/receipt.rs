//! The receipts of a fan-out: one for the source, one for each subscriber.

use std::fmt;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Hub, SourceCounts, SourceEnd, SubscriberCounts, SubscriberEnd};
use crate::endpoint::{Endpoint, Kind, name_of};
use crate::layer::Layer;
use crate::printable::Printable;
use crate::receipt::summary::{CopiedShare, CryptoShare, Moved, amount};
use crate::receipt::{Copies, Crypto, Party, RouteUse, copies, crypto};
use crate::stream::report::{Copied, Encrypted, Routes, Seconds, inspect_socket, routes};
use crate::units::{count, grouped};

/// What the source or a subscriber is. Ask while its descriptor is open, and keep the answer for
/// the receipt.
#[derive(Clone, Debug)]
pub struct FanOutEndpoint {
    party: Party,
    endpoint: Endpoint,
    begun: Instant,
}

impl FanOutEndpoint {
    /// Asks the kernel what a subscriber's socket is, and by which interface a TCP connection
    /// leaves.
    ///
    /// # Errors
    /// As for [`Endpoint::of`].
    pub fn of_subscriber(socket: impl AsFd) -> std::io::Result<Self> {
        let (party, endpoint) = inspect_socket(socket)?;
        Ok(Self {
            party,
            endpoint,
            begun: Instant::now(),
        })
    }

    /// Asks the kernel what the source is.
    ///
    /// # Errors
    /// As for [`Endpoint::of`].
    pub fn of_source(source: impl AsFd) -> std::io::Result<Self> {
        let fd = source.as_fd();
        let endpoint = Endpoint::of(fd)?;
        let party = Party {
            kind: endpoint.kind,
            name: name_of(fd, endpoint.kind),
            tls: None,
        };
        Ok(Self {
            party,
            endpoint,
            begun: Instant::now(),
        })
    }

    /// Notes the TLS that lies on it.
    #[must_use]
    pub fn with_layer(mut self, layer: Option<&Arc<dyn Layer>>) -> Self {
        self.endpoint.tls = layer.map(|layer| layer.describe());
        self.party.tls.clone_from(&self.endpoint.tls);
        self
    }

    /// Gives it another name, such as `unix:/run/a.sock` in place of a descriptor's number.
    #[must_use]
    pub fn named(mut self, name: String) -> Self {
        self.party.name = name;
        self
    }
}

/// The receipt of one subscriber.
///
/// `Display` prints it for people, and [`summary`](Self::summary) is one line; with the feature
/// `serde` it serialises as the JSON object that `underpass fan-out --receipt json` prints.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct SubscriberReceipt {
    /// Who subscribed.
    pub subscriber: Party,
    /// The position in the stream of its first byte.
    pub from: u64,
    /// Bytes sent to it.
    pub bytes: u64,
    /// The source ended, and the subscriber has everything from [`from`](Self::from) on.
    pub complete: bool,
    /// `closed`, `gone`, `lagged`, `source_died`, `timed_out` or `cut`.
    pub ended: String,
    /// The name of the error by which it was found gone, such as `ECONNRESET`.
    pub errno: Option<String>,
    /// Each route that moved bytes or made calls; calls of tee(2) are the splice route's.
    pub routes: Vec<RouteUse>,
    /// Calls of tee(2). The last subscriber to take a segment needs none.
    pub tees: u64,
    /// Bytes that were read from the source for it and not sent.
    pub undelivered: u64,
    /// Bytes sent over TCP that it had not acknowledged at the end.
    pub unacknowledged: u64,
    /// How often no pipe could be had, so that bytes were copied.
    pub pipes_refused: u64,
    /// The kernel refused tee(2) or splice(2) for it.
    pub splice_refused: bool,
    /// System calls that moved bytes or would have blocked. Waits of the reactor are not counted.
    pub syscalls: u64,
    /// Bytes copied by the CPU on this machine on the way from the kept stream to the socket's
    /// queue. The copies made when the source was read are in the [`SourceReceipt`].
    pub copies: Copies,
    /// Bytes encrypted for it on this machine.
    #[cfg_attr(feature = "serde", serde(default))]
    pub crypto: Crypto,
    /// Time since it subscribed, in seconds.
    pub wall_s: f64,
}

/// The receipt of the source, with the sums of all subscribers.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct SourceReceipt {
    /// Where the stream came from.
    pub source: Party,
    /// Bytes read from it.
    pub bytes: u64,
    /// The source ended, rather than broke off.
    pub complete: bool,
    /// `ended`, `died` or `cut`.
    pub ended: String,
    /// The name of the error by which it died.
    pub errno: Option<String>,
    /// Each route that read bytes or made calls.
    pub routes: Vec<RouteUse>,
    /// Bytes discarded because there was no subscriber.
    pub discarded: u64,
    /// How often the source became bulk.
    pub promotions: u64,
    /// How often it stopped being bulk.
    pub demotions: u64,
    /// How often it was bulk and no pipe could be had.
    pub pipes_refused: u64,
    /// The kernel refused splice(2) for it.
    pub splice_refused: bool,
    /// System calls that read bytes or would have blocked.
    pub syscalls: u64,
    /// Bytes copied by the CPU on this machine when the source was read, once for all subscribers.
    pub copies: Copies,
    /// Bytes decrypted on this machine when the source was read.
    #[cfg_attr(feature = "serde", serde(default))]
    pub crypto: Crypto,
    /// How many subscribers there were.
    pub subscribers: u64,
    /// Bytes sent to all of them together.
    pub delivered: u64,
    /// Of those, bytes that passed through user space.
    pub delivered_copied: u64,
    /// Time since the source was opened, in seconds.
    pub wall_s: f64,
}

impl SubscriberCounts {
    /// The receipt of this subscriber, whose socket was described by `end`.
    pub fn receipt(&self, ended: SubscriberEnd, end: &FanOutEndpoint) -> SubscriberReceipt {
        let (word, errno) = match ended {
            SubscriberEnd::Closed => ("closed", None),
            SubscriberEnd::Gone { error } => ("gone", Some(error.name())),
            SubscriberEnd::Lagged => ("lagged", None),
            SubscriberEnd::SourceDied => ("source_died", None),
            SubscriberEnd::TimedOut => ("timed_out", None),
            SubscriberEnd::Cut => ("cut", None),
        };
        let spliced = self.splice_calls + self.tee_calls;
        let routes = routes((self.spliced, spliced), (self.copied, self.copy_calls));
        SubscriberReceipt {
            subscriber: end.party.clone(),
            from: self.from,
            bytes: self.bytes(),
            complete: ended == SubscriberEnd::Closed && self.unacknowledged == 0,
            ended: word.to_owned(),
            errno,
            copies: copies::giving(&routes, &end.endpoint),
            crypto: crypto::of_sink(self.bytes(), &end.endpoint),
            routes,
            tees: self.tee_calls,
            undelivered: self.undelivered,
            unacknowledged: self.unacknowledged,
            pipes_refused: self.pipes_refused,
            splice_refused: self.splice_refused,
            syscalls: spliced + self.copy_calls,
            wall_s: end.begun.elapsed().as_secs_f64(),
        }
    }
}

impl SourceCounts {
    /// The receipt of the source, which was described by `end`. Call it when all subscribers of
    /// `hub` have ended.
    pub fn receipt(&self, ended: SourceEnd, end: &FanOutEndpoint, hub: &Hub) -> SourceReceipt {
        let (word, errno) = match ended {
            SourceEnd::Ended => ("ended", None),
            SourceEnd::Died { error } => ("died", Some(error.name())),
            SourceEnd::Cut => ("cut", None),
        };
        let routes = routes(
            (self.spliced, self.splice_calls),
            (self.copied, self.copy_calls),
        );
        let stats = hub.stats();
        let delivered_copied = stats.given_copied.get();
        SourceReceipt {
            source: end.party.clone(),
            bytes: self.bytes(),
            complete: ended == SourceEnd::Ended,
            ended: word.to_owned(),
            errno,
            copies: copies::taking(&routes, &end.endpoint),
            crypto: crypto::of_source(self.bytes(), &end.endpoint),
            routes,
            discarded: self.discarded,
            promotions: self.promotions,
            demotions: self.demotions,
            pipes_refused: self.pipes_refused,
            splice_refused: self.splice_refused,
            syscalls: self.splice_calls + self.copy_calls,
            subscribers: stats.joined.get(),
            delivered: stats.given_spliced.get() + delivered_copied,
            delivered_copied,
            wall_s: end.begun.elapsed().as_secs_f64(),
        }
    }
}

impl SubscriberReceipt {
    /// The receipt in one line: `10.0.0.5:41000: closed: 286 MiB in 440 ms (650 MiB/s), none of it
    /// copied by the CPU`.
    pub fn summary(&self) -> String {
        let share = CopiedShare {
            moved: self.bytes,
            copies: &self.copies,
            routes: &self.routes,
            ends: (Kind::Pipe, self.subscriber.kind),
            fallbacks: &[],
        };
        let lost = match self.undelivered {
            0 => String::new(),
            lost => format!(", {} not delivered", amount(lost)),
        };
        let (name, ended) = (Printable(&self.subscriber.name), &self.ended);
        let (errno, moved) = (Named(self.errno.as_ref()), moved(self.bytes, self.wall_s));
        format!(
            "{name}: {ended}{errno}: {moved}{lost}{share}{}",
            CryptoShare(&self.crypto)
        )
    }
}

impl SourceReceipt {
    /// The receipt in one line: `standard input: ended: 286 MiB in 440 ms (650 MiB/s), none of it
    /// copied by the CPU; 858 MiB given to 3 subscribers, none of it copied`.
    pub fn summary(&self) -> String {
        let share = CopiedShare {
            moved: self.bytes,
            copies: &self.copies,
            routes: &self.routes,
            ends: (self.source.kind, Kind::Pipe),
            fallbacks: &[],
        };
        let (name, ended) = (Printable(&self.source.name), &self.ended);
        let (errno, moved) = (Named(self.errno.as_ref()), moved(self.bytes, self.wall_s));
        let (given, to) = (
            amount(self.delivered),
            count(self.subscribers, "subscriber"),
        );
        let copied = match self.delivered_copied {
            _ if self.delivered == 0 => String::new(),
            0 => ", none of it through user space".to_owned(),
            copied => format!(", {} of it through user space", amount(copied)),
        };
        let crypto = CryptoShare(&self.crypto);
        format!("{name}: {ended}{errno}: {moved}{share}{crypto}; {given} given to {to}{copied}")
    }
}

fn moved(bytes: u64, seconds: f64) -> Moved {
    Moved(
        bytes,
        Duration::try_from_secs_f64(seconds).unwrap_or_default(),
    )
}

impl fmt::Display for SubscriberReceipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Printable(&self.subscriber.name);
        let bytes = count(self.bytes, "byte");
        write!(f, "{name}: {}{}", self.ended, Named(self.errno.as_ref()))?;
        write!(f, " after {}: {bytes}", Seconds(self.wall_s))?;
        if self.from > 0 {
            write!(f, " from {} on", grouped(self.from))?;
        }
        write!(f, "{}", Routes(&self.routes))?;
        if self.undelivered > 0 {
            write!(f, ", {} not delivered", grouped(self.undelivered))?;
        }
        if self.unacknowledged > 0 {
            write!(f, ", {} not acknowledged", grouped(self.unacknowledged))?;
        }
        if self.pipes_refused > 0 {
            write!(f, ", {} without a pipe", count(self.pipes_refused, "time"))?;
        }
        write!(f, "; {}{}", Copied(&self.copies), Encrypted(&self.crypto))?;
        match &self.subscriber.tls {
            Some(tls) => write!(f, "; tls: {tls}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for SourceReceipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Printable(&self.source.name);
        let bytes = count(self.bytes, "byte");
        write!(f, "{name}: {}{}", self.ended, Named(self.errno.as_ref()))?;
        write!(f, " after {}: {bytes} taken", Seconds(self.wall_s))?;
        write!(f, "{}", Routes(&self.routes))?;
        if self.discarded > 0 {
            write!(f, ", {} for nobody", grouped(self.discarded))?;
        }
        writeln!(f, "; {}{}", Copied(&self.copies), Encrypted(&self.crypto))?;
        let delivered = count(self.delivered, "byte");
        let subscribers = count(self.subscribers, "subscriber");
        write!(f, "  given {delivered} to {subscribers}")?;
        write!(f, ", {} of them by copying", grouped(self.delivered_copied))
    }
}

/// Formats an errno's name as ` (ECONNRESET)`.
struct Named<'a>(Option<&'a String>);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |errno| write!(f, " ({errno})"))
    }
}
