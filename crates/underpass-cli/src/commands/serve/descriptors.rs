//! How many files and connections the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a process needs besides: standard streams, listeners, event queues.
const BESIDES: u64 = 64;

/// Raises the limit to what the administrator allows at most. If that is less than `wanted`, says so.
pub(super) fn raise(wanted: usize) -> Option<String> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // If this one is refused the old one holds.
    let _ = setrlimit(Resource::Nofile, raised);
    let allowed = getrlimit(Resource::Nofile).current?;
    let wanted = wanted as u64 + BESIDES;
    (allowed < wanted).then(|| {
        format!(
            "only {allowed} files and connections can be open at once, {wanted} may be wanted: \
             raise the limit (ulimit -Hn), or lower --max-connections or --cache-entries"
        )
    })
}
