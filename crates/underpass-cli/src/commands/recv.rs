//! `underpass recv ADDR FILE|DIR|-`

use std::io;
use std::os::fd::AsFd;

use rustix::net::RecvFlags;
use underpass::connect::Peer;
use underpass::{Error, LayerError, Receipt, units};
use underpass_archive::agreement::{Answer, HELLO_LEN, Hello, Wishes};

use super::agreement;
use super::connecting::{Connecting, Start};
use super::receipt::{self, Done, ReceiptOutput};
use super::transfer::{self, TransferOptions};
use crate::args::RecvArgs;
use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::io::PeerStream;
use crate::io::connection::{self, PeerConnection, PeerListener};
use crate::io::files::Sink;
use crate::io::listen;
use crate::io::tls::{self, TlsClient, TlsServer};
use crate::io::wait;
use crate::report;
use crate::values::Address;
use crate::values::size::ByteRange;
use tree::TreeSink;

mod tree;
mod unpacking;

/// The mode of a new file, less the umask.
const MODE: u32 = 0o666;

pub(crate) fn run(args: &RecvArgs) -> Result<(), Failure> {
    let failed = |error| Failure::failed(format_args!("{}: {error}", args.at.name()));
    refuse_address(args)?;
    if args.waiting.wait.is_some() && !args.connect {
        return Err(Failure::usage(
            "--wait is for recv with --connect; without it, recv waits in any case",
        ));
    }
    let tls = Tls::prepare(args)?;
    let resolved = connection::resolve(&args.at).map_err(failed)?;
    if let Some(tree) = TreeSink::of(args)? {
        return unpack(args, &tree, &tls, &resolved);
    }
    let for_archives = [(args.owners, "--owners"), (args.xattrs, "--xattrs")];
    agreement::refuse(
        &for_archives,
        &format!(
            "is for archives; {} is a file. DIR/ unpacks",
            args.sink.display()
        ),
    )?;
    let options = transfer::write_options(args.writing, MODE);
    let (sink, interrupt) = Sink::open(&args.sink, options)?;
    let output = ReceiptOutput::beside(&sink);
    receipt::ready(&args.common, output)?;
    let (connection, receipt) = receive(args, Output::File(&sink), &tls, &resolved, &interrupt)?;
    let receipt = transfer::finish(sink, options, receipt, &args.common, &interrupt)?;
    // The sender waits for the connection to close. By then the file has its name.
    let kept = connection.keep(args.network.timeout, &interrupt.cancel);
    kept.map_err(failed)?;
    receipt::receipt(&receipt, &Done::Received, &args.common, output)
}

/// Unpacks an archive into a directory.
fn unpack(args: &RecvArgs, tree: &TreeSink, tls: &Tls, to: &Peer) -> Result<(), Failure> {
    let interrupt = Interrupt::listen_to_all()?;
    receipt::ready(&args.common, ReceiptOutput::Standard)?;
    let (connection, receipt) = receive(args, Output::Tree(tree), tls, to, &interrupt)?;
    let kept = connection.keep(args.network.timeout, &interrupt.cancel);
    kept.map_err(|error| Failure::failed(format_args!("{}: {error}", args.at.name())))?;
    let done = if tree.single.is_some() {
        Done::Received
    } else {
        Done::ReceivedTree(tree.files())
    };
    let common = &args.common;
    receipt::receipt(&receipt, &done, common, ReceiptOutput::Standard)?;
    // The receipt of one line says what was made, and not what was there.
    let is_said = common.is_one_line() && receipt.already_there == 0;
    tree.report(&receipt.source.name, common.quiet || is_said)
}

/// Refuses an address in the place of the file.
fn refuse_address(args: &RecvArgs) -> Result<(), Failure> {
    let text = args.sink.to_str().unwrap_or_default();
    let is_short = text.parse::<Address>().is_ok() && !text.contains('/') && !args.sink.exists();
    if !Address::has_scheme(text) && !is_short {
        return Ok(());
    }
    Err(Failure::usage(format_args!(
        "{text}: is an address, and a file belongs here: underpass recv ADDR FILE; a file of this name is ./{text}"
    )))
}

/// Connects or listens, and receives.
fn receive(
    args: &RecvArgs,
    output: Output<'_>,
    tls: &Tls,
    to: &Peer,
    interrupt: &Interrupt,
) -> Result<(PeerConnection, Receipt), Failure> {
    if args.connect {
        let connection = connect(args, to, tls, interrupt)?;
        return Receiving::new(args, output, &args.at, interrupt).only(connection);
    }
    let listener = PeerListener::bind(&args.at).map_err(|error| {
        let advice = listen::advice(&args.at, &error);
        Failure::failed(format_args!("{}: {error}{advice}", args.at))
    })?;
    let at = listener.address().clone();
    Receiving::new(args, output, &at, interrupt).first(listener, tls)
}

/// Where the bytes go.
#[derive(Clone, Copy)]
enum Output<'a> {
    File(&'a Sink),
    Tree(&'a TreeSink),
}

impl Output<'_> {
    fn name(self) -> String {
        match self {
            Self::File(sink) => sink.name(),
            Self::Tree(tree) => tree.name(),
        }
    }
}

/// What there is to do about TLS.
enum Tls {
    None,
    Server(TlsServer),
    Client(TlsClient),
}

impl Tls {
    fn prepare(args: &RecvArgs) -> Result<Self, Failure> {
        let given = args.tls.given().or(args.tls_client.given());
        tls::refuse_without_tls([&args.at].into_iter(), given)?;
        let (wrong, way) = if args.connect {
            (args.tls.given(), "without")
        } else {
            (args.tls_client.given(), "with")
        };
        match (args.at.tls(), wrong) {
            (None, _) => Ok(Self::None),
            (_, Some(option)) => Err(Failure::usage(format_args!(
                "{option} is for recv {way} --connect"
            ))),
            (Some(address), None) if args.connect => {
                TlsClient::new(address, &args.tls_client, args.ktls).map(Self::Client)
            }
            (Some(address), None) => {
                TlsServer::new([address].into_iter(), &args.tls, args.ktls).map(Self::Server)
            }
        }
    }
}

fn connect(
    args: &RecvArgs,
    to: &Peer,
    tls: &Tls,
    interrupt: &Interrupt,
) -> Result<PeerConnection, Failure> {
    let timeout = args.network.timeout;
    let what = args.at.name();
    let connecting = Connecting {
        to: &args.at,
        wait: args.waiting.wait,
        timeout,
        common: &args.common,
        start: Start::FanOut,
    };
    let connection = connecting.connect(to, interrupt)?;
    match tls {
        Tls::Client(client) => connection
            .begin_tls(&interrupt.cancel, |socket| {
                client.shake_hands(socket, timeout, &interrupt.cancel)
            })
            .map_err(|error| transfer::handshake_failure(&what, &error, interrupt)),
        Tls::None | Tls::Server(_) => Ok(connection),
    }
}

/// What receiving needs.
struct Receiving<'a> {
    args: &'a RecvArgs,
    sink: Output<'a>,
    /// Where the connection is accepted, or made to.
    at: &'a Address,
    interrupt: &'a Interrupt,
}

impl<'a> Receiving<'a> {
    fn new(
        args: &'a RecvArgs,
        sink: Output<'a>,
        at: &'a Address,
        interrupt: &'a Interrupt,
    ) -> Self {
        Self {
            args,
            sink,
            at,
            interrupt,
        }
    }

    /// Receives from a connection that was made.
    fn only(&self, mut connection: PeerConnection) -> Result<(PeerConnection, Receipt), Failure> {
        match self.receive(&mut connection)? {
            Some(receipt) => Ok((connection, receipt)),
            None => Err(Failure::incomplete(format_args!(
                "{} -> {}: {EMPTY}",
                self.at.name(),
                self.sink.name()
            ))),
        }
    }

    /// Receives from the first connection that sends something.
    fn first(
        &self,
        listener: PeerListener,
        tls: &Tls,
    ) -> Result<(PeerConnection, Receipt), Failure> {
        if !self.args.common.quiet {
            self.announce(&listener, tls);
        }
        if !matches!(tls, Tls::Server(_)) {
            let connection = self.accept(&listener, tls)?;
            // It has sent a byte, so no other one is waited for.
            drop(listener);
            return self.only(connection);
        }
        loop {
            let mut connection = self.accept(&listener, tls)?;
            match self.receive(&mut connection)? {
                Some(receipt) => return Ok((connection, receipt)),
                None => self.unused(&"it ended"),
            }
        }
    }

    /// Says where to send to; if the key was made for this run, with its fingerprint.
    fn announce(&self, listener: &PeerListener, tls: &Tls) {
        let at = match tls {
            Tls::Server(server) => self.at.clone().with_tls(server.made),
            Tls::None | Tls::Client(_) => self.at.clone(),
        };
        report::notice(format_args!("listening on {at}"));
        let fingerprint = at.tls().and_then(|tls| tls.fingerprint);
        if let (Some(_), Some(other)) = (fingerprint, listener.seen_from_elsewhere()) {
            let to = other.with_tls(fingerprint);
            report::notice(format_args!("from another machine, send to {to}"));
        }
    }

    /// Accepts a connection. With TLS it shakes hands, without it waits for the first byte.
    fn accept(&self, listener: &PeerListener, tls: &Tls) -> Result<PeerConnection, Failure> {
        let (timeout, cancel) = (self.args.network.timeout, &self.interrupt.cancel);
        loop {
            let accepted = listener.accept(timeout, cancel);
            let opened = accepted.and_then(|connection| match tls {
                Tls::Server(server) => self.shake_hands(connection, server),
                Tls::None | Tls::Client(_) => self.await_byte(connection),
            });
            match opened {
                Ok(Some(connection)) => return Ok(connection),
                Ok(None) => {}
                Err(error) if connection::is_gone(&error) => self.unused(&error),
                Err(error) => {
                    let (at, sink) = (self.at.name(), self.sink.name());
                    let what = format!("{at} -> {sink}: no connection sent a byte");
                    let interrupt = self.interrupt;
                    return Err(transfer::wait_failure(&what, &error, timeout, interrupt));
                }
            }
        }
    }

    /// A client whose handshake fails is reported, and the next one is waited for.
    fn shake_hands(
        &self,
        connection: PeerConnection,
        server: &TlsServer,
    ) -> io::Result<Option<PeerConnection>> {
        let cancel = &self.interrupt.cancel;
        match connection.begin_tls(cancel, |socket| server.shake_hands(socket, None, cancel)) {
            Ok(connection) => Ok(Some(connection)),
            Err(error) if cancel.is_cancelled() => Err(error),
            Err(error) => {
                self.failed(&error);
                Ok(None)
            }
        }
    }

    fn await_byte(&self, mut connection: PeerConnection) -> io::Result<Option<PeerConnection>> {
        let (timeout, cancel) = (self.args.network.timeout, &self.interrupt.cancel);
        let has_come = self.may_be_empty()
            || connection::says_something(&connection.peer, timeout, cancel)?
            // An underpass send that sent no data confirms that its file is empty.
            || connection.was_meant(timeout, cancel)? == Some(true);
        if !has_come {
            self.unused(&"it ended");
        }
        Ok(has_come.then_some(connection))
    }

    fn may_be_empty(&self) -> bool {
        self.args.allow_empty || self.args.expect == Some(0)
    }

    /// Reports a connection that ended without a byte. Port scanners and health checks make such
    /// connections.
    fn unused(&self, why: &dyn std::fmt::Display) {
        if !self.args.common.quiet {
            report::notice(format_args!(
                "{}: a connection ended without a byte ({why}); still listening (--allow-empty accepts it as an empty file)",
                self.at.name()
            ));
        }
    }

    /// Reports a client whose handshake failed.
    fn failed(&self, error: &io::Error) {
        if !self.args.common.quiet {
            let at = self.at.name();
            report::notice(format_args!(
                "{at}: a connection failed ({error}); still listening"
            ));
        }
    }

    /// Receives to the end. `None` if a connection with TLS ended without a byte: without reading,
    /// nothing says whether there will be one.
    fn receive(&self, connection: &mut PeerConnection) -> Result<Option<Receipt>, Failure> {
        match self.sink {
            Output::File(sink) => {
                self.refuse_hello(connection)?;
                self.receive_file(connection, sink)
            }
            Output::Tree(tree) => {
                let Some(receipt) = tree.receive(self, connection)? else {
                    return Ok(None);
                };
                let what = format!("{} -> {}", self.at.name(), tree.name());
                self.was_all(connection, &what, receipt.bytes)?;
                Ok(Some(receipt))
            }
        }
    }

    /// A sender that wants to verify or resume waits for an answer, and is told that nobody asked
    /// for that here. With TLS the bytes cannot be looked at before they are taken: there the
    /// sender gives up when there is no answer.
    fn refuse_hello(&self, connection: &PeerConnection) -> Result<(), Failure> {
        if connection.layer().is_some() {
            return Ok(());
        }
        let mut begin = [0; HELLO_LEN];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        match rustix::net::recv(&connection.peer, &mut begin[..], flags) {
            Ok((HELLO_LEN, _)) if Hello::may_begin(&begin) => {
                Err(self.not_wished(connection, &begin))
            }
            // Its error, if any, comes again.
            _ => Ok(()),
        }
    }

    /// Refuses a sender that was asked for something, where this side was not.
    fn not_wished(&self, connection: &PeerConnection, hello: &[u8; HELLO_LEN]) -> Failure {
        let stream = PeerStream::new(connection, None, &self.interrupt.cancel);
        let own = Wishes::default();
        let why = match Hello::read(hello) {
            Ok(hello) => agreement::differ("send", hello.wishes, "recv", own),
            Err(error) => error.to_string(),
        };
        agreement::answer(&stream, Answer::Differs(own));
        let (at, sink) = (self.at.name(), self.sink.name());
        Failure::failed(format_args!("{at} -> {sink}: {why}"))
    }

    fn receive_file(
        &self,
        connection: &mut PeerConnection,
        sink: &Sink,
    ) -> Result<Option<Receipt>, Failure> {
        let args = self.args;
        let names = (self.at.name(), sink.name());
        let end = args.expect;
        let options = TransferOptions {
            names: names.clone(),
            range: end.map(|_| ByteRange { start: 0, end }),
            timeout: args.network.timeout,
            source_layer: connection.layer().cloned(),
            ..TransferOptions::default()
        };
        let peer = &connection.peer;
        if connection.layer().is_none() {
            sink.refuse_binary(&names.0, &connection::peeked(peer))?;
        }
        let received = if connection.layer().is_some() {
            let received = transfer::run(peer, sink, options, &args.common, self.interrupt);
            match moved(&received) {
                Some(0) if !self.may_be_empty() => return Ok(None),
                Some(bytes) => sink.cut(bytes)?,
                None => {}
            }
            received
        } else {
            transfer::begin(peer, sink, &options, &args.common, self.interrupt)?;
            transfer::run(peer, sink, options, &args.common, self.interrupt)
        };
        let mut receipt = received.map_err(|error| {
            connection.let_hear(error.layer_error(), &self.interrupt.cancel);
            receipt::failed(error.receipt(), &args.common, ReceiptOutput::beside(sink));
            transfer::failure(&error, &names, self.interrupt, &sink.leftover_note())
        })?;
        let what = format!("{} -> {}", names.0, names.1);
        match self.await_end(connection, &what, receipt.bytes) {
            Ok(()) => Ok(Some(receipt)),
            Err(failure) => {
                receipt.complete = false;
                receipt::failed(Some(&receipt), &args.common, ReceiptOutput::beside(sink));
                Err(failure.and(&sink.leftover_note()))
            }
        }
    }

    /// Checks that the connection ends after `bytes`, and that the sender meant to end it there.
    fn await_end(
        &self,
        connection: &mut PeerConnection,
        what: &str,
        bytes: u64,
    ) -> Result<(), Failure> {
        if let Some(expect) = self.args.expect {
            self.nothing_more(connection, what, expect)?;
        }
        self.was_all(connection, what, bytes)
    }

    /// Checks that the sender ended after it had sent everything, as far as that can be known, and
    /// that it has sent something.
    fn was_all(
        &self,
        connection: &mut PeerConnection,
        what: &str,
        bytes: u64,
    ) -> Result<(), Failure> {
        let timeout = self.args.network.timeout;
        let was_meant = connection
            .was_meant(timeout, &self.interrupt.cancel)
            .map_err(|error| transfer::wait_failure(what, &error, timeout, self.interrupt))?;
        match (was_meant, bytes) {
            (Some(false), _) => Err(Failure::incomplete(format_args!(
                "{what}: the sender went away before it had sent all, after {}",
                units::count(bytes, "byte")
            ))),
            (None, 0) if !self.may_be_empty() => {
                Err(Failure::incomplete(format_args!("{what}: {EMPTY}")))
            }
            _ => Ok(()),
        }
    }

    /// Checks that the connection ends after the expected bytes.
    fn nothing_more(
        &self,
        connection: &PeerConnection,
        what: &str,
        expect: u64,
    ) -> Result<(), Failure> {
        let timeout = self.args.network.timeout;
        let expect = units::count(expect, "byte");
        let awaited = format!("{what}: the end after {expect}");
        let failed = |error| transfer::wait_failure(&awaited, &error, timeout, self.interrupt);
        loop {
            match connection.read_one() {
                Ok(false) => return Ok(()),
                Ok(true) => {
                    return Err(Failure::incomplete(format_args!(
                        "{what}: more came than the {expect} expected"
                    )));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    connection.let_hear(LayerError::of(&error), &self.interrupt.cancel);
                    return Err(failed(error));
                }
            }
            let peer = connection.peer.as_fd();
            wait::wait_readable(peer, timeout, &self.interrupt.cancel).map_err(failed)?;
        }
    }
}

const EMPTY: &str =
    "the connection ended without a byte; --allow-empty accepts it as an empty file";

/// How many bytes came, if the transfer has begun: of one that failed too, if its peer went away.
fn moved(received: &Result<Receipt, Error>) -> Option<u64> {
    match received {
        Ok(receipt) => Some(receipt.bytes),
        Err(error) if error.is_disconnected() => Some(error.bytes()),
        Err(_) => None,
    }
}
