//! Whether a route can serve a pair of ends: one function for each route. `Ok` and `Err` both carry
//! the reason.

use super::{PlanOptions, Promise, SENDFILE_FROM, ZEROCOPY_FROM};
use crate::endpoint::{Endpoint, Kind};
use crate::route::Route;

type Verdict = Result<&'static str, &'static str>;

const EDIT: &str = "the program changes the bytes, so they must pass through its memory";
const MEMORY: &str = "memory has no descriptor to move from";
const SIZELESS: &str = "the source's size cannot be trusted; only read(2) finds its end";
const APPEND: &str =
    "the sink is opened with O_APPEND, which the kernel refuses here (EBADF, EINVAL)";
const TERMINAL: &str = "terminals are read and written";
const ENCRYPTED_HERE: &str =
    "this process encrypts (TLS in user space), so the bytes must pass through its memory";
const DECRYPTED_HERE: &str =
    "this process decrypts (TLS in user space), so the bytes must pass through its memory";
const SHARED_PAGES: &str =
    "a stable source is asked for, and this would share its pages with the sink";

pub(super) fn judge(
    route: Route,
    source: &Endpoint,
    sink: &Endpoint,
    options: &PlanOptions,
) -> Verdict {
    match route {
        Route::Reflink => file_to_file(source, sink, options).and_then(|()| reflink(source, sink)),
        Route::CopyFileRange => {
            file_to_file(source, sink, options).and_then(|()| copy_file_range(source, sink))
        }
        Route::Sendfile => in_kernel(source, sink, options).and_then(|()| sendfile(source, sink)),
        Route::Splice => in_kernel(source, sink, options).map(|()| splice(source, sink)),
        Route::SendZerocopy => send_zerocopy(source, sink, options),
        Route::Seal => seal(source, sink, options),
        Route::ReadWrite => Ok(read_write(source, sink, options)),
    }
}

/// Whether copying costs less than the routes that would otherwise come first, and why.
pub(super) fn copy_first(
    source: &Endpoint,
    sink: &Endpoint,
    options: &PlanOptions,
) -> Option<&'static str> {
    let length = options.length?;
    match source.kind {
        Kind::File if sink.is_tls_in_process() && length < SENDFILE_FROM => {
            Some("a small body: reading it costs less than mapping it")
        }
        Kind::File if sink.kind.is_stream_socket() && length < SENDFILE_FROM => {
            Some("a small body: below the crossing point, copying it costs less than sendfile")
        }
        Kind::Memory if sink.is_tls_in_process() => None,
        Kind::Memory if length < ZEROCOPY_FROM => Some(
            "a small body: copying it costs less than pinning its pages and waiting for the kernel's report",
        ),
        _ => None,
    }
}

fn file_to_file(
    source: &Endpoint,
    sink: &Endpoint,
    options: &PlanOptions,
) -> Result<(), &'static str> {
    moves_in_kernel(source, options)?;
    if source.kind != Kind::File || sink.kind != Kind::File {
        return Err("only from a regular file to a regular file");
    }
    if sink.append {
        return Err(APPEND);
    }
    Ok(())
}

fn reflink(source: &Endpoint, sink: &Endpoint) -> Verdict {
    let (Some(from), Some(to)) = (source.file_system, sink.file_system) else {
        return Err("the file systems are not known");
    };
    if from.magic != to.magic {
        return Err("the files are on different file systems");
    }
    if !from.may_clone() {
        return Err("this file system cannot share extents between files");
    }
    Ok("both files are on a file system that may share extents")
}

fn copy_file_range(source: &Endpoint, sink: &Endpoint) -> Verdict {
    match (source.file_system, sink.file_system) {
        // "EXDEV: the files are not on the same filesystem, and the source and target filesystems
        // are not of the same type" (copy_file_range(2), since Linux 5.19; before, copies between
        // types were wrong for some).
        (Some(from), Some(to)) if from.magic != to.magic => {
            Err("the files are on file systems of different types (EXDEV)")
        }
        _ => Ok("the kernel, or the file server, copies between files by itself"),
    }
}

/// The conditions that sendfile and splice share.
fn in_kernel(
    source: &Endpoint,
    sink: &Endpoint,
    options: &PlanOptions,
) -> Result<(), &'static str> {
    moves_in_kernel(source, options)?;
    if sink.is_tls_in_process() {
        return Err(ENCRYPTED_HERE);
    }
    if source.is_tls_in_process() {
        return Err(DECRYPTED_HERE);
    }
    if source.kind == Kind::Terminal || sink.kind == Kind::Terminal {
        return Err(TERMINAL);
    }
    if sink.append && sink.kind == Kind::File {
        return Err(APPEND);
    }
    // A file stores the bytes; a socket or pipe refers to the source's pages until they are read.
    if options.promise == Promise::Stable
        && source.kind.is_seekable()
        && !matches!(sink.kind, Kind::File | Kind::BlockDevice)
    {
        return Err(SHARED_PAGES);
    }
    Ok(())
}

fn moves_in_kernel(source: &Endpoint, options: &PlanOptions) -> Result<(), &'static str> {
    if options.edit {
        return Err(EDIT);
    }
    match source.kind {
        Kind::Memory => Err(MEMORY),
        Kind::PseudoFile => Err(SIZELESS),
        Kind::File if source.size == Some(0) => Err(SIZELESS),
        _ => Ok(()),
    }
}

fn sendfile(source: &Endpoint, sink: &Endpoint) -> Verdict {
    if !matches!(source.kind, Kind::File | Kind::BlockDevice) {
        return Err("the source must have pages in the page cache: a file or block device");
    }
    match sink.kind {
        Kind::Pipe => Err("into a pipe, splice does the same without ever blocking"),
        Kind::File | Kind::BlockDevice => Ok("the kernel copies from page cache to page cache"),
        _ if sink.is_tls_in_kernel() => {
            Ok("the kernel's TLS encrypts the page cache's own pages on their way to the socket")
        }
        _ => Ok("the page cache's own pages go to the socket"),
    }
}

fn splice(source: &Endpoint, sink: &Endpoint) -> &'static str {
    match (source.kind, sink.kind) {
        _ if source.is_tls_in_kernel() && sink.is_tls_in_kernel() => {
            "the kernel decrypts and encrypts, and pages go through a pipe between"
        }
        _ if source.is_tls_in_kernel() => "the kernel decrypts, and its pages go to the sink",
        _ if sink.is_tls_in_kernel() => "pages go through a pipe, and the kernel encrypts them",
        (Kind::Pipe, _) => "the pipe's pages go to the sink",
        (_, Kind::Pipe) => "the source's pages go into the pipe",
        _ => "pages go through a pipe inside the kernel",
    }
}

fn send_zerocopy(source: &Endpoint, sink: &Endpoint, options: &PlanOptions) -> Verdict {
    if source.kind != Kind::Memory {
        return Err("only memory that the transfer owns");
    }
    if sink.kind != Kind::Tcp || sink.ulp || sink.tls.is_some() {
        return Err("only to a TCP socket without an upper-layer protocol");
    }
    if options.edit {
        return Err(EDIT);
    }
    Ok("the socket refers to the memory itself")
}

/// Promises nothing less than a stable source: each byte is read once, when it is encrypted.
fn seal(source: &Endpoint, sink: &Endpoint, options: &PlanOptions) -> Verdict {
    if sink.is_tls_in_kernel() {
        return Err("the kernel encrypts");
    }
    if !sink.is_tls_in_process() {
        return Err("only to a TLS connection that this process encrypts");
    }
    if options.edit {
        return Err(EDIT);
    }
    match source.kind {
        Kind::Memory => Ok("the memory is encrypted straight into the outgoing buffer"),
        Kind::PseudoFile => Err(SIZELESS),
        Kind::File if source.size == Some(0) => Err(SIZELESS),
        Kind::File if source.direct => Err("a mapping would go past O_DIRECT"),
        Kind::File | Kind::BlockDevice => {
            Ok("the file's own pages are encrypted straight into the outgoing buffer")
        }
        _ => Err("only from memory, or from what can be mapped: a file or block device"),
    }
}

fn read_write(source: &Endpoint, sink: &Endpoint, options: &PlanOptions) -> &'static str {
    if options.edit {
        EDIT
    } else if source.kind == Kind::Memory {
        "the bytes are in user space already: one copy into the sink"
    } else if source.is_tls_in_process() {
        DECRYPTED_HERE
    } else if sink.is_tls_in_process() {
        ENCRYPTED_HERE
    } else {
        "works for anything, with two copies by the CPU"
    }
}
