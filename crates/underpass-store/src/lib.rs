//! An S3-compatible store's objects as local files.
//!
//! A [`Store`] is a bucket in any store that speaks S3. A [`Cache`] has its objects on a disk, as
//! sparse files whose blocks are fetched when somebody wants them. To a server an [`Object`] is an
//! open file, some of whose bytes are not there yet: look ([`Object::present`]), wait
//! ([`Object::want`]), then send by sendfile(2).
//!
//! - A block is fetched once, whoever asks, and that goes on when the asker leaves.
//! - All blocks of a file are of one version: each request says which (`If-Match`), and each answer
//!   is compared.
//! - Only blocks that are whole and verified are present. A block that is claimed on the disk was
//!   synced before, and its checksum is compared before a later run sends it.
//! - Files leave the cache by being unlinked, never truncated, so what is being sent stays.
//! - Nothing is retried for ever, and a store that is down is left alone.
//!
//! With the feature `http`, `CachedObjects` are what `underpass_http::ServeDir` serves.
//!
//! A block's way from the store into its file is copied by the CPU, and
//! [`CacheStats::bytes_from_store`] counts that. Its way from the file to clients is not, and who
//! sends it counts it: `underpass_http::ServerStats::bytes_of_objects`.

// On docs.rs, each item says which feature it needs.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(missing_debug_implementations)]

#[cfg(not(target_os = "linux"))]
compile_error!("underpass-store keeps sparse files as Linux has them");

mod cache;
mod error;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(feature = "http")]
mod http;
mod store;

pub use cache::{Cache, CacheSettings, CacheStats, Object};
pub use error::{ErrorKind, StoreError};
#[cfg(feature = "http")]
pub use http::CachedObjects;
pub use store::{
    CircuitSettings, Condition, ListEntry, ListPage, ObjectInfo, PutSettings, Retry, Store,
    StoreSettings, StoreStats, Stored, Timeouts, Upload,
};
