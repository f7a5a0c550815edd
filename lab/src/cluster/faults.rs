//! What goes wrong while clients read, and which failures that excuses.

use std::time::{Duration, Instant};

use super::crowd::{Crowd, Seen};
use super::objects::Outcome;
use super::report::Phase;
use super::{Cluster, pause};
use crate::error::Result;

/// How long clients read before something goes wrong, and after it is over.
const AROUND: Duration = Duration::from_secs(3);
/// How long a server that was killed is away.
const AWAY: Duration = Duration::from_secs(5);
/// How long the S3 gateway does not answer.
const HALTED: Duration = Duration::from_secs(10);
/// After it answers again, how long nodes may still leave it alone.
const RECOVERY: Duration = Duration::from_secs(5);
/// What a slow store sends to all nodes together, in a second.
const SLOW: u64 = 4 << 20;
/// What the store sends while an object is replaced, so that readers wait between two blocks.
const REPLACING: u64 = 12 << 20;
const CLIENTS: usize = 24;
const MANY_CLIENTS: usize = 100;
/// How often an object is replaced.
const VERSIONS: u64 = 6;
/// An object of three blocks, so that a reader is between two of them for a while.
const LARGE: usize = 4 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    VolumeServerKilled,
    NodeKilled,
    GatewayHalted,
    SlowStore,
    Replaced,
}

pub(super) const ALL: [Fault; 6] = [
    Fault::None,
    Fault::VolumeServerKilled,
    Fault::NodeKilled,
    Fault::GatewayHalted,
    Fault::SlowStore,
    Fault::Replaced,
];

/// When something was wrong, since the clients began.
#[derive(Debug, Clone, Default)]
pub(super) struct Times {
    pub(super) begin: Duration,
    pub(super) end: Duration,
    /// When an object got another version: before the store was told, and after it answered.
    pub(super) replaced: Vec<(Duration, Duration)>,
}

impl Fault {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::None => "nothing",
            Self::VolumeServerKilled => "a volume server killed",
            Self::NodeKilled => "a node killed",
            Self::GatewayHalted => "the S3 gateway stopped for 10 s",
            Self::SlowStore => "a slow store, 4 MiB/s",
            Self::Replaced => "an object replaced while 100 read it",
        }
    }

    /// Whether nothing could serve a request that failed.
    pub(super) fn excuses(self, seen: &Seen, times: &Times) -> bool {
        let overlaps = |begin, end| seen.began <= end && begin <= seen.ended;
        match self {
            Self::None | Self::VolumeServerKilled | Self::SlowStore => false,
            // What it was sending is cut. Nobody else can go on with that.
            Self::NodeKilled => seen.began <= times.begin && times.begin <= seen.ended,
            Self::GatewayHalted => overlaps(times.begin, times.end + RECOVERY),
            // The rest of a version that the store does not have any more.
            Self::Replaced => {
                let mut replaced = times.replaced.iter();
                seen.outcome == Outcome::Cut && replaced.any(|&(begin, end)| overlaps(begin, end))
            }
        }
    }
}

/// Has clients read while this goes wrong, and puts it right again.
pub(super) fn run(cluster: &mut Cluster, fault: Fault, seed: u64) -> Result<Phase> {
    cluster.meter.forget();
    let objects = std::sync::Arc::clone(&cluster.objects);
    let large = (0..objects.count()).find(|&object| objects.size(object) > LARGE);
    let many = fault == Fault::Replaced;
    let crowd = Crowd {
        to: cluster.addr,
        objects: &objects,
        clients: if many { MANY_CLIENTS } else { CLIENTS },
        seed: seed ^ fault as u64,
        only: large.filter(|_| many),
    };
    let (requests, times) = crowd.during(|began| {
        let done = cause(cluster, fault, began, large.unwrap_or(0));
        pause(AROUND).and(done)
    });
    let times = times?;
    match fault {
        Fault::VolumeServerKilled => cluster.store.restart_volume_server(0)?,
        Fault::NodeKilled => cluster.nodes.restart(0)?,
        _ => {}
    }
    let excuses = |request: &Seen| fault.excuses(request, &times);
    let passed = cluster.meter.passed();
    Ok(Phase::of(fault.name(), &requests, excuses, &passed))
}

fn cause(cluster: &mut Cluster, fault: Fault, began: Instant, large: usize) -> Result<Times> {
    pause(AROUND)?;
    let mut times = Times {
        begin: began.elapsed(),
        ..Times::default()
    };
    match fault {
        Fault::None => {}
        Fault::VolumeServerKilled => {
            cluster.store.kill_volume_server(0);
            pause(AWAY)?;
        }
        Fault::NodeKilled => {
            cluster.nodes.kill(0);
            pause(AWAY)?;
        }
        Fault::GatewayHalted => {
            cluster.store.halt();
            let paused = pause(HALTED);
            cluster.store.proceed();
            times.end = began.elapsed();
            paused?;
            pause(RECOVERY)?;
            return Ok(times);
        }
        Fault::SlowStore => {
            cluster.meter.limit(SLOW);
            let paused = pause(AWAY);
            cluster.meter.limit(0);
            paused?;
        }
        Fault::Replaced => {
            cluster.meter.limit(REPLACING);
            for version in 1..=VERSIONS {
                let before = began.elapsed();
                cluster.objects.replace(large, version)?;
                times.replaced.push((before, began.elapsed()));
                pause(Duration::from_secs(2))?;
            }
            cluster.meter.limit(0);
        }
    }
    times.end = began.elapsed();
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(began: u64, ended: u64, outcome: Outcome) -> Seen {
        Seen {
            began: Duration::from_secs(began),
            ended: Duration::from_secs(ended),
            object: 0,
            bytes: 0,
            outcome,
        }
    }

    #[test]
    fn only_what_nobody_could_serve_is_excused() {
        let seconds = Duration::from_secs;
        let times = Times {
            begin: seconds(3),
            end: seconds(13),
            replaced: vec![(seconds(5), seconds(6))],
        };
        let excuses = |fault: Fault, began, ended, outcome| {
            fault.excuses(&seen(began, ended, outcome), &times)
        };
        for fault in [Fault::None, Fault::VolumeServerKilled, Fault::SlowStore] {
            assert!(!excuses(fault, 4, 5, Outcome::Cut));
        }
        assert!(excuses(Fault::NodeKilled, 2, 3, Outcome::Cut));
        assert!(!excuses(Fault::NodeKilled, 4, 5, Outcome::Refused(503)));
        assert!(excuses(Fault::GatewayHalted, 4, 5, Outcome::Refused(503)));
        assert!(!excuses(Fault::GatewayHalted, 1, 2, Outcome::Refused(503)));
        assert!(!excuses(
            Fault::GatewayHalted,
            20,
            21,
            Outcome::Refused(503)
        ));
        assert!(excuses(Fault::Replaced, 4, 5, Outcome::Cut));
        assert!(!excuses(Fault::Replaced, 7, 8, Outcome::Cut));
        assert!(!excuses(Fault::Replaced, 4, 5, Outcome::Refused(502)));
    }
}
