//! Printing the receipt of one transfer.

use underpass::Receipt;

use crate::args::TransferArgs;
use crate::exit::Failure;
use crate::io::StandardStream;
use crate::io::files::Sink;
use crate::values::ReceiptForm;

/// Where results may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReceiptOutput {
    Standard,
    /// Standard output carries the data itself, so results go to standard error.
    Error,
}

impl ReceiptOutput {
    /// Where results go when `sink` gets the data.
    pub(super) fn beside(sink: &Sink) -> Self {
        if sink.is_standard_output() {
            Self::Error
        } else {
            Self::Standard
        }
    }

    fn stream(self) -> StandardStream {
        match self {
            Self::Standard => StandardStream::Output,
            Self::Error => StandardStream::Error,
        }
    }
}

/// Fails if a receipt was asked for, and has nowhere to go.
pub(super) fn ready(common: &TransferArgs, output: ReceiptOutput) -> Result<(), Failure> {
    match common.receipt {
        None | Some(ReceiptForm::None) => Ok(()),
        Some(_) => output.stream().needed(),
    }
}

/// Prints `receipt` in the form asked for. A receipt that nobody asked for may get lost.
///
/// # Errors
/// The receipt was asked for and cannot be written; the line says that the transfer is done all the
/// same.
pub(super) fn receipt(
    receipt: &Receipt,
    common: &TransferArgs,
    output: ReceiptOutput,
) -> Result<(), Failure> {
    let text = match common.receipt_form() {
        ReceiptForm::None => return Ok(()),
        ReceiptForm::Human => format!("{receipt}\n"),
        ReceiptForm::Json => match serde_json::to_string(receipt) {
            Ok(json) => json + "\n",
            Err(error) => format!("the receipt cannot be printed: {error}\n"),
        },
    };
    match output.stream().offer(text.as_bytes()) {
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

/// Prints the account of a transfer that failed, for machines only: people get it in the line that
/// says why.
pub(super) fn failed(receipt: Option<&Receipt>, common: &TransferArgs, output: ReceiptOutput) {
    if common.receipt_form() == ReceiptForm::Json
        && let Some(incomplete) = receipt
    {
        // That it failed is told anyhow.
        let _ = self::receipt(incomplete, common, output);
    }
}
