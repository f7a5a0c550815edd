//! File bodies that leave by sendfile(2) from hyper, axum and tower.
//!
//! Rust's HTTP stacks usually read a file into a buffer and write the buffer to the socket. This
//! crate sends the page cache to the socket without a copy. Everything above stays as it is: hyper
//! speaks HTTP/1.1, tower services answer requests, layers see bodies.
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
//! - [`ServeDir`] and [`ServeFile`] are tower services. They answer conditional requests and
//!   ranges, send precompressed files, and list directories.
//! - [`FileResponse`] is the whole response of a handler that finds its file itself: ranges,
//!   conditions, the name under which it is saved.
//! - [`FileBody`] is a response body for handlers that find their files themselves, and
//!   [`BodyParts`] one of several files and bytes in a row.
//! - [`serve()`] runs any tower service, such as an axum `Router`, with [`Limits`], [`Timeouts`]
//!   and a graceful shutdown. It does what axum expects of a server: upgrades, `ConnectInfo`
//!   ([`Serve::connect_info`]), and dropping a handler when its client leaves.
//! - [`ServerStats`] counts the bytes that were sent by each route, and an observer ([`Observe`])
//!   is told of every exchange.
//!
//! # How
//! 1. All files are mapped into one reserved range of addresses. The frames of a body are slices of
//!    its file's mapping.
//! 2. Layers pass these frames on like any others, and hyper queues them without copying.
//! 3. The transport of [`serve()`] looks at the address of each slice that it is to write. A slice
//!    in the reserved range is part of a file. It is sent by sendfile(2), so its pages are never
//!    touched.
//! 4. Code that does read the slice (a compressing layer, TLS in user space, axum's own `serve`)
//!    sees the file's content.
//! 5. A frame is handed out once its pages are in the page cache. Until then a blocking thread
//!    waits for the disk.
//!
//! # What can go wrong
//! The pages are shared with the file; they are not a snapshot. Rewriting a file in place changes
//! the responses that are being sent. Replace files by renaming, and each response has the content
//! of one version.
//!
//! If a file is truncated or written to while it is sent, the connection is closed before the end
//! of the response, because the headers no longer fit. The observer is told, and
//! [`ServerStats::truncated`] or [`ServerStats::changed`] counts it. A file that only grows is sent
//! up to its old length. Reading pages of a truncated file raises SIGBUS. A handler for it is
//! installed when the first file is mapped; faults outside the mappings of this crate are passed on
//! to the previous handler. Behind a server other than [`serve()`], the last frame of such a
//! response may be zeros.
//!
//! Behind another server, and behind layers that change bodies, responses are just as correct, but
//! their bytes are copied. [`ServerStats::bytes_sendfile`] shows which bytes were not.
//!
//! # Platform
//! Linux 5.10 and newer, on 64 bits. If the kernel or a file system refuses sendfile(2), mmap(2) or
//! cachestat(2), the next best way is taken and counted.
//!
//! # Features
//! - `axum`: axum's traits for the types of this crate: `IntoResponse` for [`FileBody`], and
//!   `Connected` for `SocketAddr`.
#![cfg_attr(not(test), warn(clippy::unwrap_used))]
// On docs.rs, each item says which feature it needs.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(missing_debug_implementations)]

mod archive;
mod body;
mod changes;
mod clock;
mod file;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod listing;
mod objects;
mod path_rules;
mod prepared;
mod semantics;
mod serve_dir;
mod server;
mod stats;
mod sys;
#[cfg(feature = "axum")]
mod with_axum;

pub use body::{BodyPart, BodyParts, BoxError, FileBody};
pub use file::Symlinks;
pub use objects::{
    FoundObject, NewObject, Object, ObjectEntry, ObjectFuture, ObjectPage, Objects, Precondition,
    StoreError,
};
pub use path_rules::{Access, Authenticated, PathRule, PathRuleError, PathRules};
pub use serve_dir::{
    Archives, Cache, Fallback, FileResponse, NoFallback, NotFoundHandler, ResponseFuture, ServeDir,
    ServeFile, TryResponseFuture, Uploads,
};
pub use server::{
    AnswersRequests, Application, ClientAddress, Exchange, Failure, HttpSocket, IncomingStream,
    Limits, ListenerExt, MakesServices, Observe, PartialResponse, PerConnection, Proxied,
    ProxyHeader, ProxyListener, RequestBody, RequestHead, Serve, TapIo, TapOpening, Timeouts,
    TlsConnection, TrustedProxies, serve, serve_dir,
};
pub use stats::ServerStats;
pub use underpass::Count;
pub use underpass::accept::Listener;

/// The examples of documents that are no part of the documentation of this crate.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../../../docs/src/embedding.md")]
    struct Book;
}
