//! Compares the claims about zero-copy with what was counted.

use std::fmt;

use crate::network::Link;
use crate::report::{Count, Report};
use crate::stream::{Case, Stream};
use crate::way::Way;

/// How far a count may differ from a claim. Other programs' packets and retransmissions are counted
/// too.
const TOLERANCE: f64 = 0.01;
/// The tolerance for calls: a call that moved less than it could is followed by another one.
const CALLS_TOLERANCE: f64 = 0.05;

/// One claim, and whether it holds.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Claim {
    /// What the claim is about, such as `read-write over veth: CPU copies of a byte`.
    pub about: String,
    /// The claimed number.
    pub claimed: f64,
    /// The result of the comparison.
    pub verdict: Verdict,
}

/// Whether a claim holds.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Verdict {
    /// It was counted, and the count agrees.
    Holds(f64),
    /// It was counted, and the count differs.
    Fails(f64),
    /// It was not counted here, for this reason.
    NotCounted(String),
}

/// The claims S1, S2 and S3: copies by the CPU per byte, and mode switches per buffer. The same
/// copies with TLS, and passes of encryption. And S6 for streams: one copy in and one copy out for
/// each consumer, or none.
pub fn claims(report: &Report) -> Vec<Claim> {
    let mut claims = of_files(report);
    claims.extend(of_tls(report));
    claims.extend(of_streams(report));
    claims
}

fn of_files(report: &Report) -> Vec<Claim> {
    let mut claims = Vec::new();
    for (way, link, copies, switches) in [
        (Way::ReadWrite, Link::Veth, 2.0, 4.0),
        (Way::Sendfile, Link::VethNoGather, 1.0, 2.0),
        (Way::Sendfile, Link::Veth, 0.0, 2.0),
    ] {
        let row = report.unit(way.name(), link.name());
        let about = |what: &str| format!("{way} over {}: {what}", link.name());
        claims.push(Claim {
            about: about("CPU copies of a byte"),
            claimed: copies,
            verdict: verdict(row.map(|row| &row.copies.by_cpu), copies, TOLERANCE),
        });
        claims.push(Claim {
            about: about("mode switches for 64 KiB"),
            claimed: switches,
            verdict: verdict(row.map(|row| &row.mode_switches), switches, CALLS_TOLERANCE),
        });
    }
    claims
}

/// Ways with TLS: encryption is one pass over each byte everywhere; what differs is the copies.
fn of_tls(report: &Report) -> Vec<Claim> {
    let link = Link::Veth;
    let mut claims = Vec::new();
    for (way, copies) in [
        (Way::TlsReadWrite, 2.0),
        (Way::TlsSeal, 1.0),
        (Way::TlsSendfile, 0.0),
    ] {
        let row = report.unit(way.name(), link.name());
        let absent = report.absent_way(way.name());
        let claim = |what: &str, claimed, count: Option<&Count>| Claim {
            about: format!("{way} over {}: {what}", link.name()),
            claimed,
            verdict: match absent {
                Some(missing) => Verdict::NotCounted(missing.to_owned()),
                None => verdict(count, claimed, TOLERANCE),
            },
        };
        let copied = row.map(|row| &row.copies.by_cpu);
        let passes = row.and_then(|row| Some(&row.crypto.as_ref()?.by_cpu));
        claims.push(claim("CPU copies of a byte", copies, copied));
        claims.push(claim("passes of encryption over a byte", 1.0, passes));
    }
    claims
}

fn of_streams(report: &Report) -> impl Iterator<Item = Claim> {
    Case::all(&Stream::ALL).into_iter().map(|case| {
        let row = report.stream(case.stream.name(), case.by.name(), case.consumers);
        let claimed = f64::from(case.expected_copies());
        Claim {
            about: format!("{case}: CPU copies of a byte"),
            claimed,
            verdict: verdict(row.map(|row| &row.cpu_copies), claimed, TOLERANCE),
        }
    })
}

fn verdict(count: Option<&Count>, claimed: f64, tolerance: f64) -> Verdict {
    let Some(count) = count else {
        return Verdict::NotCounted("this way and link were not measured".to_owned());
    };
    match count.as_measured() {
        Some(found) if (found - claimed).abs() <= tolerance => Verdict::Holds(found),
        Some(found) => Verdict::Fails(found),
        None => Verdict::NotCounted(format!("{}: {}", count.evidence, count.why)),
    }
}

impl Claim {
    /// Whether the claim was counted and agrees.
    pub fn holds(&self) -> bool {
        matches!(self.verdict, Verdict::Holds(_))
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { about, claimed, .. } = self;
        match &self.verdict {
            Verdict::Holds(found) => {
                write!(f, "holds: {about}: {found:.3} counted, {claimed} claimed")
            }
            Verdict::Fails(found) => {
                write!(f, "FAILS: {about}: {found:.3} counted, {claimed} claimed")
            }
            Verdict::NotCounted(why) => write!(f, "not counted: {about}: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_counted_can_hold() {
        let of = |count: &Count| verdict(Some(count), 2.0, TOLERANCE);
        assert_eq!(of(&Count::measured(2.009, "")), Verdict::Holds(2.009));
        assert_eq!(of(&Count::measured(2.011, "")), Verdict::Fails(2.011));
        assert_eq!(of(&Count::measured(0.0, "")), Verdict::Fails(0.0));
        assert!(matches!(
            of(&Count::expected(2.0, "")),
            Verdict::NotCounted(_)
        ));
        assert!(matches!(
            verdict(None, 2.0, TOLERANCE),
            Verdict::NotCounted(_)
        ));
    }
}
