//! Printing receipts and notices.

use std::io::Write;

use underpass::Receipt;

use crate::args::{Common, ReceiptForm};
use crate::place::Sink;

/// Where results may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Standard,
    /// Standard output carries the data itself, so results go to standard error.
    Error,
}

impl Output {
    /// Where results go when `sink` gets the data.
    pub(crate) fn beside(sink: &Sink) -> Self {
        if sink.is_standard() {
            Self::Error
        } else {
            Self::Standard
        }
    }
}

/// Prints `receipt` in the form asked for. A closed output is no failure of the transfer.
pub(crate) fn receipt(receipt: &Receipt, common: &Common, output: Output) {
    let text = match common.receipt_form() {
        ReceiptForm::None => return,
        ReceiptForm::Human => format!("{receipt}\n"),
        ReceiptForm::Json => match serde_json::to_string(receipt) {
            Ok(json) => json + "\n",
            Err(error) => format!("the receipt cannot be printed: {error}\n"),
        },
    };
    let _ = match output {
        Output::Standard => std::io::stdout().write_all(text.as_bytes()),
        Output::Error => std::io::stderr().write_all(text.as_bytes()),
    };
}

/// Prints the account of a transfer that failed, for machines only: people get it in the line that says why.
pub(crate) fn failed(receipt: Option<&Receipt>, common: &Common, output: Output) {
    if common.receipt_form() == ReceiptForm::Json
        && let Some(incomplete) = receipt
    {
        self::receipt(incomplete, common, output);
    }
}

/// A line of information on standard error.
pub(crate) fn notice(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "underpass: {line}");
}
