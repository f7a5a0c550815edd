//! Logs and counts exchanges, and reports failures.

use std::error::Error;
use std::fmt::Write;
use std::io;
use std::sync::Arc;

use underpass_http::{Exchange, Failure, Observe};

use super::access_log::AccessLog;
use super::metrics::RequestCounts;
use crate::{report, server};

pub(crate) struct Observer {
    pub(crate) requests: Option<Arc<RequestCounts>>,
    pub(crate) log: Option<AccessLog>,
    /// Report every connection that ended early, not only files that changed.
    pub(crate) verbose: bool,
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
        let line = match of_a_file(failure.error) {
            Some(changed) => changed.to_string(),
            None if self.verbose => with_causes(failure.error),
            None => return,
        };
        let peer = server::peer_name(failure.peer);
        report::notice(format_args!("{peer}: {line}"));
    }
}

/// That a file was truncated or changed while it was sent, without what hyper says about it. An
/// upload that ends early is an `UnexpectedEof` too, but comes from hyper.
fn of_a_file<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    causes(error)
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .find(|error| error.to_string().contains("while it was sent"))
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
