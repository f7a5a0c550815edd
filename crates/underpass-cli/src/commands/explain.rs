//! `underpass explain SRC DST`

use std::fs::{File, OpenOptions};
use std::net::UdpSocket;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use underpass::connect::Peer;
use underpass::plan::{PlanOptions, Promise, plan};
use underpass::{Egress, Endpoint, Kind};

use crate::args::{ExplainArgs, KtlsArgs};
use crate::exit::Failure;
use crate::io::StandardStream;
use crate::io::connection;
use crate::io::files::{self, Sink, Source};
use crate::io::tls;
use crate::values::{Address, FileOrAddress};

mod print;

pub(crate) fn run(args: &ExplainArgs) -> Result<(), Failure> {
    let (from, to) = (end(&args.source)?, end(&args.sink)?);
    let (source, sink) = (source(&from, args.ktls)?, sink(&to, args.ktls)?);
    let promise = if args.stable {
        Promise::Stable
    } else {
        Promise::Shared
    };
    let length = args.length.or(source.size.filter(|&size| size > 0));
    let options = PlanOptions::of_length(length)
        .promise(promise)
        .route(args.route);
    let is_new = matches!(&to, FileOrAddress::File(path) if is_new(path));
    let (from, to) = (from.name(), to.name());
    let plan = plan(&source, &sink, &options)
        .map_err(|error| Failure::usage(format_args!("{from} -> {to}: {error}")))?;
    let explained = print::Explained {
        source: (&from, &source),
        sink: (&to, &sink),
        is_new,
        plan: &plan,
    };
    let text = if args.json {
        format!("{}\n", explained.json())
    } else {
        explained.to_string()
    };
    StandardStream::Output.offer(text.as_bytes())
}

fn end(text: &str) -> Result<FileOrAddress, Failure> {
    text.parse().map_err(Failure::usage)
}

fn source(source: &FileOrAddress, ktls: KtlsArgs) -> Result<Endpoint, Failure> {
    let path = match source {
        FileOrAddress::Address(address) => return unconnected(address, ktls),
        FileOrAddress::File(path) => path,
    };
    let failed = |error| Failure::failed(format_args!("{source}: {error}"));
    if files::is_descriptor(path) {
        return Source::open(path).and_then(|source| Endpoint::of(source).map_err(failed));
    }
    // Opening a FIFO must not wait for its writer.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nonblocking)
        .open(path);
    file.and_then(Endpoint::of).map_err(failed)
}

/// The endpoint that `copy` or `recv` would write to: a device or FIFO itself, otherwise a new file
/// beside the name.
fn sink(sink: &FileOrAddress, ktls: KtlsArgs) -> Result<Endpoint, Failure> {
    let path = match sink {
        FileOrAddress::Address(address) => return unconnected(address, ktls),
        FileOrAddress::File(path) => path,
    };
    let failed = |error| Failure::failed(format_args!("{sink}: {error}"));
    if let Some(sink) = Sink::descriptor(path)? {
        return Endpoint::of(sink).map_err(failed);
    }
    let kind = std::fs::metadata(path).map(|metadata| metadata.file_type());
    let directory = match kind {
        Ok(kind) if kind.is_fifo() => return Ok(Endpoint::assumed(Kind::Pipe)),
        Ok(kind) if kind.is_char_device() || kind.is_block_device() => {
            let opened = OpenOptions::new().write(true).open(path);
            return opened.and_then(Endpoint::of).map_err(failed);
        }
        Ok(kind) if kind.is_dir() => path,
        _ => files::directory_of(path),
    };
    File::open(directory)
        .and_then(Endpoint::of_new_file_in)
        .map_err(|error| Failure::failed(format_args!("{}: {error}", directory.display())))
}

/// Whether nothing has that name yet.
fn is_new(path: &Path) -> bool {
    !files::is_descriptor(path) && path.symlink_metadata().is_err()
}

/// The endpoint of a peer, without connecting to it: its kind, and for TCP the interface that leads
/// to it.
fn unconnected(address: &Address, ktls: KtlsArgs) -> Result<Endpoint, Failure> {
    let failed = |error| Failure::failed(format_args!("{address}: {error}"));
    let Peer::Tcp(peers) = connection::resolve(address).map_err(failed)? else {
        return Ok(Endpoint::assumed(Kind::UnixStream));
    };
    let mut endpoint = Endpoint::assumed(Kind::Tcp);
    if address.tls().is_some() {
        let tls = tls::expected(ktls).map_err(failed)?;
        endpoint.ulp = tls.is_in_kernel();
        endpoint = endpoint.with_tls(tls);
    }
    if let Some(&peer) = peers.first() {
        let asker = UdpSocket::bind("0.0.0.0:0").map_err(failed)?;
        endpoint.egress = Egress::towards(&asker, peer).ok();
    }
    Ok(endpoint)
}
