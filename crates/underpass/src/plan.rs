//! Which routes can serve a pair of endpoints, in what order, and why: a pure function, so that
//! what `explain` prints is what a transfer does.

use std::fmt;

use crate::endpoint::{Endpoint, Kind};
use crate::route::Route;

mod on_errno;
mod rules;

pub use crate::route::send_zerocopy::ZEROCOPY_FROM;
pub(crate) use on_errno::{OnErrno, on_errno, on_error};

/// Below this many bytes a file body is read and written rather than sent by `sendfile`.
///
/// One page. From 2 KiB on `sendfile` took clearly less CPU than a read and a send in every run; up
/// to 1 KiB the difference was within the noise (`cargo run --release -p lab -- crossover`;
/// DESIGN.md, "Why are small bodies copied?").
pub const SENDFILE_FROM: u64 = 4096;

/// What may happen to a source while, and shortly after, it is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Promise {
    /// The file may be sent by reference. A write to it before the bytes have left the machine
    /// changes what arrives, as with every zero-copy server; the result is a mix of old and new
    /// bytes.
    #[default]
    Shared,
    /// What arrives is what the file contained when it was read: by a reflink if both ends are
    /// files that can share extents, otherwise by a copy.
    Stable,
}

/// The settings of a transfer that decide its routes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlanOptions {
    /// Bytes to move, if that is known.
    pub length: Option<u64>,
    /// What the source promises.
    pub promise: Promise,
    /// The program changes the bytes on the way.
    pub edit: bool,
    /// Use this route or none.
    pub route: Option<Route>,
}

impl PlanOptions {
    /// Options for a transfer of `length` bytes, or of an unknown number.
    pub const fn of_length(length: Option<u64>) -> Self {
        Self {
            length,
            promise: Promise::Shared,
            edit: false,
            route: None,
        }
    }

    /// Sets what the source promises.
    #[must_use]
    pub const fn promise(mut self, promise: Promise) -> Self {
        self.promise = promise;
        self
    }

    /// Sets whether the program changes the bytes.
    #[must_use]
    pub const fn edit(mut self, edit: bool) -> Self {
        self.edit = edit;
        self
    }

    /// Allows this route only.
    #[must_use]
    pub const fn route(mut self, route: Option<Route>) -> Self {
        self.route = route;
        self
    }
}

/// A route and why it was chosen or refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Choice {
    /// The route.
    pub route: Route,
    /// The reason, in a few words.
    pub reason: &'static str,
}

/// The routes of a transfer, first choice first, and those that cannot serve it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Plan {
    /// Routes to try, in order. If the kernel refuses one, the transfer tries the next. Never
    /// empty.
    pub routes: Vec<Choice>,
    /// Routes that cannot serve this pair, or are not worth it, and why.
    pub refused: Vec<Choice>,
}

/// Why a transfer has no plan.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlanError {
    /// The source cannot be read.
    Source(&'static str),
    /// The sink cannot be written.
    Sink(&'static str),
    /// The options contradict each other.
    Options(&'static str),
    /// The one route asked for cannot serve these ends; the routes in `would` can.
    Route {
        /// The route asked for, and why it cannot serve.
        asked: Choice,
        /// Routes that can serve.
        would: Vec<Route>,
    },
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(why) => write!(f, "the source {why}"),
            Self::Sink(why) => write!(f, "the sink {why}"),
            Self::Options(why) => f.write_str(why),
            Self::Route { asked, would } => {
                let names: Vec<_> = would.iter().map(|route| route.as_str()).collect();
                write!(
                    f,
                    "route {} cannot serve: {}; these would: {}",
                    asked.route,
                    asked.reason,
                    names.join(", ")
                )
            }
        }
    }
}

impl std::error::Error for PlanError {}

/// Decides how to move bytes from `source` to `sink`.
///
/// ```
/// use underpass::plan::{plan, PlanOptions};
/// use underpass::{Endpoint, Kind, Route};
///
/// let file = Endpoint::assumed(Kind::File);
/// let socket = Endpoint::assumed(Kind::Tcp);
/// let large = plan(&file, &socket, &PlanOptions::of_length(Some(1 << 30)))?;
/// assert_eq!(large.routes[0].route, Route::Sendfile);
/// # Ok::<(), underpass::plan::PlanError>(())
/// ```
///
/// # Errors
/// When no route, or not the one asked for, can serve the pair.
pub fn plan(source: &Endpoint, sink: &Endpoint, options: &PlanOptions) -> Result<Plan, PlanError> {
    usable(source, sink, options)?;
    let mut plan = Plan {
        routes: Vec::with_capacity(4),
        refused: Vec::with_capacity(6),
    };
    for route in Route::ALL {
        match rules::judge(route, source, sink, options) {
            Ok(reason) => plan.routes.push(Choice { route, reason }),
            Err(reason) => plan.refused.push(Choice { route, reason }),
        }
    }
    match options.route {
        Some(route) => only(plan, route),
        None => Ok(match rules::copy_first(source, sink, options) {
            Some(reason) => copy(plan, reason),
            None => plan,
        }),
    }
}

fn usable(source: &Endpoint, sink: &Endpoint, options: &PlanOptions) -> Result<(), PlanError> {
    match (source.kind, sink.kind) {
        (Kind::Directory, _) => return Err(PlanError::Source("is a directory")),
        (_, Kind::Directory) => return Err(PlanError::Sink("is a directory")),
        (Kind::MessageSocket, _) => {
            return Err(PlanError::Source(
                "is a message socket; only streams can be moved",
            ));
        }
        (_, Kind::MessageSocket) => {
            return Err(PlanError::Sink(
                "is a message socket; only streams can be moved",
            ));
        }
        (_, Kind::Memory) => return Err(PlanError::Sink("is memory")),
        (Kind::Memory, _) if options.edit => {
            return Err(PlanError::Options(
                "memory is edited before it is sent, not on the way",
            ));
        }
        _ => {}
    }
    if !source.readable {
        return Err(PlanError::Source("is not open for reading"));
    }
    if !sink.writable {
        return Err(PlanError::Sink("is not open for writing"));
    }
    Ok(())
}

/// Keeps only `read-write`. No other route could continue with the bytes in its buffer, so the
/// others cannot be a fallback.
fn copy(mut plan: Plan, reason: &'static str) -> Plan {
    for choice in &mut plan.routes {
        choice.reason = reason;
    }
    let (routes, spared) = plan
        .routes
        .into_iter()
        .partition(|choice| choice.route == Route::ReadWrite);
    plan.routes = routes;
    plan.refused.extend::<Vec<_>>(spared);
    plan
}

fn only(mut plan: Plan, route: Route) -> Result<Plan, PlanError> {
    if let Some(&asked) = plan.refused.iter().find(|choice| choice.route == route) {
        let would = plan.routes.iter().map(|choice| choice.route).collect();
        return Err(PlanError::Route { asked, would });
    }
    plan.routes.retain(|choice| choice.route == route);
    Ok(plan)
}

#[cfg(test)]
mod tests;
