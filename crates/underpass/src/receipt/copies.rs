//! How many bytes the CPU copied, stage by stage, as far as that is known.
//!
//! The CPU may copy a byte in three stages: out of the source, into the sink, and, for a socket,
//! into contiguous memory for an interface without scatter-gather. If one stage is unknown for the
//! file system or device, the count is unknown.

use super::{Copies, Evidence, RouteUse};
use crate::endpoint::{Endpoint, Kind};
use crate::route::Route;

/// Copies of each byte in one stage; `None` is unknown.
type Stage = Option<u64>;

/// The copies of one route, and the reason.
type Known = (Option<u64>, Evidence, String);

/// Sums up over the routes that were used. `zerocopy_copied` is what the kernel reported for
/// `send-zerocopy`.
pub(crate) fn count(
    routes: &[RouteUse],
    source: &Endpoint,
    sink: &Endpoint,
    zerocopy_copied: u64,
) -> Copies {
    sum(routes, |used| of_route(used, source, sink, zerocopy_copied))
}

/// As [`count`], for the source alone: the bytes stay in a pipe or in memory.
pub(crate) fn taking(routes: &[RouteUse], source: &Endpoint) -> Copies {
    sum(routes, |used| {
        let (stage, why) = match used.route {
            Route::Splice => referenced(source),
            _ => (user_copy(source), format!("read from a {}", source.kind)),
        };
        let copies = stage.map(|stage| stage * used.bytes);
        (copies, Evidence::Expected, format!("{} {why}", used.route))
    })
}

/// As [`count`], for the sink alone: the bytes come from a pipe or from memory.
pub(crate) fn giving(routes: &[RouteUse], sink: &Endpoint) -> Copies {
    sum(routes, |used| {
        let kept = match used.route {
            Route::Splice => Kind::Pipe,
            _ => Kind::Memory,
        };
        of_route(used, &Endpoint::assumed(kept), sink, 0)
    })
}

/// Those of several sources together. The evidence is the weakest.
pub(crate) fn together(each: impl Iterator<Item = Copies>) -> Copies {
    let mut moved = each.filter(|copies| copies.why != NOTHING);
    let Some(first) = moved.next() else {
        return nothing();
    };
    moved.fold(first, |sum, copies| Copies {
        cpu_bytes: sum
            .cpu_bytes
            .zip(copies.cpu_bytes)
            .map(|(one, other)| one + other),
        evidence: sum.evidence.min(copies.evidence),
        why: if sum.why.contains(&copies.why) {
            sum.why
        } else {
            format!("{}; {}", sum.why, copies.why)
        },
    })
}

const NOTHING: &str = "no route moved a byte";

fn nothing() -> Copies {
    Copies {
        cpu_bytes: Some(0),
        evidence: Evidence::Expected,
        why: NOTHING.to_owned(),
    }
}

fn sum(routes: &[RouteUse], known: impl Fn(&RouteUse) -> Known) -> Copies {
    let mut total = Some(0_u64);
    let mut reasons: Vec<String> = Vec::new();
    let mut evidence = Evidence::Measured;
    for used in routes.iter().filter(|used| used.bytes > 0) {
        let (bytes, how, why) = known(used);
        total = total.zip(bytes).map(|(sum, bytes)| sum + bytes);
        evidence = evidence.min(how);
        if !reasons.contains(&why) {
            reasons.push(why);
        }
    }
    if reasons.is_empty() {
        return nothing();
    }
    Copies {
        cpu_bytes: total,
        evidence,
        why: reasons.join("; "),
    }
}

/// How often the CPU would copy each byte on `route`, as far as it is documented:
/// [`Copies::cpu_bytes`] for one byte.
///
/// For a TCP sink that depends on its network interface. Without [`Endpoint::egress`] the count is
/// unknown.
pub fn expected(route: Route, source: &Endpoint, sink: &Endpoint) -> Copies {
    if route == Route::SendZerocopy {
        return Copies {
            cpu_bytes: None,
            evidence: Evidence::Expected,
            why: "the kernel says after each send whether it copied".to_owned(),
        };
    }
    let one = RouteUse {
        route,
        bytes: 1,
        syscalls: 0,
    };
    count(&[one], source, sink, 0)
}

fn of_route(used: &RouteUse, source: &Endpoint, sink: &Endpoint, zerocopy_copied: u64) -> Known {
    if used.route == Route::SendZerocopy {
        let why = format!(
            "send-zerocopy: the kernel reported {zerocopy_copied} of {} bytes copied",
            used.bytes
        );
        return (Some(zerocopy_copied), Evidence::Reported, why);
    }
    let (path, what) = path(used.route, source, sink);
    let (linear, interface) = linearised(sink);
    let why = match interface {
        Some(interface) => format!("{what}; {interface}"),
        None => what,
    };
    let copies = path
        .zip(linear)
        .map(|(path, linear)| (path + linear) * used.bytes);
    (copies, Evidence::Expected, why)
}

/// The copies from source to sink, without those for the network interface.
fn path(route: Route, source: &Endpoint, sink: &Endpoint) -> (Stage, String) {
    let from = source.kind;
    match route {
        Route::Reflink => (Some(0), "reflink shares the extents".to_owned()),
        Route::CopyFileRange => copy_file_range(source),
        Route::Sendfile | Route::Splice => {
            let (out, taken) = referenced(source);
            let (into, given) = received(sink);
            let copies = out.zip(into).map(|(out, into)| out + into);
            (copies, format!("{route} {taken}{given}"))
        }
        Route::Seal => (
            user_copy(sink),
            "seal encrypts the source's own pages into a buffer, and that is copied to the socket"
                .to_owned(),
        ),
        Route::ReadWrite if from == Kind::Memory => {
            (written(sink), "written from memory".to_owned())
        }
        Route::ReadWrite => {
            let unknown = [source, sink]
                .into_iter()
                .find(|end| user_copy(end).is_none());
            let copies = user_copy(source).zip(written(sink)).map(|(a, b)| a + b);
            let why = if sink.is_tls_in_kernel() {
                "read-write copies into user space; the kernel's TLS encrypts from there"
            } else {
                "read-write copies into user space and out of it"
            };
            let why = match unknown {
                None => why.to_owned(),
                Some(end) => format!("{why}; what a {} does beyond that is not known", end.kind),
            };
            (copies, why)
        }
        Route::SendZerocopy => (None, String::new()),
    }
}

fn copy_file_range(source: &Endpoint) -> (Stage, String) {
    match source.file_system {
        Some(file_system) if file_system.copies_in_kernel() => {
            let name = file_system.name();
            (
                Some(1),
                format!("copy_file_range copies in the kernel on {name}"),
            )
        }
        Some(file_system) => {
            let name = file_system.name();
            (
                None,
                format!("copy_file_range shares or copies on {name}, it does not say"),
            )
        }
        None => (None, "copy_file_range on an unknown file system".to_owned()),
    }
}

/// Copies made to refer to the source's pages.
fn referenced(source: &Endpoint) -> (Stage, String) {
    match (source.kind, source.file_system) {
        (Kind::File, _) if source.direct => (None, "from a file opened with O_DIRECT".to_owned()),
        (Kind::File, Some(file_system)) if file_system.is_page_cache() => {
            (Some(0), "from page cache".to_owned())
        }
        (Kind::File, Some(file_system)) => {
            (None, format!("from {}, which may copy", file_system.name()))
        }
        (Kind::BlockDevice, _) => (Some(0), "from page cache".to_owned()),
        (Kind::Pipe, _) => (Some(0), "from the pipe's pages".to_owned()),
        (Kind::Tcp, _) if source.is_tls_in_kernel() => (
            Some(0),
            "from the pages that the kernel's TLS decrypted into".to_owned(),
        ),
        (Kind::Tcp | Kind::UnixStream, _) if !source.ulp => {
            (Some(0), "from the socket's pages".to_owned())
        }
        (kind, _) => (None, format!("from a {kind}, which may copy")),
    }
}

/// Copies that the sink makes when it is handed pages.
fn received(sink: &Endpoint) -> (Stage, &'static str) {
    match sink.kind {
        Kind::File | Kind::BlockDevice => (Some(1), ", copied into the sink's page cache"),
        Kind::Tcp if sink.is_tls_in_kernel() => {
            (Some(0), ", encrypted from there by the kernel's TLS")
        }
        Kind::Tcp if sink.ulp => (None, ", through an upper-layer protocol"),
        Kind::Tcp | Kind::UnixStream | Kind::Pipe => (Some(0), ""),
        _ => (None, ", to a sink that may copy"),
    }
}

/// One copy between user space and the kernel's buffer; unknown for a device.
fn user_copy(endpoint: &Endpoint) -> Stage {
    match endpoint.kind {
        Kind::File | Kind::BlockDevice if endpoint.direct => None,
        Kind::File | Kind::BlockDevice | Kind::Tcp | Kind::UnixStream | Kind::Pipe
            if !endpoint.ulp || endpoint.tls.is_some() =>
        {
            Some(1)
        }
        _ => None,
    }
}

/// Copies of what is written to `sink` from user space. TLS in the kernel encrypts from the pages
/// of the program.
fn written(sink: &Endpoint) -> Stage {
    if sink.is_tls_in_kernel() {
        Some(0)
    } else {
        user_copy(sink)
    }
}

/// One more copy for an interface without scatter-gather, for which the CPU makes packets
/// contiguous (S2).
fn linearised(sink: &Endpoint) -> (Stage, Option<String>) {
    if sink.kind != Kind::Tcp {
        return (Some(0), None);
    }
    let Some(egress) = &sink.egress else {
        return (None, Some("the interface was not asked".to_owned()));
    };
    let copies = egress.gathers.map(|gathers| u64::from(!gathers));
    (copies, Some(egress.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::FileSystem;
    use crate::layer::{Tls, TlsCipher, TlsMode, TlsVersion};
    use crate::net::egress::Egress;

    const MIB: u64 = 1 << 20;

    fn used(route: Route) -> Vec<RouteUse> {
        vec![RouteUse {
            route,
            bytes: MIB,
            syscalls: 1,
        }]
    }

    fn file(magic: u64) -> Endpoint {
        Endpoint {
            file_system: Some(FileSystem::assumed(magic, 1)),
            ..Endpoint::assumed(Kind::File)
        }
    }

    fn tcp(gathers: Option<bool>) -> Endpoint {
        let interface = "eth0".to_owned();
        Endpoint {
            egress: Some(Egress { interface, gathers }),
            ..Endpoint::assumed(Kind::Tcp)
        }
    }

    #[test]
    fn s1_to_s3_are_told_apart_by_the_interface() {
        let ext4 = file(0xEF53);
        let table = [
            (Route::Sendfile, tcp(Some(true)), Some(0)),
            (Route::Sendfile, tcp(Some(false)), Some(MIB)),
            (Route::Sendfile, tcp(None), None),
            (Route::ReadWrite, tcp(Some(true)), Some(2 * MIB)),
            (
                Route::Sendfile,
                Endpoint::assumed(Kind::UnixStream),
                Some(0),
            ),
            (Route::Sendfile, ext4.clone(), Some(MIB)),
            (Route::Splice, Endpoint::assumed(Kind::Pipe), Some(0)),
            (Route::Splice, Endpoint::assumed(Kind::CharDevice), None),
        ];
        for (route, sink, want) in table {
            let copies = count(&used(route), &ext4, &sink, 0);
            assert_eq!(copies.cpu_bytes, want, "{route}: {}", copies.why);
            assert_eq!(copies.evidence, Evidence::Expected);
        }
    }

    #[test]
    fn encryption_is_no_copy() {
        let tls = |mode| {
            let tls = Tls::new(mode, TlsVersion::Tls13, TlsCipher::Aes128Gcm);
            tcp(Some(true)).with_tls(tls)
        };
        let kernel = Endpoint {
            ulp: true,
            ..tls(TlsMode::Kernel)
        };
        let reason = String::new();
        let user = tls(TlsMode::User { reason });
        let (ext4, pipe) = (file(0xEF53), Endpoint::assumed(Kind::Pipe));
        let table = [
            (Route::Sendfile, &ext4, &kernel, 0),
            (Route::Splice, &pipe, &kernel, 0),
            (Route::ReadWrite, &ext4, &kernel, 1),
            (Route::Seal, &ext4, &user, 1),
            (Route::ReadWrite, &pipe, &user, 2),
            (Route::Splice, &kernel, &kernel, 0),
            (Route::Splice, &kernel, &ext4, 1),
            (Route::ReadWrite, &user, &ext4, 2),
        ];
        for (route, source, sink, want) in table {
            let copies = count(&used(route), source, sink, 0);
            assert_eq!(
                copies.cpu_bytes,
                Some(want * MIB),
                "{route}: {}",
                copies.why
            );
        }
    }

    #[test]
    fn pitfall_18_what_may_copy_is_unknown_not_zero() {
        let sink = tcp(Some(true));
        for magic in [0x6573_5546, 0x6969, 0x794c_7630, 1] {
            assert_eq!(
                count(&used(Route::Sendfile), &file(magic), &sink, 0).cpu_bytes,
                None
            );
        }
        let mut direct = file(0xEF53);
        direct.direct = true;
        assert_eq!(
            count(&used(Route::Sendfile), &direct, &sink, 0).cpu_bytes,
            None
        );
        let mut tls = tcp(Some(true));
        tls.ulp = true;
        assert_eq!(
            count(&used(Route::Sendfile), &file(0xEF53), &tls, 0).cpu_bytes,
            None
        );
    }

    #[test]
    fn pitfall_16_what_the_kernel_copied_is_reported() {
        let memory = Endpoint::assumed(Kind::Memory);
        let copies = count(&used(Route::SendZerocopy), &memory, &tcp(Some(true)), MIB);
        assert_eq!(copies.cpu_bytes, Some(MIB));
        assert_eq!(copies.evidence, Evidence::Reported);
    }

    #[test]
    fn one_unknown_route_makes_the_sum_unknown() {
        let mut routes = used(Route::Sendfile);
        routes.extend(used(Route::ReadWrite));
        let copies = count(&routes, &file(0xEF53), &tcp(Some(true)), 0);
        assert_eq!(copies.cpu_bytes, Some(2 * MIB));
        let copies = count(&routes, &file(1), &tcp(Some(true)), 0);
        assert_eq!(copies.cpu_bytes, None);
    }
}
