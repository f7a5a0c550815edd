//! Limits on open files, and the number of connections that they allow.

use std::num::NonZeroUsize;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use underpass::units;

use crate::report;

/// Descriptors kept for everything else: standard streams, listeners, event queues. At most a
/// quarter of the limit is kept for them.
const BESIDES: usize = 64;
/// The default limit on connections.
const USUAL: usize = 16_384;
/// If the limit on open files allows fewer connections than this, and no number was given, a notice
/// says so.
const FEW: usize = 1024;

/// What a server needs descriptors for.
pub(crate) struct DescriptorNeeds {
    /// The limit on connections, if one was given.
    pub(crate) connections: Option<NonZeroUsize>,
    /// Descriptors for each connection.
    pub(crate) each: usize,
    /// Descriptors that do not depend on the number of connections.
    pub(crate) others: usize,
    /// The options that lower the need, for the text of the notice.
    pub(crate) lower: &'static str,
}

/// Raises the limit on open files as far as allowed, and returns how many connections fit into it.
pub(crate) fn connections(wanted: &DescriptorNeeds, quiet: bool) -> usize {
    let allowed = raise();
    let room = left(allowed).saturating_sub(wanted.others) / wanted.each;
    // At least one. A client that waits to be accepted is better off than one whose connection
    // lacks its second descriptor.
    let room = room.max(1);
    let asked = wanted.connections.map(NonZeroUsize::get);
    let notice = match asked {
        _ if quiet => None,
        Some(asked) if asked > room => Some(format!(
            "{asked} connections at once do not fit into the {allowed} files that may be open: raise the limit (ulimit -Hn), or \
             lower {}",
            wanted.lower
        )),
        None if room < FEW => Some(format!(
            "no more than {} at once: only {allowed} files may be open; raise the limit (ulimit -Hn)",
            units::count(room as u64, "connection")
        )),
        _ => None,
    };
    notice.into_iter().for_each(report::notice);
    asked.unwrap_or(USUAL).min(room)
}

/// Raises the limit on open files as far as allowed, and returns how many files may be kept open as
/// a cache: `wanted`, but at most a third of the limit.
pub(crate) fn kept_open(wanted: usize) -> usize {
    wanted.min(left(raise()) / 3)
}

/// The part of the limit that remains for connections and caches.
fn left(allowed: usize) -> usize {
    allowed - BESIDES.min(allowed / 4)
}

fn raise() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // If this is refused, the old limit stays.
    let _ = setrlimit(Resource::Nofile, raised);
    let allowed = getrlimit(Resource::Nofile).current;
    allowed.map_or(usize::MAX, |allowed| allowed as usize)
}
