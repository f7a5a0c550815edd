//! How many files and connections the process may have open.

use std::num::NonZeroUsize;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::report;

/// What a process needs besides: standard streams, listeners, event queues.
const BESIDES: usize = 64;
/// Connections where nobody said how many.
const USUAL: usize = 16_384;

/// What descriptors are wanted for.
pub(crate) struct Wanted {
    /// Connections, if somebody said how many.
    pub(crate) connections: Option<NonZeroUsize>,
    /// Descriptors that one takes.
    pub(crate) each: usize,
    /// Others, whatever the connections.
    pub(crate) others: usize,
    /// What to change where there are too few of them.
    pub(crate) lower: &'static str,
}

/// Raises the limit as far as it goes and gives the number of connections that there may be.
pub(crate) fn connections(wanted: &Wanted, quiet: bool) -> usize {
    let allowed = raise();
    let room = allowed.saturating_sub(wanted.others + BESIDES) / wanted.each;
    let Some(asked) = wanted.connections else {
        return USUAL.min(room).max(1);
    };
    if asked.get() > room && !quiet {
        report::notice(format_args!(
            "{asked} connections do not fit into the {allowed} files that may be open: raise the limit (ulimit -Hn), or \
             lower {}",
            wanted.lower
        ));
    }
    // Connections that wait to be accepted fare better than those whose other half has no descriptor.
    asked.get().min(room.max(1))
}

/// Raises the limit as far as it goes and gives `wanted`, or half of the limit: what is kept for speed must leave room for
/// what is there to be served.
pub(crate) fn at_most_half(wanted: usize) -> usize {
    wanted.min(raise() / 2)
}

fn raise() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // If this is refused the old one holds.
    let _ = setrlimit(Resource::Nofile, raised);
    let allowed = getrlimit(Resource::Nofile).current;
    allowed.map_or(usize::MAX, |allowed| allowed as usize)
}
