//! Transfers to and from a socket with TLS.

use std::fs::File;
use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;

use rustix::io::Errno;
use underpass::{Cancel, Error, LayerError, Receipt, Route, Step, Transfer};

use super::rig::{Link, Role, content, is_in_kernel};
use super::{
    Call, FATAL, Fault, Faults, Made, Moment, Rule, SPINNING, always, at_each_byte, at_each_call,
    passing, waits_and_then_fails,
};

const LARGE: usize = 200_000;
const SMALL: usize = 300;

/// What is sent or received, and how.
#[derive(Clone, Copy, Debug)]
struct Way {
    call: Call,
    role: Role,
    length: usize,
    route: Option<Route>,
}

struct Outcome {
    result: Result<Receipt, Error>,
    /// What has arrived.
    got: Vec<u8>,
    /// Whether the peer was told the end of what it received.
    said_end: bool,
    made: Made,
    struck: usize,
    in_kernel: bool,
}

fn ways(length: usize) -> Vec<Way> {
    let mut ways = Vec::new();
    for role in [Role::Server, Role::Client] {
        for (call, route) in [
            (Call::Send, None),
            (Call::Send, Some(Route::ReadWrite)),
            (Call::Receive, None),
        ] {
            ways.push(Way {
                call,
                role,
                length,
                route,
            });
        }
    }
    ways
}

fn run(way: Way, rules: &[Rule], cancel: Option<&Cancel>) -> Outcome {
    match way.call {
        Call::Send => send(way, rules, cancel),
        Call::Receive => receive(way, rules, cancel),
    }
}

/// Sends a file.
fn send(way: Way, rules: &[Rule], cancel: Option<&Cancel>) -> Outcome {
    let mut link = Link::new(way.role);
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(&content(way.length), 0).unwrap();
    let faults = Faults::on(&link.socket, rules);
    let transfer = Transfer::new(&file, &link.socket).sink_layer(link.layer());
    let result = steps(way, cancel, transfer, || link.peer.step());
    if result.is_ok() {
        // What the commands do after it: the end is said, if the socket takes it.
        for _ in 0..SPINNING {
            match link.session.close(link.socket.as_fd()) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                _ => break,
            }
        }
    }
    let (made, struck) = (faults.made(way.call), faults.struck());
    drop(faults);
    link.socket.shutdown(Shutdown::Write).unwrap();
    link.peer.finish();
    Outcome {
        result,
        said_end: link.peer.has_ended_well(),
        got: std::mem::take(&mut link.peer.got),
        made,
        struck,
        in_kernel: is_in_kernel(&link.session),
    }
}

/// Receives into a file.
fn receive(way: Way, rules: &[Rule], cancel: Option<&Cancel>) -> Outcome {
    let link = Link::new(way.role);
    let layer = link.layer();
    let mut peer = link.peer.sending(content(way.length));
    let file = tempfile::tempfile().unwrap();
    let faults = Faults::on(&link.socket, rules);
    let transfer = Transfer::new(&link.socket, &file).source_layer(layer);
    let result = steps(way, cancel, transfer, || peer.step());
    Outcome {
        result,
        got: whole(&file),
        said_end: false,
        made: faults.made(way.call),
        struck: faults.struck(),
        in_kernel: is_in_kernel(&link.session),
    }
}

fn steps<S: underpass::Input, D: std::os::fd::AsFd>(
    way: Way,
    cancel: Option<&Cancel>,
    transfer: Transfer<'_, S, D>,
    mut meanwhile: impl FnMut(),
) -> Result<Receipt, Error> {
    let transfer = transfer.route(way.route).budget(40_000);
    let transfer = match cancel {
        Some(cancel) => transfer.cancel(cancel),
        None => transfer,
    };
    let mut running = transfer.start()?;
    for _ in 0..SPINNING {
        if running.step()? == Step::Done {
            return Ok(running.receipt());
        }
        meanwhile();
    }
    panic!("it spins");
}

fn whole(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

impl Outcome {
    /// What must be true whatever happened: what is told is what arrived.
    #[track_caller]
    fn check(&self, way: Way, what: &dyn std::fmt::Debug) {
        let sent = content(way.length);
        let what = format!("{way:?}, {what:?}");
        assert!(sent.starts_with(&self.got), "{what}: other bytes");
        let receipt = match &self.result {
            Ok(receipt) => receipt,
            Err(error) => error.receipt().expect("a receipt"),
        };
        assert_eq!(receipt.bytes, self.got.len() as u64, "{what}: {receipt:?}");
        assert_eq!(receipt.complete, self.result.is_ok(), "{what}");
        if self.result.is_ok() {
            assert_eq!(self.got.len(), sent.len(), "{what}");
        } else {
            assert!(!self.said_end, "{what}: the peer was told the end");
        }
    }
}

#[test]
fn what_passes_by_itself_loses_nothing() {
    for way in ways(LARGE) {
        let dry = run(way, &[], None);
        dry.check(way, &"no fault");
        dry.result.unwrap();
        let mut rules = at_each_call(way.call, dry.made, &passing());
        rules.push(always(way.call, Fault::Cap(1500)));
        for rule in rules {
            let outcome = run(way, std::slice::from_ref(&rule), None);
            outcome.check(way, &rule);
            assert!(outcome.result.is_ok(), "{rule:?}: {:?}", outcome.result);
            assert!(outcome.struck > 0, "{way:?}, {rule:?}");
            assert!(
                outcome.said_end || way.call == Call::Receive,
                "{way:?}, {rule:?}: the peer was not told the end"
            );
        }
    }
}

#[test]
fn pitfall_15_an_error_at_any_call_is_told_with_the_bytes_that_arrived() {
    for way in ways(LARGE) {
        let dry = run(way, &[], None);
        for errno in FATAL {
            for rule in at_each_call(way.call, dry.made, &[Fault::Errno(errno)]) {
                let outcome = run(way, std::slice::from_ref(&rule), None);
                outcome.check(way, &rule);
                assert_eq!(outcome.struck, 1, "{way:?}, {rule:?}");
                match &outcome.result {
                    // It struck after the transfer, where the end is said.
                    Ok(_) => assert!(!outcome.said_end, "{way:?}, {rule:?}"),
                    Err(error) => {
                        let told = error.raw_os_error();
                        assert_eq!(told, Some(errno.raw_os_error()), "{way:?}: {error}");
                    }
                }
            }
        }
    }
}

#[test]
fn what_was_taken_and_not_sent_before_an_error_is_not_claimed() {
    for way in ways(LARGE) {
        let dry = run(way, &[], None);
        for rules in waits_and_then_fails(way.call, dry.made) {
            run(way, &rules, None).check(way, &rules);
        }
    }
}

#[test]
fn pitfall_44_a_stream_that_is_cut_behind_any_byte_is_never_complete() {
    for way in ways(SMALL) {
        let dry = run(way, &[], None);
        let mut rules = at_each_byte(way.call, dry.made, &Fault::Errno(Errno::CONNRESET));
        if way.call == Call::Receive {
            rules.extend(at_each_byte(way.call, dry.made, &Fault::End));
        }
        for rule in rules {
            let outcome = run(way, std::slice::from_ref(&rule), None);
            outcome.check(way, &rule);
            let Err(error) = &outcome.result else {
                // What was sent is complete; the end could not be said.
                assert!(way.call == Call::Send && !outcome.said_end || outcome.in_kernel);
                continue;
            };
            match rule.fault {
                Fault::End => assert_eq!(error.layer_error(), Some(LayerError::Cut), "{rule:?}"),
                _ => assert!(error.is_disconnected(), "{rule:?}: {error}"),
            }
        }
    }
}

#[test]
fn a_cancel_at_any_call_leaves_what_is_told_right() {
    for way in ways(LARGE) {
        let dry = run(way, &[], None);
        for nth in 1..=dry.made.calls {
            let cancel = Cancel::new().unwrap();
            let rule = Rule {
                call: way.call,
                moment: Moment::Call(nth),
                fault: Fault::Cancel(cancel.clone()),
            };
            let outcome = run(way, std::slice::from_ref(&rule), Some(&cancel));
            outcome.check(way, &rule);
            assert_eq!(outcome.struck, 1, "{way:?}, {rule:?}");
            if let Err(error) = &outcome.result {
                assert!(error.is_cancelled(), "{way:?}, {rule:?}: {error}");
            }
        }
    }
}
