//! A line for every request.

use std::path::Path;

use underpass_http::Exchange;

use crate::exit::Failure;
use crate::report;
use crate::server::{LogSender, LogWriter};
use crate::values::AccessLogForm as Form;

mod combined;
mod date;
mod json;

/// Where server threads leave their exchanges.
pub(crate) type AccessLog = LogSender<Box<Exchange>>;

/// Starts the thread that writes. `users` says whether names in requests mean anything.
pub(super) fn start(
    form: Form,
    path: Option<&Path>,
    users: bool,
) -> Result<LogWriter<Box<Exchange>>, Failure> {
    LogSender::start(
        "access log",
        path,
        move |batch, exchange: Box<Exchange>| match form {
            Form::None => {}
            Form::Json => json::line(batch, &exchange, users),
            Form::Combined => {
                combined::line(batch, &exchange, users);
                if !exchange.complete {
                    // The format has no place for it.
                    report::notice(combined::incomplete(&exchange));
                }
            }
        },
    )
}
