//! All `unsafe` code of this crate.
#![allow(unsafe_code)]

mod mapping;
mod namespace;

pub(crate) use mapping::map;
pub(crate) use namespace::leave_network;
