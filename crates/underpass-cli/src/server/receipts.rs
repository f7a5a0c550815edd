//! A receipt for every connection.

use std::fmt::Display;
use std::path::Path;

use serde::Serialize;

use super::lines::{Lines, Writing};
use crate::exit::Failure;
use crate::values::ReceiptForm;

/// Starts writing receipts, if they are asked for, to the file at `path` or to standard output.
pub(crate) fn receipts<R>(
    form: ReceiptForm,
    path: Option<&Path>,
) -> Result<Option<Writing<Box<R>>>, Failure>
where
    R: Serialize + Display + Send + 'static,
{
    if form == ReceiptForm::None {
        return Ok(None);
    }
    let write = move |batch: &mut Vec<u8>, receipt: Box<R>| {
        if form == ReceiptForm::Json {
            // Strings and numbers always can be written, and memory takes them.
            let _ = serde_json::to_writer(&mut *batch, &receipt);
        } else {
            batch.extend(receipt.to_string().into_bytes());
        }
        batch.push(b'\n');
    };
    Lines::start("receipts", path, write).map(Some)
}
