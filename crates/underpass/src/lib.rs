//! Moves data between files, sockets and pipes on Linux without the CPU copying it, and says what
//! each transfer cost.
//!
//! Copying a file to a socket with `read` and `write` costs four copies, two of them by the CPU,
//! and four switches between user and kernel mode for each buffer. The kernel can do it without any
//! copy by the CPU. Which system call does that depends on the two ends, and each call has its own
//! ways to refuse or to stop short. This crate inspects the ends, makes a plan, moves the bytes,
//! and reports:
//!
//! ```no_run
//! use std::fs::File;
//! use std::net::TcpStream;
//! use underpass::Transfer;
//!
//! let file = File::open("in.bin")?;
//! let socket = TcpStream::connect("127.0.0.1:9000")?;
//! let receipt = Transfer::new(file, socket).run()?;
//! println!("{receipt}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - [`Endpoint`] is what a descriptor is; [`plan`] decides, as a pure function, which [`Route`]s
//!   can serve a pair.
//! - [`Transfer`] moves the bytes: at once with [`run`](Transfer::run), step by step with
//!   [`start`](Transfer::start), or on tokio with `run_async`.
//! - [`Receipt`] says which routes moved how many bytes, how many calls that took, and how many
//!   bytes the CPU copied, with the evidence. [`Error`] says how many bytes arrived all the same.
//! - [`AtomicFile`] is a file that appears whole or not at all: a sink that outlives a power cut.
//!
//! # What can go wrong
//! Zero-copy shares pages; it takes no snapshot. A program that writes to a file while it is sent
//! changes what arrives. Ask for [`Promise::Stable`](plan::Promise::Stable) where that matters.
//!
//! When a process is killed, its connections close as if everything had been sent. To let the peer
//! tell the difference, see [`reset_on_close`], and [`witness`] for Unix sockets.
//!
//! # Platform
//! Linux 5.10 and newer. If the kernel refuses a route, the next one is taken; the receipt lists
//! that under `fallbacks`.
//!
//! # Features
//! - `serde`: receipts and plans as serde values.
//! - `tokio`: the asynchronous driver, relays and fan-outs on tokio, and the accept loop.

// On docs.rs, each item says which feature it needs.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(missing_debug_implementations)]

#[cfg(not(target_os = "linux"))]
compile_error!("underpass moves bytes by Linux's own system calls: it builds for Linux only");

#[cfg(feature = "tokio")]
pub mod accept;
pub mod atomic_file;
mod cancel;
mod count;
mod endpoint;
mod errno;
#[cfg(test)]
mod fake_layer;
pub mod fan_out;
mod layer;
mod memory;
mod net;
pub mod page_cache;
pub mod plan;
mod printable;
#[cfg(feature = "tokio")]
pub mod proxy_protocol;
mod read_in_place;
pub mod receipt;
pub mod relay;
mod route;
mod small_file;
mod step;
mod stream;
mod sys;
mod timeout;
mod transfer;
pub mod units;
mod wire;

/// Parsers that only the fuzz targets reach directly.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing {
    /// [`Egress`](crate::Egress)'s reader of rtnetlink's answers; the errno as a number.
    pub fn outgoing_interface(answer: &[u8]) -> Result<u32, i32> {
        crate::sys::netlink::outgoing_interface(answer).map_err(rustix::io::Errno::raw_os_error)
    }
}

/// The process's SIGBUS handler, which `underpass-http` shares.
#[doc(hidden)]
pub mod lost_pages {
    pub use crate::sys::lost_pages::claim;
}

pub use atomic_file::AtomicFile;
pub use cancel::Cancel;
pub use count::Count;
pub use endpoint::{Endpoint, FileSystem, Kind};
pub use layer::{Control, Layer, LayerError, Tls, TlsCipher, TlsMode, TlsVersion};
pub use memory::Memory;
pub use net::close::{close_in_order, reset_on_close};
pub use net::delivery::{
    Delivery, acknowledged, await_delivery, await_delivery_hearing, await_delivery_through,
};
#[cfg(feature = "tokio")]
pub use net::delivery::{await_taken, await_taken_through};
pub use net::egress::Egress;
pub use net::farewell::close_lingering;
#[cfg(feature = "tokio")]
pub use net::farewell::close_lingering_async;
pub use net::pacing::avoid_local_pacing;
#[cfg(feature = "tokio")]
pub use net::socket::{StreamSocket, TlsSocket};
pub use net::{connect, witness};
pub use printable::Printable;
pub use read_in_place::{InPlace, read_in_place};
pub use receipt::Receipt;
pub use route::sendfile::{Sent, sendfile_once};
pub use route::{Route, UnknownRoute};
pub use small_file::read_small_file;
pub use step::{Step, Wait};
pub use stream::error::{PeerError, StreamError};
pub use sys::usage::Usage;
pub use transfer::{
    DEFAULT_BUDGET, EndedEarly, Error, GATHER_UP_TO, Input, Part, Parts, Progress, Running,
    RunningSequence, Sequence, Transfer,
};
