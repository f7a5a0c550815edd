//! `underpass explain SRC DST`

use std::fs::{File, OpenOptions};
use std::net::UdpSocket;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use underpass::connect::Peer;
use underpass::plan::{Options, Promise, plan};
use underpass::{Egress, Endpoint, Kind};

use crate::args::Explain;
use crate::exit::Failure;
use crate::io::StandardStream;
use crate::io::connection;
use crate::io::files::{self, Sink, Source};
use crate::values::Address;

mod print;

pub(crate) fn run(args: &Explain) -> Result<(), Failure> {
    let source = source(&args.source)?;
    let sink = sink(&args.sink)?;
    let promise = if args.stable {
        Promise::Stable
    } else {
        Promise::Shared
    };
    let length = args.length.or(source.size.filter(|&size| size > 0));
    let options = Options::of_length(length)
        .promise(promise)
        .route(args.route);
    let plan = plan(&source, &sink, &options).map_err(|error| {
        Failure::usage(format_args!("{} -> {}: {error}", args.source, args.sink))
    })?;
    let explained = print::Explained {
        source: (&args.source, &source),
        sink: (&args.sink, &sink),
        plan: &plan,
    };
    let text = if args.json {
        format!("{}\n", explained.json())
    } else {
        explained.to_string()
    };
    StandardStream::Output.offer(text.as_bytes())
}

fn source(name: &str) -> Result<Endpoint, Failure> {
    if Address::is_meant(name) {
        return address(name);
    }
    let failed = |error| Failure::failed(format_args!("{name}: {error}"));
    if files::is_descriptor(Path::new(name)) {
        return Source::open(Path::new(name))
            .and_then(|source| Endpoint::of(source).map_err(failed));
    }
    // A FIFO without a writer must not hold the answer up.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nonblocking)
        .open(name);
    file.and_then(Endpoint::of).map_err(failed)
}

/// What `copy` and `recv` would write: a device or FIFO itself, else a new file beside the name.
fn sink(name: &str) -> Result<Endpoint, Failure> {
    if Address::is_meant(name) {
        return address(name);
    }
    let failed = |error| Failure::failed(format_args!("{name}: {error}"));
    let path = Path::new(name);
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

/// A peer that is not connected: its kind, and for TCP the interface that leads to it.
fn address(name: &str) -> Result<Endpoint, Failure> {
    let address: Address = name.parse().map_err(Failure::usage)?;
    let failed = |error| Failure::failed(format_args!("{name}: {error}"));
    let Peer::Tcp(peers) = connection::resolve(&address).map_err(failed)? else {
        return Ok(Endpoint::assumed(Kind::UnixStream));
    };
    let mut endpoint = Endpoint::assumed(Kind::Tcp);
    if let Some(&peer) = peers.first() {
        let asker = UdpSocket::bind("0.0.0.0:0").map_err(failed)?;
        endpoint.egress = Egress::towards(&asker, peer).ok();
    }
    Ok(endpoint)
}
