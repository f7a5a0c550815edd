//! What happened, counted as it happens.

use std::io;

use tokio::task::JoinError;
use underpass::Count;

/// Counters of a server and of the services behind it, to be shared between them in an `Arc`.
///
/// The share of the bytes that no CPU copied on their way to the socket is
/// `bytes_sendfile / (bytes_sendfile + bytes_written)`. Head bytes are among the written ones.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct ServerStats {
    /// Bytes that left by sendfile(2), from the page cache.
    pub bytes_sendfile: Count,
    /// Bytes that were written from memory: heads, small files, whatever a program made or changed.
    pub bytes_written: Count,
    /// Bytes of files that were read through a buffer and then written: the file system cannot map.
    pub bytes_read: Count,
    /// Bytes of requests.
    pub bytes_received: Count,
    /// File-backed slices that were written from memory because sendfile(2) was refused.
    pub fallbacks_refused: Count,
    /// Bodies that were read through a buffer because their file could not be mapped.
    pub fallbacks_unmapped: Count,
    /// Connections accepted.
    pub connections_accepted: Count,
    /// Times that accepting rested, for there was no descriptor or memory for another connection.
    pub accept_pauses: Count,
    /// Connections open now.
    pub connections_open: Count,
    /// Connections that were ended because a timeout passed.
    pub connections_timed_out: Count,
    /// Connections that were ended because a graceful shutdown took too long.
    pub connections_cut: Count,
    /// Idle connections that were closed to make room for others.
    pub connections_evicted: Count,
    /// Connections that ended because the application, or this crate, panicked.
    pub connections_panicked: Count,
    /// Requests that were refused before any service saw them.
    pub requests_refused: Count,
    /// Responses whose file turned out to be shorter than it was when they began.
    pub truncated: Count,
    /// Responses that were broken off because their file was written to while they were sent.
    pub changed: Count,
    /// Times that a body waited for the disk, on a thread of its own.
    pub cold_waits: Count,
    /// Turns that ended because their budget was spent, with more to send.
    pub turns_yielded: Count,
    /// Lookups answered by the open-file cache.
    pub cache_hits: Count,
    /// Lookups that had to open the file.
    pub cache_misses: Count,
    /// Entries of the cache that were checked against the file system.
    pub cache_revalidations: Count,
}

impl ServerStats {
    /// Counts how a connection's task ended.
    pub(crate) fn note(&self, ended: &Result<(), JoinError>) {
        if ended.as_ref().is_err_and(JoinError::is_panic) {
            self.connections_panicked.add(1);
        }
    }

    /// Counts a response whose file is not what it was any more.
    pub(crate) fn broke_off(&self, error: &io::Error) {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => self.truncated.add(1),
            io::ErrorKind::InvalidData => self.changed.add(1),
            _ => {}
        }
    }
}
