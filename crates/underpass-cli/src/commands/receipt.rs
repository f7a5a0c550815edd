//! Printing the receipt of one transfer.

use underpass::{Printable, Receipt};

use crate::args::TransferArgs;
use crate::exit::Failure;
use crate::io::StandardStream;
use crate::io::files::Sink;
use crate::values::ReceiptForm;

/// Where the receipt is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReceiptOutput {
    Standard,
    /// To standard error, because standard output carries the data.
    Error,
    /// To standard error, and standard output is a terminal. Its last line may be unfinished.
    BesideTerminal,
}

impl ReceiptOutput {
    /// Where to print the receipt of a transfer to `sink`.
    pub(super) fn beside(sink: &Sink) -> Self {
        match (sink.is_standard_output(), sink.is_terminal()) {
            (true, true) => Self::BesideTerminal,
            (true, false) => Self::Error,
            (false, _) => Self::Standard,
        }
    }

    fn stream(self) -> StandardStream {
        match self {
            Self::Standard => StandardStream::Output,
            Self::Error | Self::BesideTerminal => StandardStream::Error,
        }
    }
}

/// What a command has done.
#[derive(Clone, Debug)]
pub(super) enum Done {
    Copied,
    Sent,
    Received,
    /// A tree with these files.
    SentTree(String),
    ReceivedTree(String),
}

impl Done {
    /// The receipt in one line: `sent in.bin: 286 MiB in 440 ms (650 MiB/s), none of it copied by
    /// the CPU`.
    fn line(&self, receipt: &Receipt) -> String {
        let (source, sink) = (&receipt.source.name, &receipt.sink.name);
        let (source, sink) = (Printable(source), Printable(sink));
        let what = match self {
            Self::Copied => format!("copied {source} to {sink}: "),
            Self::Sent => format!("sent {source}: "),
            Self::Received => format!("received {sink}: "),
            Self::SentTree(files) => format!("sent {source}: {files}, "),
            Self::ReceivedTree(files) => format!("received {sink}: {files}, "),
        };
        let state = if receipt.complete { "" } else { "incomplete, " };
        format!("{what}{state}{}", receipt.summary())
    }
}

/// Fails if a receipt was asked for and cannot be printed.
pub(super) fn ready(common: &TransferArgs, output: ReceiptOutput) -> Result<(), Failure> {
    match common.receipt {
        None | Some(ReceiptForm::None) => Ok(()),
        Some(_) => output.stream().needed(),
    }
}

/// Prints the receipt of what was `done` in the form that was asked for. If none was asked for, a
/// failure to print it is ignored.
///
/// # Errors
///
/// The receipt was asked for and cannot be written. The line says that the transfer itself is done.
pub(super) fn receipt(
    receipt: &Receipt,
    done: &Done,
    common: &TransferArgs,
    output: ReceiptOutput,
) -> Result<(), Failure> {
    let text = match common.receipt_form() {
        ReceiptForm::None => return Ok(()),
        ReceiptForm::Human if common.verbose => receipt.to_string(),
        ReceiptForm::Human => done.line(receipt),
        ReceiptForm::Json => serde_json::to_string(receipt)
            .unwrap_or_else(|error| format!("the receipt cannot be printed: {error}")),
    };
    let before = match output {
        ReceiptOutput::BesideTerminal => "\n",
        _ => "",
    };
    match output
        .stream()
        .offer(format!("{before}{text}\n").as_bytes())
    {
        Err(failure) if common.receipt.is_some() => {
            let (source, sink) = (&receipt.source.name, &receipt.sink.name);
            let done = format!("; only the receipt is lost, {source} -> {sink} is done");
            Err(if receipt.complete {
                failure.and(&done)
            } else {
                failure
            })
        }
        _ => Ok(()),
    }
}

/// Prints the receipt of a failed transfer as JSON. People get the reason in the error line.
pub(super) fn failed(receipt: Option<&Receipt>, common: &TransferArgs, output: ReceiptOutput) {
    if common.receipt_form() == ReceiptForm::Json
        && let Some(incomplete) = receipt
    {
        // The failure is reported in any case. JSON says nothing about what was done.
        let _ = self::receipt(incomplete, &Done::Sent, common, output);
    }
}
