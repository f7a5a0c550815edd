//! What must be true after a case, whichever faults happened.

use rustix::io::Errno;

use super::rig::{SinkKind, SourceKind, content};
use super::{Call, Case, Fault, Outcome, Strike};
use crate::errno;
use crate::receipt::Receipt;
use crate::route::Route;

type Complaint = Result<(), String>;

macro_rules! ensure {
    ($holds:expr, $($words:tt)+) => {
        if !$holds {
            return Err(format!($($words)+));
        }
    };
}

pub(super) fn check(case: &Case, outcome: &Outcome) -> Complaint {
    let receipt = match &outcome.result {
        Ok(receipt) => receipt,
        Err(error) => {
            ensure!(!error.is_timed_out(), "it hangs");
            error.receipt().ok_or("no receipt")?
        }
    };
    bytes(case, outcome, receipt)?;
    source(case, outcome, receipt)?;
    fallbacks(case, receipt)?;
    match case.faults.as_slice() {
        [] => unharmed(outcome),
        [_] if outcome.struck == 0 => unharmed(outcome),
        [strike] => as_expected(case, outcome, strike),
        _ => Ok(()),
    }
}

/// The receipt's bytes are those that the sink got.
fn bytes(case: &Case, outcome: &Outcome, receipt: &Receipt) -> Complaint {
    let (sunk, sent) = (outcome.sunk.len(), content(case.source));
    let told = receipt.bytes;
    ensure!(
        told == sunk as u64,
        "told {told} bytes, the sink has {sunk}"
    );
    ensure!(
        sent.starts_with(&outcome.sunk),
        "the sink holds other bytes"
    );
    let routed: u64 = receipt.routes.iter().map(|used| used.bytes).sum();
    ensure!(
        routed + receipt.hole_bytes == told,
        "routes moved {routed} and holes {}, of {told}",
        receipt.hole_bytes
    );
    let calls: u64 = receipt.routes.iter().map(|used| used.syscalls).sum();
    ensure!(
        calls <= receipt.syscalls,
        "more calls by routes than in all"
    );
    ensure!(
        receipt.complete == outcome.result.is_ok(),
        "complete is {}",
        receipt.complete
    );
    let cut = case.faults.iter().any(|s| s.fault == Fault::Zero) && case.source.is_stream();
    if outcome.result.is_ok() && !cut {
        ensure!(sunk == sent.len(), "Ok with {sunk} of {}", sent.len());
    }
    Ok(())
}

/// Every byte that was taken from the source is accounted for.
fn source(case: &Case, outcome: &Outcome, receipt: &Receipt) -> Complaint {
    if case.source.is_stream() {
        let left = content(case.source).len() - outcome.rest.len();
        ensure!(
            receipt.bytes + receipt.undelivered == left as u64,
            "{left} bytes were taken, {} delivered, {} undelivered",
            receipt.bytes,
            receipt.undelivered
        );
        ensure!(
            content(case.source).ends_with(&outcome.rest),
            "the rest is not the rest"
        );
        ensure!(
            outcome.result.is_err() || receipt.undelivered == 0,
            "Ok with bytes undelivered"
        );
    } else {
        let lost = receipt.undelivered;
        ensure!(lost == 0, "{lost} undelivered of what can be read again");
    }
    // A seek that is made to fail may be the one for the position, too.
    let seeks = case.faults.iter().any(|s| s.call == Call::Seek);
    if let Some(position) = outcome.position
        && !seeks
    {
        let told = receipt.bytes;
        ensure!(position == told, "the position is {position}, not {told}");
    }
    Ok(())
}

/// Each fallback leads to the plan's next route, from the byte where the route before it stopped.
fn fallbacks(case: &Case, receipt: &Receipt) -> Complaint {
    ensure!(
        case.route.is_none() || receipt.fallbacks.is_empty(),
        "a forced route was left"
    );
    for left in &receipt.fallbacks {
        let (from, to) = (left.from, left.to);
        ensure!(from < to, "back from {from} to {to}");
        // Each part of a sequence begins with the first route of its plan.
        if case.source == SourceKind::Parts {
            continue;
        }
        let until = receipt
            .routes
            .iter()
            .take_while(|used| used.route <= left.from);
        let moved: u64 = until.map(|used| used.bytes).sum();
        // The bytes behind an urgent mark are read, whatever the route.
        let read: u64 = match case.source {
            SourceKind::UrgentTcp => receipt.routes.iter().map(|used| used.bytes).sum(),
            _ => 0,
        };
        ensure!(
            left.at >= moved && left.at <= moved + receipt.hole_bytes + read,
            "left {} at {}, but it and those before moved {moved}",
            left.from,
            left.at
        );
    }
    Ok(())
}

fn unharmed(outcome: &Outcome) -> Complaint {
    let receipt = outcome.result.as_ref().map_err(ToString::to_string)?;
    let refused = receipt.fallbacks.iter().find(|left| left.errno.is_some());
    ensure!(refused.is_none(), "left a route for no reason: {refused:?}");
    Ok(())
}

/// Checks the one right reaction to a single fault, if there is only one.
fn as_expected(case: &Case, outcome: &Outcome, strike: &Strike) -> Complaint {
    match strike.fault {
        Fault::Cap(_) | Fault::Half | Fault::Errno(Errno::INTR) => unharmed(outcome),
        Fault::Errno(Errno::AGAIN) if strike.call.moves_bytes() => {
            if strike.call == Call::CopyFileRange {
                refused(case, outcome, strike.call, Errno::AGAIN)
            } else {
                unharmed(outcome)
            }
        }
        Fault::Errno(errno @ (Errno::NOSPC | Errno::PIPE | Errno::CONNRESET | Errno::DQUOT))
            if strike.call.moves_bytes() =>
        {
            // Nobody reads the pipe, but nothing is left to be written.
            let is_harmless =
                (errno, strike.call, case.sink) == (Errno::PIPE, Call::Splice, SinkKind::Pipe);
            let has_all = outcome.sunk == content(case.source);
            if is_harmless && has_all && outcome.result.is_ok() {
                return Ok(());
            }
            fails_with(outcome, errno)
        }
        Fault::Errno(errno) => refused(case, outcome, strike.call, errno),
        Fault::Zero => zero(case, outcome, strike.call),
    }
}

/// A refused route is left for the next one. The last route, or a forced one, fails with the
/// kernel's reason.
fn refused(case: &Case, outcome: &Outcome, call: Call, errno: Errno) -> Complaint {
    let nowait = [Errno::OPNOTSUPP, Errno::NOSYS, Errno::INVAL];
    match call {
        Call::WriteNowait if nowait.contains(&errno) => unharmed(outcome),
        Call::Read | Call::Pread | Call::Write | Call::Pwrite | Call::WriteNowait => {
            fails_with(outcome, errno)
        }
        // Whatever the layer says is the end of it.
        Call::LayerSend | Call::LayerReceive => fails_with(outcome, errno),
        // So does a control record; the layer is asked, and knows of none or of the end.
        Call::Splice
            if case.source == SourceKind::TlsKernel
                && matches!(errno, Errno::INVAL | Errno::IO)
                && outcome.result.is_ok() =>
        {
            Ok(())
        }
        Call::SetPipeSize => unharmed(outcome),
        // Reports free the limit, or less is sent at a time. Only if even a small send is too large
        // is the route refused for good.
        Call::SendZerocopy if errno == Errno::NOBUFS => match outcome.result {
            Ok(_) => Ok(()),
            Err(_) => fails_with(outcome, errno),
        },
        _ if !call.moves_bytes() => Ok(()),
        _ if case.route.is_some() => fails_with(outcome, errno),
        _ => {
            let receipt = outcome.result.as_ref().map_err(ToString::to_string)?;
            let named = errno::name(errno);
            let listed = receipt.fallbacks.iter().any(|left| {
                super::call_of(left.from) == Some(call) && left.errno.as_ref() == Some(&named)
            });
            ensure!(listed, "no fallback for {named}");
            let next = outcome
                .plan
                .iter()
                .position(|&r| super::call_of(r) == Some(call));
            let next = next.and_then(|at| outcome.plan.get(at + 1));
            let to = receipt.fallbacks.iter().any(|left| Some(&left.to) == next);
            ensure!(to, "not to the plan's next route");
            Ok(())
        }
    }
}

fn fails_with(outcome: &Outcome, errno: Errno) -> Complaint {
    let Err(error) = &outcome.result else {
        return Err(format!("Ok in spite of {errno:?}"));
    };
    let told = error.raw_os_error();
    ensure!(told == Some(errno.raw_os_error()), "says {told:?}");
    Ok(())
}

/// A 0 from a file that has more bytes is not its end (pitfall 4).
fn zero(case: &Case, outcome: &Outcome, call: Call) -> Complaint {
    let by_route = Route::ALL
        .into_iter()
        .any(|route| super::call_of(route) == Some(call));
    let has_file = case.source.is_file() || case.source == SourceKind::Parts;
    if has_file && by_route && case.route.is_none() {
        let receipt = outcome.result.as_ref().map_err(ToString::to_string)?;
        ensure!(!receipt.fallbacks.is_empty(), "no fallback for a 0");
    }
    Ok(())
}
