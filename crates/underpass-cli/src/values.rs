//! Values that arguments parse into. They know nothing of the commands that use them.

pub(crate) mod address;
pub(crate) mod size;

pub(crate) use address::Address;
