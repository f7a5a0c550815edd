//! The parts that the receipts of relays and fan-outs share.

use std::fmt;
use std::os::fd::AsFd;
use std::time::Duration;

use crate::endpoint::{Endpoint, Kind, name_of};
use crate::net::egress::Egress;
use crate::receipt::{Copies, Crypto, Party, RouteUse};
use crate::route::Route;
use crate::units;

/// Asks the kernel for a socket's kind, its name, and the interface a TCP connection leaves by.
pub(crate) fn inspect_socket(socket: impl AsFd) -> std::io::Result<(Party, Endpoint)> {
    let fd = socket.as_fd();
    let mut endpoint = Endpoint::of(fd)?;
    endpoint.egress = (endpoint.kind == Kind::Tcp)
        .then(|| Egress::of(fd).ok())
        .flatten();
    let party = Party {
        kind: endpoint.kind,
        name: name_of(fd, endpoint.kind),
        tls: None,
    };
    Ok((party, endpoint))
}

/// The use of both routes, from their `(bytes, system calls)`; a route without calls is left out.
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

/// Formats a time as `1.23 s`.
pub(crate) struct Seconds(pub(crate) f64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = Duration::try_from_secs_f64(self.0).unwrap_or_default();
        f.write_str(&units::duration(time))
    }
}

/// Formats routes as `, splice 1,048,576 in 3 system calls`.
pub(crate) struct Routes<'a>(pub(crate) &'a [RouteUse]);

impl fmt::Display for Routes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|used| {
            let (route, bytes) = (used.route, units::grouped(used.bytes));
            let calls = units::count(used.syscalls, "system call");
            write!(f, ", {route} {bytes} in {calls}")
        })
    }
}

/// Formats copies as `CPU copies 0 (expected)`.
pub(crate) struct Copied<'a>(pub(crate) &'a Copies);

impl fmt::Display for Copied<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.cpu_bytes {
            Some(bytes) => {
                let bytes = units::grouped(bytes);
                write!(f, "CPU copies {bytes} ({})", self.0.evidence)
            }
            None => write!(f, "CPU copies unknown"),
        }
    }
}

/// `, 1,048,576 encrypted in user space (measured)`; nothing without TLS.
pub(crate) struct Encrypted<'a>(pub(crate) &'a Crypto);

impl fmt::Display for Encrypted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.passes.iter().try_for_each(|pass| {
            let bytes = units::grouped(pass.bytes);
            write!(f, ", {bytes} {} ({})", pass.phrase(), pass.evidence)
        })
    }
}
