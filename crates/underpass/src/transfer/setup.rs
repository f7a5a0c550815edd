//! Makes the machine of a transfer: inspects both ends, plans, and checks the range.

use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;

use super::input::Input;
use super::machine::{Machine, Positions, Sparse};
use super::settings::TransferSettings;
use crate::endpoint::{Endpoint, Kind};
use crate::plan::{PlanOptions, plan};
use crate::sys::Sys;
use crate::transfer::error::Cause;
use crate::wire::Wire;

pub(super) fn machine<S: Input, D: AsFd, K: Sys>(
    sys: K,
    source: S,
    sink: D,
    mut settings: TransferSettings<'_>,
) -> Result<Machine<'_, S, D, K>, Cause> {
    let [source_wire, sink_wire] = [&mut settings.source_layer, &mut settings.sink_layer]
        .map(|layer| layer.take().map(Wire::of).unwrap_or_default());
    let from = inspect_source(&source)?.with_tls(source_wire.tls());
    let to = inspect_sink(sink.as_fd())?.with_tls(sink_wire.tls());
    let (start, length) = extent(&source, &from, &settings)?;
    let options = PlanOptions {
        length,
        promise: settings.promise,
        edit: settings.edit.is_some(),
        route: settings.route,
    };
    let plan = plan(&from, &to, &options).map_err(Cause::Plan)?;
    let positions = Positions {
        source: start,
        sink: cursor(sink.as_fd(), &to)?,
        untaken: length,
    };
    let sparse = Sparse::between(&from, &to, &positions, &settings);
    Machine::new(
        sys,
        (source, from, source_wire),
        (sink, to, sink_wire),
        plan,
        positions,
        sparse,
        settings,
    )
}

fn inspect_source<S: Input>(source: &S) -> Result<Endpoint, Cause> {
    match (source.memory(), source.descriptor()) {
        (Some(bytes), _) => Ok(Endpoint {
            size: Some(bytes.len() as u64),
            writable: false,
            ..Endpoint::assumed(Kind::Memory)
        }),
        (None, Some(fd)) => inspect(fd, "the source"),
        (None, None) => Err(Cause::Inspect("the source", Errno::BADF)),
    }
}

pub(super) fn inspect(fd: BorrowedFd<'_>, which: &'static str) -> Result<Endpoint, Cause> {
    Endpoint::of(fd).map_err(|error| uninspected(which, &error))
}

pub(super) fn inspect_sink(fd: BorrowedFd<'_>) -> Result<Endpoint, Cause> {
    Endpoint::of_sink(fd).map_err(|error| uninspected("the sink", &error))
}

fn uninspected(which: &'static str, error: &std::io::Error) -> Cause {
    Cause::Inspect(which, Errno::from_io_error(error).unwrap_or(Errno::IO))
}

/// The offset of the first byte, if the source has offsets, and the number of bytes, if known.
fn extent<S: Input>(
    source: &S,
    endpoint: &Endpoint,
    settings: &TransferSettings<'_>,
) -> Result<(Option<u64>, Option<u64>), Cause> {
    let (start, end) = settings.range.unwrap_or((0, None));
    if let Some(end) = end
        && end < start
    {
        return Err(Cause::EmptyRange { start, end });
    }
    if !endpoint.kind.is_seekable() {
        return if start == 0 {
            Ok((None, end))
        } else {
            Err(Cause::NotSeekable)
        };
    }
    let start = match (settings.range, source.descriptor()) {
        (None, Some(fd)) => rustix::fs::tell(fd).map_err(|e| Cause::Inspect("the source", e))?,
        _ => start,
    };
    // A file of size 0 may be one that does not know its size (pitfall 3): it is read to its end.
    let Some(size) = endpoint
        .size
        .filter(|&size| size > 0 || endpoint.kind != Kind::File)
    else {
        return Ok((Some(start), end.map(|end| end - start)));
    };
    let beyond = end.unwrap_or(start);
    if settings.range.is_some() && beyond > size {
        return Err(Cause::Range { end: beyond, size });
    }
    let length = end.unwrap_or(size).saturating_sub(start);
    Ok((Some(start), Some(length)))
}

/// The sink's position, if writes to it have one.
pub(super) fn cursor(sink: BorrowedFd<'_>, endpoint: &Endpoint) -> Result<Option<u64>, Cause> {
    if !endpoint.kind.is_seekable() || endpoint.append {
        return Ok(None);
    }
    rustix::fs::tell(sink)
        .map(Some)
        .map_err(|errno| Cause::Inspect("the sink", errno))
}
