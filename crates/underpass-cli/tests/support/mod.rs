//! Helpers that the tests share: directories, the program and its outcome, peers, file systems, and
//! content.

mod acme_node;
mod authority;
mod between;
mod content;
mod dir;
mod fan_out;
mod kernel;
mod metrics;
mod mount;
mod pebble;
mod peer;
mod postgres;
mod program;
mod receipt;
mod relay;
mod secured;
mod server;
mod terminal;
mod tls;
pub(crate) mod typed;
mod watched;

pub(crate) use acme_node::{Node, acme_files, get, has_pebble, serial, serial_in};
pub(crate) use authority::{Authority, Pair};
pub(crate) use between::{Between, Harm, port_of};
pub(crate) use content::{assert_bytes, assert_same};
pub(crate) use dir::{Dir, mode};
pub(crate) use fan_out::{FanOut, Receipts, lines, number, reading, taken};
pub(crate) use kernel::{REFUSING_SPLICE, REFUSING_TCP_ULP, without_pipes};
pub(crate) use metrics::Metrics;
pub(crate) use mount::{LoopDevice, Mount};
pub(crate) use pebble::{BLOCKED_NAME, DAYS_90, Pebble, RenewalInfo};
pub(crate) use peer::{Host, Stream, await_listener};
pub(crate) use postgres::Postgres;
pub(crate) use program::{
    Outcome, Running, collected, nobody, run, underpass, underpass_by, unprivileged,
};
pub(crate) use receipt::Receipt;
pub(crate) use relay::{Relay, by};
pub(crate) use secured::Secured;
pub(crate) use server::{Reply, Server, curl};
pub(crate) use terminal::Terminal;
pub(crate) use tls::{Certs, openssl};
pub(crate) use underpass_testing::{bytes, needs};
pub(crate) use watched::{Watched, moved};

pub(crate) const MIB: usize = 1 << 20;

/// Far more than the buffers of a connection hold, even TCP's at their largest. A side that has
/// written this much knows that the other side reads. A side that has not read cannot have been
/// sent all of it.
pub(crate) const MORE_THAN_BUFFERS: usize = 64 * MIB;
