//! Values that arguments parse into. They know nothing of the commands that use them.

pub(crate) mod address;
mod format;
mod origin;
pub(crate) mod size;

pub(crate) use address::Address;
pub(crate) use format::{AccessLogForm, ProxyVersion, ReceiptForm};
pub(crate) use origin::Origin;
