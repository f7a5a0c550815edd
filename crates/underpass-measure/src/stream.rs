//! A stream that comes by one socket and leaves by others: relayed to one consumer or fanned out to
//! many, by copying or by splicing.

use std::fmt;
use std::io;
use std::net::TcpStream;
use std::str::FromStr;
use std::time::Instant;

use crate::error::{Context, Error, Result};
use crate::file::TestFile;
use crate::network::Network;
use crate::pin::Processors;
use crate::probe::{Counted, Probe, start, stop};
use crate::receiver::{FarEnd, Receiver, Use};
use crate::sample::Outcome;
use crate::way::{SendReport, UserCopies};

mod copying;
mod producer;
pub(crate) mod rows;
mod splicing;

use producer::Producer;

/// A way to pass a stream on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stream {
    /// To one consumer.
    Relay,
    /// To several consumers.
    FanOut,
}

/// The system calls that pass a stream on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// One read(2) into a buffer, and one write(2) from it for each consumer.
    ReadWrite,
    /// What `underpass` does with bulk: splice(2), and tee(2) if there are several consumers.
    Splice,
}

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) stream: Stream,
    pub(crate) by: By,
    pub(crate) consumers: u32,
}

/// Passes a stream from `source` to all of `sinks`, and returns how many calls that took. Both ends
/// stay open until it is dropped.
pub(crate) trait Passing {
    fn pass(&mut self) -> io::Result<u64>;
}

/// One sample: which case, and how many bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run<'a> {
    pub(crate) case: Case,
    pub(crate) network: &'a Network,
    pub(crate) file: &'a TestFile,
    /// Length of the stream.
    pub(crate) bytes: u64,
    pub(crate) processors: Processors,
}

impl Stream {
    /// All, in the order of the table.
    pub const ALL: [Self; 2] = [Self::Relay, Self::FanOut];

    /// The name in tables, options and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::FanOut => "fan-out",
        }
    }

    /// The numbers of consumers that are measured.
    pub(crate) fn consumers(self) -> &'static [u32] {
        match self {
            Self::Relay => &[1],
            Self::FanOut => &[1, 4, 16],
        }
    }
}

impl By {
    pub(crate) const ALL: [Self; 2] = [Self::ReadWrite, Self::Splice];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ReadWrite => "read-write",
            Self::Splice => "splice",
        }
    }
}

impl Case {
    /// The cases of `streams`. Those with the same number of consumers are side by side, copying
    /// first.
    pub(crate) fn all(streams: &[Stream]) -> Vec<Self> {
        let shapes = streams.iter().flat_map(|&stream| {
            let consumers = stream.consumers().iter();
            consumers.map(move |&consumers| (stream, consumers))
        });
        let cases = shapes.flat_map(|(stream, consumers)| {
            By::ALL.map(|by| Self {
                stream,
                by,
                consumers,
            })
        });
        cases.collect()
    }

    /// Copies of each byte of the stream between the kernel and the program, as the calls are
    /// documented.
    pub(crate) fn expected_copies(self) -> u32 {
        match self.by {
            By::ReadWrite => 1 + self.consumers,
            By::Splice => 0,
        }
    }
}

impl Run<'_> {
    /// Bytes that all consumers together get.
    pub(crate) fn delivered(&self) -> u64 {
        self.bytes * u64::from(self.case.consumers)
    }

    /// Passes the stream on and counts with `probes`; the consumers discard the bytes.
    pub(crate) fn count(&self, probes: &mut [Box<dyn Probe>]) -> Result<Outcome> {
        self.run(probes, || Ok(Use::Discard))
    }

    /// Passes the stream on without counting; every consumer compares each byte.
    pub(crate) fn check(&self) -> Result<()> {
        let compare = || {
            let file = self.file.file().try_clone();
            let file = file.context(|| "the test file cannot be opened twice".into())?;
            let bytes = self.bytes;
            Ok(Use::Compare { file, bytes })
        };
        self.run(&mut [], compare).map(drop)
    }

    fn run(
        &self,
        probes: &mut [Box<dyn Probe>],
        what: impl Fn() -> Result<Use>,
    ) -> Result<Outcome> {
        let shown = || self.case.to_string();
        let (near, source) = self.network.connect()?;
        let (mut sinks, mut consumers) = (Vec::new(), Vec::new());
        for _ in 0..self.case.consumers {
            let (sink, far) = self.network.connect()?;
            sinks.push(sink);
            consumers.push(Receiver::start(
                FarEnd::Plain(far),
                self.bytes,
                what()?,
                self.processors,
            ));
        }
        let mut passing = self.prepare(source, sinks).context(shown)?;
        let file = self.file.file().try_clone().context(shown)?;
        let producer = Producer::start(near, file, self.bytes, self.processors);
        // As for a file: the clock is read first, and the probe that counts calls starts last.
        let began = Instant::now();
        start(probes).context(shown)?;
        let passed = passing.pass();
        let stopped = stop(probes);
        let calls = match passed.and_then(|calls| stopped.map(|()| calls)) {
            Ok(calls) => calls,
            Err(error) => {
                // Otherwise the consumers would wait for the rest, and the producer for a reader.
                drop(passing);
                return Err(Error::new(format!("{}: {error}", shown())));
            }
        };
        let mut ended = began;
        for consumer in consumers {
            ended = ended.max(consumer.wait().context(shown)?);
        }
        producer.wait().context(shown)?;
        drop(passing);
        let mut counted = Counted::default();
        for probe in probes {
            probe.collect(&mut counted).context(shown)?;
        }
        Ok(Outcome {
            wall: ended - began,
            reported: SendReport {
                calls,
                copied: None,
                expected: UserCopies::default(),
            },
            counted,
            encrypted: 0,
            retransmitted: 0,
        })
    }

    fn prepare(&self, source: TcpStream, sinks: Vec<TcpStream>) -> io::Result<Box<dyn Passing>> {
        Ok(match (self.case.by, self.case.stream) {
            (By::ReadWrite, _) => Box::new(copying::Copying::new(source, sinks)),
            (By::Splice, Stream::Relay) => Box::new(splicing::Relayed::new(source, sinks)?),
            (By::Splice, Stream::FanOut) => Box::new(splicing::FannedOut::new(source, sinks)?),
        })
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (stream, by) = (self.stream.name(), self.by.name());
        write!(f, "{stream} to {} by {by}", self.consumers)
    }
}

impl FromStr for Stream {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let known = || Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|stream| stream.name() == text)
            .ok_or_else(|| format!("{text:?} is not a stream; these are: {}", known()))
    }
}
