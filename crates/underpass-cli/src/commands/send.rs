//! `underpass send FILE|DIR|- ADDR`

use std::cell::RefCell;
use std::path::Path;

use underpass::plan::Promise;
use underpass::{Error, LayerError, Parts, Receipt, Sequence, acknowledged, units};
use underpass_archive::agreement::Wishes;

use super::agreement;
use super::connecting::{Connecting, Start};
use super::progress::{self, Bar};
use super::receipt::{self, Done, ReceiptOutput};
use super::transfer::{self, TransferOptions};
use crate::args::SendArgs;
use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::io::PeerStream;
use crate::io::connection::{self, PeerConnection};
use crate::io::files::Source;
use crate::io::tls::{self, TlsClient};
use crate::report;
use agreed::{Agreed, Trouble};
use tree::{Counts, Tree};

mod agreed;
mod tree;

pub(crate) fn run(args: &SendArgs) -> Result<(), Failure> {
    tls::refuse_without_tls([&args.to].into_iter(), args.tls.given())?;
    let source = What::open(args)?;
    receipt::ready(&args.common, ReceiptOutput::Standard)?;
    let names = (source.name(args), args.to.name());
    let failed = |error: std::io::Error| Failure::failed(format_args!("{}: {error}", names.1));
    let client = match args.to.tls() {
        Some(address) => Some(TlsClient::new(address, &args.tls, args.ktls)?),
        None => None,
    };
    let resolved = connection::resolve(&args.to).map_err(failed)?;
    let interrupt = Interrupt::listen()?;
    let timeout = args.network.timeout;
    let connecting = Connecting {
        to: &args.to,
        wait: args.waiting.wait,
        timeout,
        common: &args.common,
        start: Start::Recv,
    };
    let peer = connecting.connect(&resolved, &interrupt)?;
    let peer = match &client {
        Some(client) => peer
            .begin_tls(&interrupt.cancel, |socket| {
                client.shake_hands(socket, timeout, &interrupt.cancel)
            })
            .map_err(|error| transfer::handshake_failure(&names.1, &error, &interrupt))?,
        None => peer,
    };
    let sending = Sending::new(peer);
    let (sent, counts) = match source {
        What::Single(source) => {
            let sent = send_file(args, &source, &sending, &names, &interrupt);
            (sent, None)
        }
        What::Tree(tree) if args.agreement.wishes(false).any() => {
            return send_agreed(args, *tree, &sending, &names, &interrupt);
        }
        What::Tree(tree) => {
            let counts = tree.counts();
            let sent = send_tree(args, (*tree, &counts), &sending, &names, &interrupt);
            (sent, Some(counts))
        }
    };
    let mut receipt = sent.map_err(|error| {
        sending.heard.borrow_mut().extend_from_slice(error.heard());
        let failure = give_up(args, &sending, &error, &names, &interrupt);
        told_why(&sending, failure, &interrupt)
    })?;
    let problems = counts.as_ref().map_or(0, |counts| counts.problems());
    receipt.complete = problems == 0;
    let done = counts
        .as_ref()
        .map_or(Done::Sent, |counts| Done::SentTree(counts.files()));
    deliver(args, &sending, receipt, &done, &interrupt)
        .map_err(|failure| told_why(&sending, failure, &interrupt))?;
    report_tree(args, counts.as_deref(), &names)
}

/// Says what was sent, after the receipt.
fn report_tree(
    args: &SendArgs,
    counts: Option<&Counts>,
    names: &(String, String),
) -> Result<(), Failure> {
    let problems = counts.map_or(0, Counts::problems);
    match counts {
        Some(counts) if problems > 0 => Err(Failure::incomplete(format_args!(
            "{} -> {}: sent {}; left out or changed meanwhile: {} (see above)",
            names.0,
            names.1,
            counts.phrase(),
            units::grouped(problems)
        ))),
        // The receipt of one line says what was sent, and not what was there.
        Some(counts)
            if !args.common.quiet && (!args.common.is_one_line() || counts.there() != (0, 0)) =>
        {
            let there = progress::already_there(counts.there());
            report::notice(format_args!("sent {}{there}", counts.phrase()));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// What is sent.
enum What {
    /// A file or a stream, as it is.
    Single(Source),
    /// An archive.
    Tree(Box<Tree>),
}

impl What {
    fn open(args: &SendArgs) -> Result<Self, Failure> {
        refuse_split_name(args)?;
        if let Some(tree) = Tree::of(args)? {
            return Ok(Self::Tree(Box::new(tree)));
        }
        let source = args.sources.first().map(|path| Source::open(path));
        let missing = || Err(Failure::usage("nothing to send: name a file"));
        source.unwrap_or_else(missing).map(Self::Single)
    }

    fn name(&self, args: &SendArgs) -> String {
        match self {
            Self::Single(source) => source.name(),
            Self::Tree(_) => tree::name(&args.sources),
        }
    }
}

/// Refuses two names that are one file's with a space in it, where there are no files of those
/// names.
fn refuse_split_name(args: &SendArgs) -> Result<(), Failure> {
    for pair in args.sources.windows(2) {
        let [one, other] = pair else { continue };
        let whole = format!("{} {}", one.display(), other.display());
        if Path::new(&whole).exists() && !(one.exists() && other.exists()) {
            return Err(Failure::usage(format_args!(
                "{whole}: a name with a space in it needs quotes: \"{whole}\""
            )));
        }
    }
    Ok(())
}

fn send_file(
    args: &SendArgs,
    source: &Source,
    sending: &Sending,
    names: &(String, String),
    interrupt: &Interrupt,
) -> Result<Receipt, Error> {
    let options = TransferOptions {
        names: names.clone(),
        range: args.range,
        stable: args.stable,
        timeout: args.network.timeout,
        sink_layer: sending.connection.layer().cloned(),
        ..TransferOptions::default()
    };
    let peer = &sending.connection.peer;
    transfer::run(source, peer, options, &args.common, interrupt)
}

/// Sends what the receiver agrees to, and hears what it has made of it.
fn send_agreed(
    args: &SendArgs,
    tree: Tree,
    sending: &Sending,
    names: &(String, String),
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let counts = tree.counts();
    let wishes = args.agreement.wishes(tree::single(args).is_some());
    let timeout = args.network.timeout;
    let stream = PeerStream::new(&sending.connection, timeout, &interrupt.cancel);
    let mut agreed = Agreed::new(tree, stream.clone(), wishes);
    let sent = send_tree(args, (&mut agreed, &counts), sending, names, interrupt);
    let mut receipt = match sent {
        Ok(receipt) => receipt,
        Err(error) => {
            let heard = agreement::refusal_in(error.heard());
            let refusal = heard.or_else(|| agreement::refusal(&stream));
            if let Some(why) = refusal.and_then(|answer| agreement::why_not(answer, wishes)) {
                return Err(not_agreed(names, &why));
            }
            let more = progress::already_there(counts.there());
            return Err(give_up(args, sending, &error, names, interrupt).and(&more));
        }
    };
    let (report, tree) = agreed.finish();
    receipt.already_there = counts.there().1;
    if let Some(pass) = tree.pass() {
        receipt.add_checksum(&pass);
    }
    let what = format!("{} -> {}", names.0, names.1);
    let report = match report {
        Ok(report) => report,
        Err(trouble) => {
            receipt.complete = false;
            receipt::failed(Some(&receipt), &args.common, ReceiptOutput::Standard);
            return Err(match trouble {
                Trouble::NotAgreed(why) => not_agreed(names, &why),
                Trouble::Malformed(error) => Failure::failed(format_args!("{what}: {error}")),
                Trouble::Io(error) => transfer::wait_failure(&what, &error, timeout, interrupt),
                Trouble::Unfinished => Failure::incomplete(format_args!(
                    "{what}: the receiver went away before it had kept all"
                )),
            });
        }
    };
    let lacks = report.mismatched + report.refused;
    receipt.complete = counts.problems() == 0 && lacks == 0;
    let done = if wishes.single {
        Done::Sent
    } else {
        Done::SentTree(counts.files())
    };
    deliver(args, sending, receipt, &done, interrupt)?;
    if report.mismatched > 0 {
        return Err(Failure::failed(format_args!(
            "{what}: {} files arrived with other content than was sent, and were not kept",
            report.mismatched
        )));
    }
    if report.refused > 0 {
        return Err(Failure::incomplete(format_args!(
            "{what}: the receiver did not take {} entries; it says why",
            report.refused
        )));
    }
    report_tree(args, Some(&counts), names)
}

/// A receiver that was asked to verify or resume gives up, and says so, when it is sent something
/// plain.
fn told_why(sending: &Sending, failure: Failure, interrupt: &Interrupt) -> Failure {
    let stream = PeerStream::new(&sending.connection, None, &interrupt.cancel);
    let heard = agreement::refusal_in(&sending.heard.borrow());
    match heard.or_else(|| agreement::refusal(&stream)) {
        Some(answer) => match agreement::why_not(answer, Wishes::default()) {
            Some(why) => failure.and(&format!("; {why}")),
            None => failure,
        },
        None => failure,
    }
}

fn not_agreed(names: &(String, String), why: &str) -> Failure {
    Failure::failed(format_args!(
        "{} -> {}: {why}; nothing was sent",
        names.0, names.1
    ))
}

fn send_tree(
    args: &SendArgs,
    (parts, counts): (impl Parts, &Counts),
    sending: &Sending,
    names: &(String, String),
    interrupt: &Interrupt,
) -> Result<Receipt, Error> {
    let mut bar = Bar::new(args.common.quiet, names);
    let promise = if args.stable {
        Promise::Stable
    } else {
        Promise::Shared
    };
    let sent = Sequence::new(parts, &sending.connection.peer)
        .names(&names.0, &names.1)
        .route(args.common.route)
        .promise(promise)
        .idle_timeout(args.network.timeout)
        .sink_layer(sending.connection.layer().cloned())
        .cancel(&interrupt.cancel)
        .progress(|progress| bar.show_counted(progress, || counts.phrase()))
        .run();
    bar.clear();
    sent
}

/// The connection, and how many bytes its peer had acknowledged at the start.
struct Sending {
    connection: PeerConnection,
    before: Option<u64>,
    /// What the peer has said unasked.
    heard: RefCell<Vec<u8>>,
}

impl Sending {
    fn new(connection: PeerConnection) -> Self {
        let before = acknowledged(&connection.peer).ok();
        Self {
            connection,
            before,
            heard: RefCell::default(),
        }
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
                let arrived = units::grouped(arrived);
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
    done: &Done,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let timeout = args.network.timeout;
    let heard = &mut *sending.heard.borrow_mut();
    let ended = sending
        .connection
        .end(receipt.bytes, heard, timeout, &interrupt.cancel);
    let Err(error) = ended else {
        return receipt::receipt(&receipt, done, &args.common, ReceiptOutput::Standard);
    };
    let layer_error = LayerError::of(&error);
    sending.connection.let_hear(layer_error, &interrupt.cancel);
    receipt.complete = false;
    receipt::failed(Some(&receipt), &args.common, ReceiptOutput::Standard);
    let what = format!(
        "{} -> {}: {} handed to the kernel{}",
        receipt.source.name,
        args.to.name(),
        units::count(receipt.bytes, "byte"),
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
