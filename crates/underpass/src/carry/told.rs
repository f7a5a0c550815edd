//! How what was carried is told: by receipts, and to people.

use std::fmt;
use std::time::Duration;

use rustix::io::Errno;

use crate::receipt::{Copies, RouteUse};
use crate::route::Route;
use crate::transfer::verdict;

/// The routes that made calls, of those that were given bytes and calls.
pub(crate) fn routes(splice: (u64, u64), read_write: (u64, u64)) -> Vec<RouteUse> {
    let used = [(Route::Splice, splice), (Route::ReadWrite, read_write)];
    let used = used.into_iter().filter(|(_, (_, calls))| *calls > 0);
    used.map(|(route, (bytes, syscalls))| RouteUse {
        route,
        bytes,
        syscalls,
    })
    .collect()
}

/// The name of an error, such as `ECONNRESET`.
pub(crate) fn errno_name(raw_os_error: i32) -> String {
    verdict::name(Errno::from_raw_os_error(raw_os_error))
}

/// `1.23s`
pub(crate) struct Seconds(pub(crate) f64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = Duration::try_from_secs_f64(self.0).unwrap_or_default();
        write!(f, "{time:.2?}")
    }
}

/// `, splice 1048576 in 3 system calls`
pub(crate) struct Routes<'a>(pub(crate) &'a [RouteUse]);

impl fmt::Display for Routes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|used| {
            let (route, bytes, calls) = (used.route, used.bytes, used.syscalls);
            write!(f, ", {route} {bytes} in {calls} system calls")
        })
    }
}

/// `CPU copies 0 (expected)`
pub(crate) struct Copied<'a>(pub(crate) &'a Copies);

impl fmt::Display for Copied<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.cpu_bytes {
            Some(bytes) => write!(f, "CPU copies {bytes} ({})", self.0.evidence),
            None => write!(f, "CPU copies unknown"),
        }
    }
}
