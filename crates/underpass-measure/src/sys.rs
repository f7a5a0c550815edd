//! The one door to the kernel: all `unsafe` of this crate.
#![allow(unsafe_code)]

mod gather;
mod mapping;
mod namespace;

pub(crate) use gather::set_scatter_gather;
pub(crate) use mapping::map;
pub(crate) use namespace::leave_network;
