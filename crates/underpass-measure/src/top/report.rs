//! What `underpass top --json` prints: what happened in an interval, and a verdict on each process.

use serde::{Deserialize, Serialize};

use super::activity::{Activity, HopCopies, Overhead, ProcessActivity, Source};
use super::verdict::{Verdict, verdict};
use crate::report::{Count, Evidence};

/// The version of the JSON format. It changes when a field changes its meaning.
pub const TOP_FORM: &str = "underpass-top/1";

const MIB: f64 = 1024.0 * 1024.0;

/// What programs did in an interval, with a verdict on each.
///
/// ```
/// use underpass_measure::top::{Activity, TopReport};
///
/// let report = TopReport::of(Activity::default());
/// assert!(report.processes.is_empty());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TopReport {
    /// The version of the format: [`TOP_FORM`].
    pub form: String,
    /// The version of underpass.
    pub version: String,
    /// When the interval ended: `2026-11-26T12:00:00Z`.
    pub ended: String,
    /// The command that was run, with its options; `None` if no command made the report.
    pub command: Option<String>,
    /// Operating system, release and architecture, as `uname -srm` prints them.
    pub kernel: String,
    /// How long the interval was, in seconds.
    pub seconds: f64,
    /// Where the numbers come from.
    pub source: Source,
    /// The processes.
    pub processes: Vec<ProcessReport>,
    /// Copies that belong to no process: see [`Activity::unattributed`].
    pub unattributed: Vec<HopCopies>,
    /// What could not be counted here, why, and what would add it; one line each.
    pub notes: Vec<String>,
    /// What the watching itself cost.
    pub overhead: Overhead,
}

/// What one process did, and the verdict on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ProcessReport {
    /// What it did.
    #[serde(flatten)]
    pub activity: ProcessActivity,
    /// Bytes that came to it, or passed through it.
    pub bytes_in: u64,
    /// Bytes that left it, or passed through it.
    pub bytes_out: u64,
    /// Copies by the CPU: see [`ProcessActivity::copies_per_byte`].
    pub copies_per_byte: Count,
    /// Switches between user and kernel mode for each MiB of these bytes; `None` if not counted, or
    /// if no bytes moved.
    pub mode_switches_per_mib: Option<f64>,
    /// The verdict.
    pub verdict: Verdict,
}

impl TopReport {
    /// The report of an interval that has just ended.
    pub fn of(activity: Activity) -> Self {
        let uname = rustix::system::uname();
        let words = [uname.sysname(), uname.release(), uname.machine()];
        let ended = humantime::format_rfc3339_seconds(std::time::SystemTime::now());
        let processes = activity.processes.into_iter().map(ProcessReport::of);
        Self {
            form: TOP_FORM.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ended: ended.to_string(),
            command: None,
            kernel: words.map(|word| word.to_string_lossy()).join(" "),
            seconds: activity.seconds,
            source: activity.source,
            processes: processes.collect(),
            unattributed: activity.unattributed,
            notes: activity.notes,
            overhead: activity.overhead,
        }
    }
}

impl ProcessReport {
    /// The verdict on an activity, and the numbers that follow from it.
    pub fn of(activity: ProcessActivity) -> Self {
        let (bytes_in, bytes_out) = (activity.bytes_in(), activity.bytes_out());
        let switches = activity.mode_switches();
        let per_mib = |bytes: u64| Some(switches? as f64 / (bytes as f64 / MIB));
        let moved = activity.bytes_moved();
        Self {
            bytes_in,
            bytes_out,
            copies_per_byte: copies_per_byte(&activity),
            mode_switches_per_mib: Some(moved).filter(|bytes| *bytes > 0).and_then(per_mib),
            verdict: verdict(&activity),
            activity,
        }
    }
}

fn copies_per_byte(activity: &ProcessActivity) -> Count {
    let mut whys: Vec<_> = activity.copies.iter().map(|hop| hop.why.as_str()).collect();
    whys.sort_unstable();
    whys.dedup();
    let why = whys.join("; ");
    match (activity.copies_per_byte(), activity.copies_evidence()) {
        (Some(_), Evidence::Unknown) | (None, _) => Count::unknown(if why.is_empty() {
            "no bytes moved".to_owned()
        } else {
            why
        }),
        (value, evidence) => Count::new(value, evidence, why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::{CallActivity, CallFamily, CopyHop, End};

    fn read_write() -> ProcessActivity {
        let call = |family, from, to| CallActivity {
            family,
            from,
            to,
            calls: 16,
            bytes: 1 << 20,
            calls_of_unknown_bytes: 0,
        };
        let hop = |hop| HopCopies {
            hop,
            bytes: Some(1 << 20),
            evidence: Evidence::Measured,
            why: "kprobes".to_owned(),
        };
        ProcessActivity {
            calls: vec![
                call(CallFamily::Read, End::File, End::Memory),
                call(CallFamily::Write, End::Memory, End::Tcp),
            ],
            copies: vec![hop(CopyHop::FileToUser), hop(CopyHop::UserToSocket)],
            system_calls: Some(40),
            page_faults: Some(2),
            ..ProcessActivity::default()
        }
    }

    #[test]
    fn numbers_are_for_each_byte_and_each_mebibyte() {
        let report = ProcessReport::of(read_write());
        assert_eq!((report.bytes_in, report.bytes_out), (1 << 20, 1 << 20));
        assert_eq!(report.copies_per_byte, Count::measured(2.0, "kprobes"));
        assert_eq!(report.mode_switches_per_mib, Some(84.0));
        assert!(
            report.verdict.line.contains("sendfile"),
            "{}",
            report.verdict
        );
    }

    #[test]
    fn what_is_not_known_is_not_a_number() {
        let mut activity = read_write();
        activity.copies[0].bytes = None;
        activity.copies[0].evidence = Evidence::Unknown;
        activity.page_faults = None;
        let report = ProcessReport::of(activity);
        assert_eq!(report.copies_per_byte, Count::unknown("kprobes"));
        assert_eq!(report.mode_switches_per_mib, None);
        let idle = ProcessReport::of(ProcessActivity::default());
        assert_eq!(idle.copies_per_byte.evidence, Evidence::Unknown);
        assert_eq!(idle.mode_switches_per_mib, None);
    }
}
