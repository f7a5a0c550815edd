//! `underpass recv ADDR FILE|-`

use std::os::fd::{AsFd, OwnedFd};

use rustix::net::RecvFlags;
use underpass::Receipt;
use underpass::connect::Peer;

use super::receipt::{self, ReceiptOutput};
use super::transfer::{self, TransferOptions};
use crate::args::RecvArgs;
use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::io::connection::{self, PeerConnection, PeerListener};
use crate::io::files::Sink;
use crate::io::listen;
use crate::report;
use crate::values::Address;
use crate::values::size::ByteRange;

/// The mode of a new file, less the umask.
const MODE: u32 = 0o666;

pub(crate) fn run(args: &RecvArgs) -> Result<(), Failure> {
    let failed = |error| Failure::failed(format_args!("{}: {error}", args.at));
    let resolved = connection::resolve(&args.at).map_err(failed)?;
    let options = transfer::write_options(args.writing, MODE);
    let (sink, interrupt) = Sink::open(&args.sink, options)?;
    let output = ReceiptOutput::beside(&sink);
    receipt::ready(&args.common, output)?;
    let (mut connection, at) = if args.connect {
        (connect(args, &resolved, &interrupt)?, args.at.clone())
    } else {
        let listener = PeerListener::bind(&args.at).map_err(|error| {
            let advice = listen::advice(&args.at, &error);
            Failure::failed(format_args!("{}: {error}{advice}", args.at))
        })?;
        let at = listener.address().clone();
        (accept(args, &listener, &at, &sink, &interrupt)?, at)
    };
    let receipt = receive(args, &mut connection, &sink, &at, &interrupt)
        .and_then(|receipt| transfer::finish(sink, options, receipt, &args.common, &interrupt))?;
    // The sender waits for the connection to close. By then the file has its name.
    connection.keep().map_err(failed)?;
    receipt::receipt(&receipt, &args.common, output)
}

fn connect(args: &RecvArgs, to: &Peer, interrupt: &Interrupt) -> Result<PeerConnection, Failure> {
    let timeout = args.network.timeout;
    let what = args.at.to_string();
    connection::connect(to, timeout, &interrupt.cancel)
        .map_err(|error| transfer::wait_failure(&what, &error, timeout, interrupt))
}

fn accept(
    args: &RecvArgs,
    listener: &PeerListener,
    at: &Address,
    sink: &Sink,
    interrupt: &Interrupt,
) -> Result<PeerConnection, Failure> {
    if !args.common.quiet {
        report::notice(format_args!("listening on {at}"));
    }
    let timeout = args.network.timeout;
    loop {
        let accepted = listener.accept(timeout, &interrupt.cancel);
        let said = accepted.and_then(|mut connection| {
            let has_come = may_be_empty(args)
                || connection::says_something(&connection.peer, timeout, &interrupt.cancel)?
                // An underpass send that sent no data confirms that its file is empty.
                || connection.was_meant(timeout, &interrupt.cancel)? == Some(true);
            Ok(has_come.then_some(connection))
        });
        match said {
            Ok(Some(connection)) => return Ok(connection),
            Ok(None) => unused(args, at, &"it ended"),
            Err(error) if connection::is_gone(&error) => unused(args, at, &error),
            Err(error) => {
                let what = format!("{at} -> {}: no connection sent a byte", sink.name());
                return Err(transfer::wait_failure(&what, &error, timeout, interrupt));
            }
        }
    }
}

fn may_be_empty(args: &RecvArgs) -> bool {
    args.allow_empty || args.expect == Some(0)
}

/// Reports a connection that ended without a byte. Port scanners and health checks make such
/// connections.
fn unused(args: &RecvArgs, at: &Address, why: &dyn std::fmt::Display) {
    if !args.common.quiet {
        report::notice(format_args!(
            "{at}: a connection ended without a byte ({why}); still listening (--allow-empty accepts it as an empty file)"
        ));
    }
}

fn receive(
    args: &RecvArgs,
    connection: &mut PeerConnection,
    sink: &Sink,
    at: &Address,
    interrupt: &Interrupt,
) -> Result<Receipt, Failure> {
    let names = (at.to_string(), sink.name());
    let end = args.expect;
    let options = TransferOptions {
        names: names.clone(),
        range: end.map(|_| ByteRange { start: 0, end }),
        timeout: args.network.timeout,
        ..TransferOptions::default()
    };
    let peer = &connection.peer;
    transfer::begin(peer, sink, &options, &args.common, interrupt)?;
    let mut receipt =
        transfer::run(peer, sink, options, &args.common, interrupt).map_err(|error| {
            receipt::failed(error.receipt(), &args.common, ReceiptOutput::beside(sink));
            transfer::failure(&error, &names, interrupt, &sink.leftover_note())
        })?;
    let what = format!("{} -> {}", names.0, names.1);
    match await_end(args, connection, &what, receipt.bytes, interrupt) {
        Ok(()) => Ok(receipt),
        Err(failure) => {
            receipt.complete = false;
            receipt::failed(Some(&receipt), &args.common, ReceiptOutput::beside(sink));
            Err(failure.and(&sink.leftover_note()))
        }
    }
}

/// Checks that the connection ends after `bytes`, and that the sender meant to end it there.
fn await_end(
    args: &RecvArgs,
    connection: &mut PeerConnection,
    what: &str,
    bytes: u64,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    if let Some(expect) = args.expect {
        nothing_more(args, &connection.peer, what, expect, interrupt)?;
    }
    was_all(args, connection, what, bytes, interrupt)
}

/// Checks that the sender ended after it had sent everything, as far as that can be known, and that
/// it has sent something.
fn was_all(
    args: &RecvArgs,
    connection: &mut PeerConnection,
    what: &str,
    bytes: u64,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let timeout = args.network.timeout;
    let was_meant = connection
        .was_meant(timeout, &interrupt.cancel)
        .map_err(|error| transfer::wait_failure(what, &error, timeout, interrupt))?;
    match (was_meant, bytes) {
        (Some(false), _) => Err(Failure::incomplete(format_args!(
            "{what}, after {bytes} bytes: the sender went away before it had sent all"
        ))),
        (None, 0) if !may_be_empty(args) => Err(Failure::incomplete(format_args!(
            "{what}: the connection ended without a byte; --allow-empty accepts it as an empty file"
        ))),
        _ => Ok(()),
    }
}

/// Checks that the connection ends after the expected bytes.
fn nothing_more(
    args: &RecvArgs,
    peer: &OwnedFd,
    what: &str,
    expect: u64,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let timeout = args.network.timeout;
    let awaited = format!("{what}: the end after {expect} bytes");
    let failed = |error| transfer::wait_failure(&awaited, &error, timeout, interrupt);
    connection::wait_readable(peer.as_fd(), timeout, &interrupt.cancel).map_err(failed)?;
    match rustix::net::recv(peer, &mut [0_u8; 1][..], RecvFlags::DONTWAIT) {
        Ok((0, _)) => Ok(()),
        Ok(_) => Err(Failure::incomplete(format_args!(
            "{what}: more came than the {expect} bytes expected"
        ))),
        Err(errno) => Err(failed(errno.into())),
    }
}
