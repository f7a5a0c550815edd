//! The one door to the kernel for what has no safe wrapper: mappings, the SIGBUS that a truncated one raises,
//! cachestat(2), and hyper's uninitialised read buffers. All `unsafe` of this crate is here.
#![allow(unsafe_code)]

pub(crate) mod mapping;
pub(crate) mod read_buf;
mod region;
mod sigbus;

pub(crate) use mapping::Mapping;
