//! Counters of a server.

use std::io;

use underpass::Count;

use crate::objects::{Cached, OfObject, StoreError};

/// Counters of a server and of the services behind it, which share them in an `Arc`.
///
/// The share of the bytes that were sent without a copy is
/// `bytes_sendfile / (bytes_sendfile + bytes_mapped + bytes_written)`. Bytes of heads count as
/// written. TLS in user space has [its own counter](Self::bytes_encrypted).
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct ServerStats {
    /// Bytes sent from the page cache by sendfile(2).
    pub bytes_sendfile: Count,
    /// Bytes sent from the mappings of files as memory, of which the kernel makes one copy: bodies
    /// of HTTP/2, whose frames are too small for sendfile(2) to be cheaper.
    pub bytes_mapped: Count,
    /// Bytes written from memory: heads, small files, and bodies that a program made or changed.
    pub bytes_written: Count,
    /// Bytes that were encrypted in this process, straight from the mappings of files or from
    /// memory, and sent. They count neither as written nor as sent by sendfile(2).
    pub bytes_encrypted: Count,
    /// Bytes of files that were read into a buffer first, because the file system cannot map files.
    pub bytes_read: Count,
    /// Bytes of bodies of a [store's objects](crate::ServeDir::objects) that were sent, by whatever
    /// route: they came from its local files. A window of 2 MiB counts when all of it was sent, so
    /// of a body that is broken off the last one does not.
    pub bytes_of_objects: Count,
    /// Bytes received, of requests.
    pub bytes_received: Count,
    /// File-backed slices that were written from memory because sendfile(2) was refused.
    pub fallbacks_refused: Count,
    /// Bodies that were read into buffers because their file could not be mapped.
    pub fallbacks_unmapped: Count,
    /// Connections accepted.
    pub connections_accepted: Count,
    /// How often accepting paused because no descriptor or memory was left for another connection.
    pub accept_pauses: Count,
    /// Connections that speak HTTP/2, since the start.
    pub http2_connections: Count,
    /// Streams of HTTP/2 that were ended by a timeout.
    pub streams_timed_out: Count,
    /// Connections that were ended because they sent too many frames that ask for nothing.
    pub http2_floods: Count,
    /// Connections open now.
    pub connections_open: Count,
    /// Connections that were ended by a timeout.
    pub connections_timed_out: Count,
    /// Connections that were ended because a graceful shutdown took too long, or was
    /// [cut short](crate::Serve::cut_short).
    pub connections_cut: Count,
    /// Bytes that they had been sent of responses that were not complete: with their heads in
    /// HTTP/1.1; in HTTP/2, the data of whole frames.
    pub bytes_cut: Count,
    /// Idle connections that were closed to make room for others.
    pub connections_evicted: Count,
    /// Connections that ended in a panic of the application or of this crate.
    pub connections_panicked: Count,
    /// Requests that were refused before they reached a service.
    pub requests_refused: Count,
    /// Responses that were cut short because their file was truncated.
    pub truncated: Count,
    /// Responses that were cut short because their file was written to.
    pub changed: Count,
    /// Responses that were cut short because their store did not give the rest.
    pub store_failures: Count,
    /// Responses with content of an object, all of which was in its local file when they were made:
    /// the store was not asked for any of it.
    pub objects_cached: Count,
    /// Responses with content of an object whose first byte was in its local file when they were
    /// made, but not all of it.
    pub objects_partly_cached: Count,
    /// Responses with content of an object whose first byte had to come from the store.
    pub objects_not_cached: Count,
    /// How often a body waited for bytes of an object that were not in its local file yet.
    pub store_waits: Count,
    /// How often a body waited for the disk, on a blocking thread.
    pub cold_waits: Count,
    /// Turns that ended because their send budget was spent, with more to send.
    pub turns_yielded: Count,
    /// Files and directories that were left out of archives because they could not be read. A note
    /// in each archive lists them.
    pub archive_left_out: Count,
    /// Lookups answered by the open-file cache.
    pub cache_hits: Count,
    /// Lookups that had to open the file.
    pub cache_misses: Count,
    /// Entries of the cache that were checked against the file system.
    pub cache_revalidations: Count,
}

impl ServerStats {
    /// Counts a response with content of an object.
    pub(crate) fn begun(&self, of_object: OfObject) {
        let OfObject(cached) = of_object;
        match cached {
            Cached::Whole => self.objects_cached.add(1),
            Cached::Part => self.objects_partly_cached.add(1),
            Cached::Nothing => self.objects_not_cached.add(1),
        }
    }

    /// Counts a response that was cut short because its file changed, or its store failed.
    pub(crate) fn broke_off(&self, error: &io::Error) {
        match error.kind() {
            _ if StoreError::of(error).is_some() => self.store_failures.add(1),
            io::ErrorKind::UnexpectedEof => self.truncated.add(1),
            io::ErrorKind::InvalidData => self.changed.add(1),
            _ => {}
        }
    }
}
