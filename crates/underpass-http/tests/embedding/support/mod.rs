//! Helpers that the tests share: files, a server on a thread of its own, clients that see every
//! byte, and a log of exchanges.

mod child;
mod client;
mod files;
mod log;
mod mount;
mod server;

pub(crate) use child::{child, is_child};
pub(crate) use client::{Answer, Client, curl};
pub(crate) use files::{Files, bytes, changed, cold, text};
pub(crate) use log::Log;
pub(crate) use mount::{Image, Mount};
pub(crate) use server::{Server, block_on, bound, from_std};
pub(crate) use underpass_testing::needs;

pub(crate) const KIB: usize = 1 << 10;
pub(crate) const MIB: usize = 1 << 20;

/// Far more than the buffers of a connection hold, if the client is [slow](Client::slow).
pub(crate) const MORE_THAN_BUFFERS: usize = 32 * MIB;
