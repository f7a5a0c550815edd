//! How many files and connections the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::args::Serve;
use crate::report;

/// What a process needs besides: standard streams, listeners, event queues.
const BESIDES: usize = 64;
/// Connections where nobody said how many.
const USUAL: usize = 16_384;

/// Raises the limit as far as it goes and gives the number of connections that there may be.
pub(super) fn connections(args: &Serve) -> usize {
    let allowed = raise();
    let room = allowed.saturating_sub(args.memory.cache_entries + BESIDES);
    let Some(asked) = args.limits.max_connections else {
        return USUAL.min(room).max(1);
    };
    if asked.get() > room && !args.observing.quiet {
        report::notice(format_args!(
            "{asked} connections and {} cached files do not fit into the {allowed} files that may be open: \
             raise the limit (ulimit -Hn), or lower --max-connections or --cache-entries",
            args.memory.cache_entries
        ));
    }
    asked.get()
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
