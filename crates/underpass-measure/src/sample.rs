//! One sample: a new connection, over which the file is sent a number of times, and what that cost.

use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use underpass::Cancel;
use underpass::receipt::CryptoPlace;
use underpass_tls::{Mode, Session};

use crate::error::{Context, Error, Result};
use crate::file::TestFile;
use crate::network::Network;
use crate::pin::Processors;
use crate::probe::{Counted, Probe, start, stop};
use crate::receiver::{FarEnd, Receiver, Use};
use crate::tls::Tls;
use crate::way::{Job, SendReport, Way};

/// What is sent, by which way, and over which network.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SampleSpec<'a> {
    pub(crate) way: Way,
    pub(crate) network: &'a Network,
    /// For ways with TLS.
    pub(crate) tls: Option<&'a Tls>,
    pub(crate) file: &'a TestFile,
    /// Size of the file.
    pub(crate) bytes: u64,
    /// How often the file is sent.
    pub(crate) repeats: u64,
    pub(crate) processors: Processors,
    pub(crate) cancel: Option<&'a Cancel>,
}

/// What a sample cost.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Time from the first call until the receiver had the last byte.
    pub(crate) wall: Duration,
    /// What the way itself reports, summed over the repeats.
    pub(crate) reported: SendReport,
    pub(crate) counted: Counted,
    /// Bytes that the sender encrypted in this process.
    pub(crate) encrypted: u64,
    /// Segments that TCP sent again meanwhile, as far as that is known: their bytes may be copied
    /// again.
    pub(crate) retransmitted: u64,
}

impl Outcome {
    /// Whether the counts are of this transfer, with nothing missed and nothing done twice.
    pub(crate) fn is_undisturbed(&self) -> bool {
        self.counted.is_whole() && self.retransmitted == 0
    }
}

impl SampleSpec<'_> {
    pub(crate) fn total(&self) -> u64 {
        self.bytes * self.repeats
    }

    /// Sends and counts with `probes`; the receiver discards the bytes.
    pub(crate) fn count(&self, probes: &mut [Box<dyn Probe>]) -> Result<Outcome> {
        self.run(probes, Use::Discard)
    }

    /// Sends without counting; the receiver compares each byte.
    pub(crate) fn check(&self) -> Result<()> {
        let file = self.file.file().try_clone();
        let file = file.context(|| "the test file cannot be opened twice".into())?;
        let bytes = self.bytes;
        self.run(&mut [], Use::Compare { file, bytes })?;
        Ok(())
    }

    fn run(&self, probes: &mut [Box<dyn Probe>], what: Use) -> Result<Outcome> {
        let (near, session, far) = self.connect()?;
        let receiver = Receiver::start(far, self.total(), what, self.processors);
        let job = Job {
            file: self.file.file(),
            bytes: self.bytes,
            socket: &near,
            session: session.as_ref(),
            cancel: self.cancel,
        };
        let retransmissions = || self.network.retransmissions();
        let before = retransmissions();
        let mut send = self.way.prepare(job).context(|| self.shown())?;
        let mut reported = SendReport::default();
        // If there is no vDSO, reading the clock is a system call, which must not be counted.
        let began = Instant::now();
        // A probe counts the calls of those that are started after it and stopped before it. So the
        // last one, which counts calls, counts none of them.
        start(probes).context(|| self.shown())?;
        let moved = (0..self.repeats).try_for_each(|_| send().map(|one| reported += one));
        let stopped = stop(probes);
        drop(send);
        if moved.is_err() || session.is_some() {
            // Otherwise the receiver would wait for the rest, or for another record.
            let _ = near.shutdown(Shutdown::Write);
        }
        let arrived = receiver.wait();
        moved.and(stopped).context(|| self.shown())?;
        let ended = arrived.context(|| self.shown())?;
        let mut counted = Counted::default();
        for probe in probes {
            probe.collect(&mut counted).context(|| self.shown())?;
        }
        Ok(Outcome {
            wall: ended - began,
            reported,
            counted,
            encrypted: session.map_or(0, |session| session.encrypted()),
            retransmitted: before.zip(retransmissions()).map_or(0, |(a, b)| b - a),
        })
    }

    /// Connects, and shakes hands if the way has TLS. Returns the sender's end with its session,
    /// and the receiver's end.
    fn connect(&self) -> Result<(TcpStream, Option<Arc<Session>>, FarEnd)> {
        let (near, far) = self.network.connect()?;
        let Some((place, tls)) = self.way.encrypts().zip(self.tls) else {
            return Ok((near, None, FarEnd::Plain(far)));
        };
        let sessions = tls.handshake(&near, &far, place);
        let (session, far_session) = sessions.context(|| self.shown())?;
        if let (CryptoPlace::Kernel, Mode::User(reason)) = (place, session.info().mode) {
            return Err(Error::new(format!("{}: {reason}", self.shown())));
        }
        Ok((
            near,
            Some(Arc::new(session)),
            FarEnd::Tls(far, Box::new(far_session)),
        ))
    }

    fn shown(&self) -> String {
        let link = self.network.link.name();
        format!("{} of {} bytes over {link}", self.way, self.bytes)
    }
}
