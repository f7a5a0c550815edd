//! Printing the receipt of one transfer.

use underpass::Receipt;

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
}

impl ReceiptOutput {
    /// Where to print the receipt of a transfer to `sink`.
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

/// Fails if a receipt was asked for and cannot be printed.
pub(super) fn ready(common: &TransferArgs, output: ReceiptOutput) -> Result<(), Failure> {
    match common.receipt {
        None | Some(ReceiptForm::None) => Ok(()),
        Some(_) => output.stream().needed(),
    }
}

/// Prints `receipt` in the form that was asked for. If none was asked for, a failure to print it is
/// ignored.
///
/// # Errors
///
/// The receipt was asked for and cannot be written. The line says that the transfer itself is done.
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

/// Prints the receipt of a failed transfer as JSON. People get the reason in the error line.
pub(super) fn failed(receipt: Option<&Receipt>, common: &TransferArgs, output: ReceiptOutput) {
    if common.receipt_form() == ReceiptForm::Json
        && let Some(incomplete) = receipt
    {
        // The failure is reported in any case.
        let _ = self::receipt(incomplete, common, output);
    }
}
