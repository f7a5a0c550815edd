//! Faults in place of calls on chosen sockets: calls that fail, stop short, or see the end of the
//! stream, at the nth call or behind the nth byte.
//!
//! Transfers, relays and fan-outs of the engine run over real sessions here. Whatever happens, what
//! they tell must be what the peer got, and a stream that was cut must never look complete
//! (pitfalls 10, 12, 15 and 44). All of it runs on the test's thread, so that each run is the same.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, RawFd};

use rustix::io::Errno;
use underpass::Cancel;

use crate::socket_calls::Call;

mod fan_outs;
mod handshakes;
mod relays;
mod rig;
mod transfers;

/// More calls than any test needs. What makes more is in an endless loop.
const SPINNING: usize = 100_000;

/// What happens in place of a call.
#[derive(Clone, Debug)]
enum Fault {
    /// It fails; the real call is not made.
    Errno(Errno),
    /// It is made for at most so many bytes.
    Cap(usize),
    /// It sees the end of the stream.
    End,
    /// It is made, and somebody cancels meanwhile.
    Cancel(Cancel),
}

/// When it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// At the nth call, counted from 1.
    Call(usize),
    /// At every call.
    Always,
    /// When so many bytes have passed, and at every call after that.
    Bytes(u64),
}

#[derive(Clone, Debug)]
struct Rule {
    call: Call,
    moment: Moment,
    fault: Fault,
}

/// The calls on some sockets, and what is to happen to them.
#[derive(Debug, Default)]
struct Script {
    sockets: Vec<RawFd>,
    rules: Vec<Rule>,
    made: BTreeMap<Call, Made>,
    struck: usize,
}

/// How often a call was made, and for how many bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Made {
    calls: usize,
    bytes: u64,
}

thread_local! {
    static SCRIPT: RefCell<Script> = RefCell::default();
}

/// Makes a call of `len` bytes, or what the script of this thread has in its place.
pub(crate) fn moving(
    call: Call,
    socket: BorrowedFd<'_>,
    len: usize,
    real: impl FnOnce(usize) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    let socket = socket.as_raw_fd();
    let len = match SCRIPT.with_borrow_mut(|script| script.fault(call, socket, len)) {
        Some(Fault::Errno(errno)) => return Err(errno),
        Some(Fault::End) => return Ok(0),
        Some(Fault::Cap(cap)) => cap.min(len),
        Some(Fault::Cancel(cancel)) => {
            cancel.cancel();
            len
        }
        None => len,
    };
    let moved = real(len);
    SCRIPT.with_borrow_mut(|script| {
        if script.sockets.contains(&socket) {
            script.made.entry(call).or_default().bytes += moved.unwrap_or(0) as u64;
        }
    });
    moved
}

impl Script {
    fn fault(&mut self, call: Call, socket: RawFd, len: usize) -> Option<Fault> {
        if !self.sockets.contains(&socket) {
            return None;
        }
        let made = self.made.entry(call).or_default();
        made.calls += 1;
        let made = *made;
        assert!(made.calls < SPINNING, "it spins: {self:?}");
        let found = self.rules.iter().filter(|rule| rule.call == call);
        let fault = found.into_iter().find_map(|rule| match rule.moment {
            Moment::Call(nth) => (nth == made.calls).then(|| rule.fault.clone()),
            Moment::Always => Some(rule.fault.clone()),
            Moment::Bytes(until) if made.bytes >= until => Some(rule.fault.clone()),
            Moment::Bytes(until) if made.bytes + len as u64 > until => {
                Some(Fault::Cap((until - made.bytes) as usize))
            }
            Moment::Bytes(_) => None,
        });
        self.struck += usize::from(fault.is_some());
        fault
    }
}

/// Faults on one socket, from its creation to its drop.
struct Faults;

#[allow(
    clippy::unused_self,
    reason = "the script is read only while this is alive"
)]
impl Faults {
    fn on(socket: impl AsFd, rules: &[Rule]) -> Self {
        SCRIPT.set(Script {
            sockets: vec![socket.as_fd().as_raw_fd()],
            rules: rules.to_vec(),
            ..Script::default()
        });
        Self
    }

    /// How often `call` was made, and for how many bytes.
    fn made(&self, call: Call) -> Made {
        SCRIPT.with_borrow(|script| script.made.get(&call).copied().unwrap_or_default())
    }

    /// How many faults happened.
    fn struck(&self) -> usize {
        SCRIPT.with_borrow(|script| script.struck)
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        SCRIPT.take();
    }
}

/// After these, everything arrives all the same.
fn passing() -> [Fault; 4] {
    [
        Fault::Errno(Errno::INTR),
        Fault::Errno(Errno::AGAIN),
        Fault::Cap(1),
        Fault::Cap(777),
    ]
}

/// Each ends the connection.
const FATAL: [Errno; 5] = [
    Errno::CONNRESET,
    Errno::PIPE,
    Errno::TIMEDOUT,
    Errno::NOMEM,
    Errno::IO,
];

/// Each call that was made without faults, with each of `faults`.
fn at_each_call(call: Call, made: Made, faults: &[Fault]) -> Vec<Rule> {
    let rules = (1..=made.calls).flat_map(|nth| {
        faults.iter().map(move |fault| Rule {
            call,
            moment: Moment::Call(nth),
            fault: fault.clone(),
        })
    });
    rules.collect()
}

/// Each byte that passed without faults, as the last before the fault.
fn at_each_byte(call: Call, made: Made, fault: &Fault) -> Vec<Rule> {
    let rules = (0..made.bytes).map(|passed| Rule {
        call,
        moment: Moment::Bytes(passed),
        fault: fault.clone(),
    });
    rules.collect()
}

/// Each call stops short and then has to wait, and the one after that fails.
fn waits_and_then_fails(call: Call, made: Made) -> Vec<[Rule; 3]> {
    let at = |nth, fault| Rule {
        call,
        moment: Moment::Call(nth),
        fault,
    };
    let rules = (1..=made.calls).map(|nth| {
        [
            at(nth, Fault::Cap(20_000)),
            at(nth + 1, Fault::Errno(Errno::AGAIN)),
            at(nth + 2, Fault::Errno(Errno::CONNRESET)),
        ]
    });
    rules.collect()
}

/// A rule that holds for every call.
fn always(call: Call, fault: Fault) -> Rule {
    Rule {
        call,
        moment: Moment::Always,
        fault,
    }
}
