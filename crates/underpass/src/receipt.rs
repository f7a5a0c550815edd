//! The receipt of a transfer: what it did and what it cost. It contains only what was observed.

use std::time::Duration;

use crate::endpoint::Kind;
use crate::layer::Tls;
use crate::route::Route;
use crate::sys::usage::Usage;

pub(crate) mod copies;
pub(crate) mod crypto;
mod display;
pub(crate) mod summary;

pub use copies::expected as expected_copies;
pub use crypto::{Crypto, CryptoPass, CryptoPlace, CryptoWork, expected as expected_crypto};

/// The receipt of one transfer, complete or not.
///
/// `Display` prints it for people, one fact a line, and [`summary`](Receipt::summary) is one line;
/// with the feature `serde` it serialises as the JSON object that `underpass --receipt json`
/// prints. Sizes are bytes, times seconds.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Receipt {
    /// Where the bytes came from.
    pub source: Party,
    /// Where they went.
    pub sink: Party,
    /// Bytes delivered to the sink, holes included.
    pub bytes: u64,
    /// Everything that was asked for was delivered.
    pub complete: bool,
    /// The route that moved the most bytes; `None` if none moved any.
    pub route: Option<Route>,
    /// Each route that was used, in order.
    pub routes: Vec<RouteUse>,
    /// Bytes that are holes in the source and stayed holes in the sink: no route moved them.
    pub hole_bytes: u64,
    /// Bytes read from a source that cannot be read again, and not delivered to the sink.
    pub undelivered: u64,
    /// Each change from one route to the next.
    pub fallbacks: Vec<Fallback>,
    /// System calls made for the transfer, waits included. Waits of an asynchronous runtime's
    /// reactor are not counted.
    pub syscalls: u64,
    /// Switches between user and kernel mode: into the kernel and back for each call.
    pub mode_switches: u64,
    /// Context switches of the thread while it worked on the transfer.
    pub context_switches: ContextSwitches,
    /// CPU time of the thread while it worked on the transfer (getrusage(2)).
    pub cpu: CpuTime,
    /// Time from the first step to the last.
    #[cfg_attr(feature = "serde", serde(rename = "wall_s", with = "seconds"))]
    pub wall: Duration,
    /// Bytes copied by the CPU on this machine between source and sink.
    pub copies: Copies,
    /// Bytes encrypted and decrypted on this machine between source and sink, apart from the
    /// copies.
    #[cfg_attr(feature = "serde", serde(default))]
    pub crypto: Crypto,
    /// Time that syncing and closing the sink took, after the last step; `None` if it was not
    /// synced. A transfer does not sync; a program that does sets this field.
    #[cfg_attr(
        feature = "serde",
        serde(default, rename = "sync_s", with = "optional_seconds")
    )]
    pub sync: Option<Duration>,
    /// Bytes of the content that the sink had from an earlier transfer, and that were not moved
    /// again. They are not part of `bytes`. A program that resumes transfers sets this field.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_zero"))]
    pub already_there: u64,
    /// The checksum that was computed at this end; `None` if there was none. A program that
    /// computes one sets this field.
    #[cfg_attr(
        feature = "serde",
        serde(default, skip_serializing_if = "Option::is_none")
    )]
    pub checksum: Option<ChecksumPass>,
}

/// A pass of the CPU over the bytes, to compute a checksum. It reads them and copies nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ChecksumPass {
    /// Bytes that were read, in the page cache. Holes count as the zeros that they are.
    pub bytes: u64,
    /// Those of them that had to be copied out of the page cache first. They are part of the
    /// receipt's copies.
    pub copied: u64,
    /// The CPU time that it took, which is part of the receipt's.
    #[cfg_attr(feature = "serde", serde(rename = "cpu_s", with = "seconds"))]
    pub cpu: Duration,
}

impl ChecksumPass {
    /// Adds another pass.
    pub fn add(&mut self, other: &Self) {
        self.bytes += other.bytes;
        self.copied += other.copied;
        self.cpu += other.cpu;
    }
}

#[cfg(feature = "serde")]
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Receipt {
    /// Adds what another transfer of the same work did. The ends, and whether it is complete, stay
    /// as they are; the times add up.
    ///
    /// ```
    /// use std::io::{Write, pipe};
    /// use underpass::Transfer;
    ///
    /// let (source, mut writer) = pipe()?;
    /// writer.write_all(&[7; 3000])?;
    /// let sink = tempfile::tempfile()?;
    /// let mut both = Transfer::new(&source, &sink).range(..1000).run()?;
    /// both.add(&Transfer::new(&source, &sink).range(..2000).run()?);
    /// assert_eq!(both.bytes, 3000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn add(&mut self, other: &Self) {
        for used in &other.routes {
            RouteUse::add(&mut self.routes, used.route, used.bytes, used.syscalls);
        }
        for fallback in &other.fallbacks {
            Fallback::add(&mut self.fallbacks, fallback.clone(), self.bytes);
        }
        self.bytes += other.bytes;
        self.hole_bytes += other.hole_bytes;
        self.undelivered += other.undelivered;
        self.syscalls += other.syscalls;
        self.mode_switches += other.mode_switches;
        self.context_switches.voluntary += other.context_switches.voluntary;
        self.context_switches.involuntary += other.context_switches.involuntary;
        self.cpu.user += other.cpu.user;
        self.cpu.system += other.cpu.system;
        self.wall += other.wall;
        self.copies = copies::together([self.copies.clone(), other.copies.clone()].into_iter());
        self.crypto.add(&other.crypto);
        self.route = RouteUse::main(&self.routes);
        self.already_there += other.already_there;
        if let Some(pass) = &other.checksum {
            self.add_checksum(pass);
        }
    }

    /// Adds a pass of a checksum. What it copied is added to the copies.
    pub fn add_checksum(&mut self, pass: &ChecksumPass) {
        self.checksum.get_or_insert_default().add(pass);
        if pass.copied > 0 {
            let copied = Copies {
                cpu_bytes: Some(pass.copied),
                evidence: Evidence::Expected,
                why: "read into memory for the checksum".to_owned(),
            };
            self.copies = copies::together([self.copies.clone(), copied].into_iter());
        }
    }

    /// Adds bytes that the program read by itself, with this many calls: the CPU copied each of
    /// them once, out of the kernel.
    pub fn add_read(&mut self, bytes: u64, syscalls: u64) {
        RouteUse::add(&mut self.routes, Route::ReadWrite, bytes, syscalls);
        self.bytes += bytes;
        self.syscalls += syscalls;
        self.mode_switches += 2 * syscalls;
        let read = Copies {
            cpu_bytes: Some(bytes),
            evidence: Evidence::Expected,
            why: "read into memory".to_owned(),
        };
        self.copies = copies::together([self.copies.clone(), read].into_iter());
        self.route = RouteUse::main(&self.routes);
    }
}

/// One end of a transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Party {
    /// What it is.
    pub kind: Kind,
    /// Its path, address or other name.
    pub name: String,
    /// The TLS that is on it, and who encrypts.
    #[cfg_attr(
        feature = "serde",
        serde(default, skip_serializing_if = "Option::is_none")
    )]
    pub tls: Option<Tls>,
}

/// What one route did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct RouteUse {
    /// The route.
    pub route: Route,
    /// Bytes it delivered to the sink.
    pub bytes: u64,
    /// Calls it made.
    pub syscalls: u64,
}

impl RouteUse {
    /// Adds to what `route` did; an unused route comes last.
    pub(crate) fn add(routes: &mut Vec<Self>, route: Route, bytes: u64, syscalls: u64) {
        match routes.iter_mut().find(|used| used.route == route) {
            Some(used) => {
                used.bytes += bytes;
                used.syscalls += syscalls;
            }
            None => routes.push(Self {
                route,
                bytes,
                syscalls,
            }),
        }
    }

    /// The route that moved the most bytes; `None` if none moved any.
    pub(crate) fn main(routes: &[Self]) -> Option<Route> {
        let moved = routes.iter().filter(|used| used.bytes > 0);
        moved.max_by_key(|used| used.bytes).map(|used| used.route)
    }
}

/// A route was left for another.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Fallback {
    /// The route that was left.
    pub from: Route,
    /// The route that took over.
    pub to: Route,
    /// The name of the error that caused it, such as `EXDEV`; `None` if there was no error.
    pub errno: Option<String>,
    /// The reason in words.
    pub why: String,
    /// Bytes the sink had by then.
    pub at: u64,
}

impl Fallback {
    /// Adds a fallback of a transfer that began after `before` bytes. One of each kind is kept: the
    /// same in each of a million files says nothing more.
    pub(crate) fn add(fallbacks: &mut Vec<Self>, mut fallback: Self, before: u64) {
        fallback.at += before;
        let is_known = |known: &Self| {
            (known.from, known.to, &known.why) == (fallback.from, fallback.to, &fallback.why)
        };
        if !fallbacks.iter().any(is_known) {
            fallbacks.push(fallback);
        }
    }
}

/// Context switches, as getrusage(2) counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ContextSwitches {
    /// The thread waited.
    pub voluntary: u64,
    /// The thread was preempted.
    pub involuntary: u64,
}

impl ContextSwitches {
    pub(crate) fn of(usage: &Usage) -> Self {
        Self {
            voluntary: usage.voluntary,
            involuntary: usage.involuntary,
        }
    }
}

/// CPU time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct CpuTime {
    /// In user mode.
    #[cfg_attr(feature = "serde", serde(rename = "user_s", with = "seconds"))]
    pub user: Duration,
    /// In kernel mode.
    #[cfg_attr(feature = "serde", serde(rename = "system_s", with = "seconds"))]
    pub system: Duration,
}

impl CpuTime {
    pub(crate) fn of(usage: &Usage) -> Self {
        Self {
            user: usage.user,
            system: usage.system,
        }
    }
}

/// Copies by the CPU. DMA's copies, from disk to memory and from memory to the network interface,
/// always remain and are not counted here.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Copies {
    /// Bytes copied, each copy of a byte counted; `None` if unknown.
    pub cpu_bytes: Option<u64>,
    /// How that is known.
    pub evidence: Evidence,
    /// Why the count is what it is.
    pub why: String,
}

/// How a count of copies is known. A count is only as certain as its least certain part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Evidence {
    /// Documented for this route, not checked. The name of a system call is no proof (pitfall 18).
    Expected,
    /// The kernel or the device said so.
    Reported,
    /// A probe counted the bytes.
    Measured,
}

#[cfg(feature = "serde")]
mod seconds {
    //! Durations as seconds, a JSON number.
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    pub(super) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(time.as_secs_f64())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let seconds = f64::deserialize(from)?;
        Duration::try_from_secs_f64(seconds).map_err(serde::de::Error::custom)
    }
}

#[cfg(feature = "serde")]
mod optional_seconds {
    //! As above, for a duration that may be missing: null.
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::time::Duration;

    #[allow(clippy::ref_option, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(
        time: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        time.map(|time| time.as_secs_f64()).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        let seconds = Option::<f64>::deserialize(from)?;
        let time = seconds.map(Duration::try_from_secs_f64).transpose();
        time.map_err(serde::de::Error::custom)
    }
}
