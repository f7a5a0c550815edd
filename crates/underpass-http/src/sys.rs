//! Everything that needs system calls or `unsafe`: open files and their versions, the page cache,
//! mappings, and hyper's uninitialised read buffers. All `unsafe` code of this crate is here.
#![allow(unsafe_code)]

mod address_space;
pub(crate) mod mapping;
mod open_file;
pub(crate) mod page_cache;
pub(crate) mod read_buf;

pub(crate) use mapping::Mapping;
pub(crate) use open_file::{OpenFile, Version, truncated};
