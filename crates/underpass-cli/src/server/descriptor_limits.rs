//! How many files and connections the process may have open.

use std::num::NonZeroUsize;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::report;

/// What a process needs besides: standard streams, listeners, event queues. Never more than a
/// quarter of what there is.
const BESIDES: usize = 64;
/// Connections where nobody said how many.
const USUAL: usize = 16_384;
/// Fewer than these are told of, where nobody asked for so few.
const FEW: usize = 1024;

/// What descriptors are wanted for.
pub(crate) struct DescriptorNeeds {
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
pub(crate) fn connections(wanted: &DescriptorNeeds, quiet: bool) -> usize {
    let allowed = raise();
    let room = left(allowed).saturating_sub(wanted.others) / wanted.each;
    // Connections that wait to be accepted fare better than those whose other half has no
    // descriptor.
    let room = room.max(1);
    let asked = wanted.connections.map(NonZeroUsize::get);
    let told = match asked {
        _ if quiet => None,
        Some(asked) if asked > room => Some(format!(
            "{asked} connections do not fit into the {allowed} files that may be open: raise the limit (ulimit -Hn), or \
             lower {}",
            wanted.lower
        )),
        None if room < FEW => Some(format!(
            "no more than {room} connections at once: only {allowed} files may be open; raise the limit (ulimit -Hn)"
        )),
        _ => None,
    };
    told.into_iter().for_each(report::notice);
    asked.unwrap_or(USUAL).min(room)
}

/// Raises the limit as far as it goes and gives `wanted` files to be kept open for speed, or a
/// third of what there is: two thirds are for those who are to be served.
pub(crate) fn kept_open(wanted: usize) -> usize {
    wanted.min(left(raise()) / 3)
}

/// Of the files that may be open, those that are not needed besides.
fn left(allowed: usize) -> usize {
    allowed - BESIDES.min(allowed / 4)
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
