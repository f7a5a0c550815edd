//! File bodies that leave by sendfile(2) from hyper, axum and tower.
//!
//! Rust's HTTP stacks read a file into a buffer and write the buffer to the socket. Here the page cache goes to the socket
//! as it is, and everything above stays what it was: hyper speaks HTTP/1.1, tower services answer, layers see bodies.
//!
//! ```no_run
//! use axum::{Router, routing::get};
//! use underpass_http::ServeDir;
//!
//! # #[tokio::main]
//! # async fn main() -> std::io::Result<()> {
//! let app = Router::new()
//!     .route("/hello", get(|| async { "hello" }))
//!     .nest_service("/assets", ServeDir::new("assets"));
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! underpass_http::serve(listener, app).await
//! # }
//! ```
//!
//! - [`ServeDir`] and [`ServeFile`] are tower services: conditional requests, ranges, precompressed siblings, listings.
//! - [`FileBody`] is a response body for handlers that find their files themselves.
//! - [`serve()`] runs any tower service, an axum `Router` for one, with [`Limits`], [`Timeouts`] and a graceful shutdown. What axum
//!   has of its own server it has of this one: upgrades, `ConnectInfo` ([`Serve::connect_info`]), and an end of what is
//!   under way when the client leaves.
//! - [`ServerStats`] counts which bytes left by which way, and [`Observe`] is told of every exchange.
//!
//! # How
//! 1. A file is mapped into one reserved range of addresses, and its body's frames are slices of the mapping.
//! 2. Layers pass the frames on as they do all others, and hyper queues them uncopied.
//! 3. [`serve()`]'s transport looks at the address of each slice it is to write: what lies in that range is a file, and leaves
//!    by sendfile(2), without its pages having been touched.
//! 4. Whoever does look (a compressing layer, TLS in user space, axum's own `serve`) reads the file's content.
//! 5. A frame is handed out when its pages are in the page cache; until then a blocking thread waits for the disk.
//!
//! # What can go wrong
//! The pages are shared, not snapshotted: who rewrites a file in place changes the responses that are under way. Replace files
//! by renaming, and each response is of one version.
//!
//! A file that is truncated or written to while it is sent ends its connection short, since something else was promised: the
//! observer is told, and [`ServerStats::truncated`] or [`ServerStats::changed`] counts it. One that only grows is sent as long as it was.
//! Reading pages that are gone raises SIGBUS; the process's handler for it is installed when the first file is mapped,
//! and passes on what is not its own. Behind another server than [`serve()`] a response's last frame may then come as zeros.
//!
//! Behind another server, and behind layers that change bodies, everything is as correct but copied:
//! [`ServerStats::bytes_sendfile`] tells.
//!
//! # Platform
//! Linux 5.10 and newer, on 64 bits. Where the kernel or a file system refuses (sendfile(2), mmap(2), cachestat(2)), the next
//! best way is taken and counted.
//!
//! # Features
//! None.
#![cfg_attr(not(test), warn(clippy::unwrap_used))]
#![warn(missing_debug_implementations)]

mod body;
mod clock;
mod file;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod listing;
mod prepared;
mod semantics;
mod serve_dir;
mod server;
mod stats;
mod sys;

pub use body::{BoxError, FileBody};
pub use file::Symlinks;
pub use serve_dir::{
    Cache, Fallback, NoFallback, NotFoundHandler, ResponseFuture, ServeDir, ServeFile, Uploads,
};
pub use server::{
    Exchange, Failure, HttpSocket, Limits, Listener, Observe, RequestBody, RequestHead, Serve,
    Timeouts, serve, serve_dir,
};
pub use stats::ServerStats;
pub use underpass::Count;
