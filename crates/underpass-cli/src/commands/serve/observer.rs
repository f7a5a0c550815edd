//! Logs and counts exchanges, and reports failures.

use std::error::Error;
use std::fmt::Write;
use std::io;
use std::sync::Arc;

use underpass::Printable;
use underpass_http::{Exchange, Failure, Observe, StoreError};

use super::access_log::AccessLog;
use super::bucket::StoreFailures;
use super::metrics::RequestCounts;
use crate::{report, server};

pub(crate) struct Observer {
    pub(crate) requests: Option<Arc<RequestCounts>>,
    pub(crate) log: Option<AccessLog>,
    /// Report every connection that ended early, not only files that changed.
    pub(crate) verbose: bool,
    pub(crate) store_failures: Arc<StoreFailures>,
}

impl Observe for Observer {
    fn wants_exchanges(&self) -> bool {
        self.requests.is_some() || self.log.is_some()
    }

    fn wants_requests(&self) -> bool {
        self.log.is_some()
    }

    fn exchange(&self, exchange: &Exchange) {
        if let Some(requests) = &self.requests {
            requests.add(exchange);
        }
        if let Some(log) = &self.log {
            log.push_holding(Box::new(exchange.clone()), exchange.held());
        }
    }

    fn failed(&self, failure: &Failure<'_>) {
        let which = which(failure);
        match of_a_file(failure.error) {
            Some(error) if !self.verbose && StoreError::of(error).is_some() => {
                self.store_failures.tell(format_args!("{which}{error}"));
            }
            Some(error) => report::notice(format_args!("{which}{error}")),
            None if self.verbose => {
                report::notice(format_args!("{which}{}", with_causes(failure.error)));
            }
            None => {}
        }
    }
}

/// The client, and how much of which response it was sent, as the beginning of a line.
fn which(failure: &Failure<'_>) -> String {
    let peer = server::peer_name(failure.peer);
    let Some(response) = &failure.response else {
        return format!("{peer}: ");
    };
    let target = Printable(response.target);
    match response.sent {
        Some((sent, len)) => format!("{peer}: sent {sent} of {len} bytes of {target}: "),
        None => format!("{peer}: {target}: "),
    }
}

/// What says that a file was truncated or changed while it was sent, or that the store failed.
/// What hyper says around it tells nobody more. An upload that ends early is an `UnexpectedEof`
/// too, but comes from hyper.
fn of_a_file<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    let mut causes = causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.find(|error| error.to_string().contains("while it was sent"))
}

fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    for cause in causes(error).skip(1) {
        let cause = cause.to_string();
        // Some errors include their cause.
        if !line.contains(&cause) {
            let _ = write!(line, ": {cause}");
        }
    }
    line
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}
