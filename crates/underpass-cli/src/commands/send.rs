//! `underpass send FILE|- ADDR`

use underpass::{Error, LayerError, Receipt, acknowledged};

use super::receipt::{self, ReceiptOutput};
use super::transfer::{self, TransferOptions};
use crate::args::SendArgs;
use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::io::connection::{self, PeerConnection};
use crate::io::files::Source;
use crate::io::tls::{self, TlsClient};

pub(crate) fn run(args: &SendArgs) -> Result<(), Failure> {
    tls::refuse_without_tls([&args.to].into_iter(), args.tls.given())?;
    let source = Source::open(&args.source)?;
    receipt::ready(&args.common, ReceiptOutput::Standard)?;
    let names = (source.name(), args.to.name());
    let failed = |error: std::io::Error| Failure::failed(format_args!("{}: {error}", names.1));
    let client = match args.to.tls() {
        Some(address) => Some(TlsClient::new(address, &args.tls, args.ktls)?),
        None => None,
    };
    let resolved = connection::resolve(&args.to).map_err(failed)?;
    let interrupt = Interrupt::listen()?;
    let timeout = args.network.timeout;
    let peer = connection::connect(&resolved, timeout, &interrupt.cancel)
        .map_err(|error| transfer::wait_failure(&names.1, &error, timeout, &interrupt))?;
    let peer = match &client {
        Some(client) => peer
            .begin_tls(&interrupt.cancel, |socket| {
                client.shake_hands(socket, timeout, &interrupt.cancel)
            })
            .map_err(|error| transfer::handshake_failure(&names.1, &error, &interrupt))?,
        None => peer,
    };
    let sending = Sending::new(peer);
    let options = TransferOptions {
        names: names.clone(),
        range: args.range,
        stable: args.stable,
        timeout,
        sink_layer: sending.connection.layer().cloned(),
        ..TransferOptions::default()
    };
    match transfer::run(
        &source,
        &sending.connection.peer,
        options,
        &args.common,
        &interrupt,
    ) {
        Ok(receipt) => deliver(args, &sending, receipt, &interrupt),
        Err(error) => Err(give_up(args, &sending, &error, &names, &interrupt)),
    }
}

/// The connection, and how many bytes its peer had acknowledged at the start.
struct Sending {
    connection: PeerConnection,
    before: Option<u64>,
}

impl Sending {
    fn new(connection: PeerConnection) -> Self {
        let before = acknowledged(&connection.peer).ok();
        Self { connection, before }
    }

    /// A clause that says how many of `sent` bytes the peer's kernel has acknowledged. Unix sockets
    /// do not tell.
    fn arrived(&self, sent: u64) -> String {
        match (self.before, acknowledged(&self.connection.peer)) {
            (Some(before), Ok(now)) => {
                let arrived = now.saturating_sub(before).min(sent);
                // What was acknowledged is encrypted, and so more than the bytes in it.
                let at_most = match self.connection.layer() {
                    Some(_) => "at most ",
                    None => "",
                };
                format!(", of which the peer acknowledged {at_most}{arrived}")
            }
            _ => String::new(),
        }
    }
}

/// Waits until the peer has taken everything: bytes that were handed to the kernel may still get
/// lost.
fn deliver(
    args: &SendArgs,
    sending: &Sending,
    mut receipt: Receipt,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let timeout = args.network.timeout;
    let ended = sending
        .connection
        .end(receipt.bytes, timeout, &interrupt.cancel);
    let Err(error) = ended else {
        return receipt::receipt(&receipt, &args.common, ReceiptOutput::Standard);
    };
    let layer_error = LayerError::of(&error);
    sending.connection.let_hear(layer_error, &interrupt.cancel);
    receipt.complete = false;
    receipt::failed(Some(&receipt), &args.common, ReceiptOutput::Standard);
    let what = format!(
        "{} -> {}: {} bytes were handed to the kernel{}",
        receipt.source.name,
        args.to.name(),
        receipt.bytes,
        sending.arrived(receipt.bytes)
    ) + hint(&receipt);
    Err(transfer::wait_failure(&what, &error, timeout, interrupt))
}

fn give_up(
    args: &SendArgs,
    sending: &Sending,
    error: &Error,
    names: &(String, String),
    interrupt: &Interrupt,
) -> Failure {
    receipt::failed(error.receipt(), &args.common, ReceiptOutput::Standard);
    let arrived = sending.arrived(error.bytes());
    let layer_error = error.layer_error();
    sending.connection.let_hear(layer_error, &interrupt.cancel);
    transfer::failure(error, names, interrupt, &arrived)
}

fn hint(receipt: &Receipt) -> &'static str {
    match receipt.bytes {
        0 => " (an empty transfer: underpass recv accepts it with --allow-empty)",
        _ => "",
    }
}
