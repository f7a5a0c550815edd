//! A receipt for every connection.

use std::fmt::Display;

use serde::Serialize;

use super::lines::{Lines, Writing};
use crate::args::{ReceiptForm, Receipts};
use crate::exit::Failure;

/// Starts writing receipts, if they are asked for.
pub(crate) fn receipts<R>(asked: &Receipts) -> Result<Option<Writing<Box<R>>>, Failure>
where
    R: Serialize + Display + Send + 'static,
{
    let form = asked.form();
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
    Lines::start("receipts", asked.receipt_file.as_deref(), write).map(Some)
}
