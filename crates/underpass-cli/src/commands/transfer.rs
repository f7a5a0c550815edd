//! Runs one transfer for a command: names, progress bar, and errors as failures.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use underpass::plan::Promise;
use underpass::{Error, Layer, LayerError, Receipt, Transfer, units};
use underpass_tls::{FailureReason, HandshakeError};

use super::progress::Bar;
use super::receipt::{self, ReceiptOutput};
use crate::args::{TransferArgs, WriteArgs};
use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::io::connection::is_gone;
use crate::io::files::{Sink, WriteOptions};
use crate::io::tls;
use crate::report;
use crate::values::size::ByteRange;

/// The options of a transfer.
#[derive(Clone, Default)]
pub(crate) struct TransferOptions {
    pub(crate) names: (String, String),
    pub(crate) range: Option<ByteRange>,
    pub(crate) stable: bool,
    pub(crate) timeout: Option<Duration>,
    /// The TLS on the source, if it has any.
    pub(crate) source_layer: Option<Arc<dyn Layer>>,
    /// The TLS on the sink.
    pub(crate) sink_layer: Option<Arc<dyn Layer>>,
}

/// How to write a file, as the command line says; `mode` is what a new file gets, less the umask.
pub(super) fn write_options(args: WriteArgs, mode: u32) -> WriteOptions {
    WriteOptions {
        force: args.force,
        in_place: args.in_place,
        sync: !args.no_sync,
        mode,
    }
}

/// Runs the transfer, with a progress bar on a terminal.
pub(crate) fn run(
    source: impl AsFd,
    sink: impl AsFd,
    options: TransferOptions,
    common: &TransferArgs,
    interrupt: &Interrupt,
) -> Result<Receipt, Error> {
    let mut bar = Bar::new(common.quiet, &options.names).beside(&sink);
    let transfer = transfer(source, sink, options, common)
        .cancel(&interrupt.cancel)
        .progress(|progress| bar.show(progress));
    let outcome = transfer.start().and_then(|running| {
        if common.verbose {
            for choice in &running.plan().routes {
                report::notice(format_args!("plan: {}: {}", choice.route, choice.reason));
            }
        }
        running.run()
    });
    bar.clear();
    outcome
}

/// Empties a file that is written in place, just before the transfer. If the transfer would be
/// refused, for example for a range past the end, the file is left as it is.
pub(crate) fn begin(
    source: impl AsFd,
    sink: &Sink,
    options: &TransferOptions,
    common: &TransferArgs,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    if sink.is_in_place() {
        let started = transfer(source, sink, options.clone(), common).start();
        started.map_err(|error| failure(&error, &options.names, interrupt, ""))?;
    }
    sink.begin()
}

fn transfer<'a, S: AsFd, D: AsFd>(
    source: S,
    sink: D,
    options: TransferOptions,
    common: &TransferArgs,
) -> Transfer<'a, S, D> {
    let transfer = Transfer::new(source, sink)
        .names(options.names.0, options.names.1)
        .route(common.route)
        .idle_timeout(options.timeout)
        .source_layer(options.source_layer)
        .sink_layer(options.sink_layer);
    let transfer = match options.range {
        Some(range) => transfer.range(range.bounds()),
        None => transfer,
    };
    if options.stable {
        transfer.promise(Promise::Stable)
    } else {
        transfer
    }
}

/// Finishes the sink: syncs and closes it, and gives a file its name. Records in the receipt how
/// long syncing took.
pub(crate) fn finish(
    sink: Sink,
    options: WriteOptions,
    mut receipt: Receipt,
    common: &TransferArgs,
    interrupt: &Interrupt,
) -> Result<Receipt, Failure> {
    let (name, output) = (sink.name(), ReceiptOutput::beside(&sink));
    let what = || format!("{} -> {}", receipt.source.name, receipt.sink.name);
    match sink.finish(options, &what, interrupt) {
        Ok(done) => {
            if done.other_names > 0 {
                report::notice(format_args!(
                    "{name} had {}; the old content stays there",
                    units::count(done.other_names, "other hard link")
                ));
            }
            receipt.sync = done.sync;
            Ok(receipt)
        }
        Err(failure) => {
            receipt.complete = false;
            receipt::failed(Some(&receipt), common, output);
            Err(failure)
        }
    }
}

/// Turns an error of the engine into a failure. `more` is added to the line.
pub(crate) fn failure(
    error: &Error,
    names: &(String, String),
    interrupt: &Interrupt,
    more: &str,
) -> Failure {
    // The engine names source and sink only in errors of transfers that have begun.
    let line = if error.receipt().is_some() {
        format!("{error}{more}")
    } else {
        format!("{} -> {}: {error}{more}", names.0, names.1)
    };
    if error.is_cancelled() {
        interrupt.failure(line)
    } else if error.is_refused() {
        Failure::usage(line)
    } else if error.is_source_truncated() || error.is_disconnected() || error.is_timed_out() {
        Failure::incomplete(line)
    } else {
        Failure::failed(line)
    }
}

/// Turns an error of waiting for a connection or a peer into a failure.
pub(crate) fn wait_failure(
    what: &str,
    error: &std::io::Error,
    timeout: Option<Duration>,
    interrupt: &Interrupt,
) -> Failure {
    use std::io::ErrorKind;
    if interrupt.cancel.is_cancelled() {
        return interrupt.failure(format_args!("{what}: cancelled"));
    }
    if let Some(layer) = LayerError::of(error) {
        return Failure::incomplete(format_args!("{what}: {layer}"));
    }
    match (error.kind(), timeout) {
        (ErrorKind::TimedOut, Some(timeout)) => Failure::incomplete(format_args!(
            "{what}: nothing happened for {}",
            units::duration(timeout)
        )),
        (ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::TimedOut, _) => {
            Failure::incomplete(format_args!("{what}: {error}"))
        }
        _ => Failure::failed(format_args!("{what}: {error}")),
    }
}

/// Makes a failure of a TLS handshake.
pub(crate) fn handshake_failure(
    what: &str,
    error: &std::io::Error,
    interrupt: &Interrupt,
) -> Failure {
    if interrupt.cancel.is_cancelled() {
        return interrupt.failure(format_args!("{what}: cancelled"));
    }
    let line = format!("{what}: {error}{}", tls::advice(error));
    match HandshakeError::of(error).map(HandshakeError::reason) {
        Some(FailureReason::Closed) => Failure::incomplete(line),
        Some(_) => Failure::failed(line),
        None if error.kind() == std::io::ErrorKind::TimedOut || is_gone(error) => {
            Failure::incomplete(line)
        }
        None => Failure::failed(line),
    }
}
