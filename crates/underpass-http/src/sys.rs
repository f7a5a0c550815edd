//! The one door to the kernel for what has no safe wrapper: mappings, the SIGBUS that a truncated
//! one raises, cachestat(2), and hyper's uninitialised read buffers. All `unsafe` of this crate is
//! here.
#![allow(unsafe_code)]

mod address_space;
pub(crate) mod mapping;
mod open_file;
pub(crate) mod page_cache;
pub(crate) mod read_buf;
mod sigbus;

pub(crate) use mapping::Mapping;
pub(crate) use open_file::{OpenFile, Version, truncated};
