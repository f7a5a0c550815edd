//! The fault matrix: every pair of endpoints × every route of its plan × every driver × each call
//! that is made × each way it can fail. Whatever happens, the receipt must match the bytes that
//! really arrived (pitfalls 4 to 6, 10, 15).
//!
//! It runs in child processes of the test binary, because it counts the process's descriptors
//! around every case.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;

use rustix::io::Errno;

use super::machine::Machine;
use super::{Sequence, Transfer};
use crate::layer::Layer;
use crate::receipt::Receipt;
use crate::route::{Route, pipe};
use crate::sys::faulty::{Call, Fault, Faulty, Made};
use crate::transfer::error::Error;

use check::check;
use driver::Driver;
use rig::{Rig, SinkKind, SourceKind, content};

mod check;
mod committed;
mod driver;
mod named;
mod rig;
mod sequences;
mod tls;

/// A small budget, so that a few hundred KiB take several calls.
const BUDGET: u64 = 40_000;

/// The environment variable that tells a child process its share of the pairs.
const SHARE: &str = "UNDERPASS_FAULT_MATRIX_SHARE";
const SHARES: usize = 2;

const PAIRS: &[(SourceKind, SinkKind)] = &[
    (SourceKind::Ext4, SinkKind::Unix),
    (SourceKind::Ext4, SinkKind::Tcp),
    (SourceKind::Ext4, SinkKind::Ext4),
    (SourceKind::Tmpfs, SinkKind::Tmpfs),
    (SourceKind::Tmpfs, SinkKind::Ext4),
    (SourceKind::Sparse, SinkKind::Ext4),
    (SourceKind::Sparse, SinkKind::Tmpfs),
    (SourceKind::Ext4, SinkKind::Pipe),
    (SourceKind::Pipe, SinkKind::Unix),
    (SourceKind::Pipe, SinkKind::Tcp),
    (SourceKind::Pipe, SinkKind::Ext4),
    (SourceKind::Pipe, SinkKind::Pipe),
    (SourceKind::Unix, SinkKind::Ext4),
    (SourceKind::Tcp, SinkKind::Ext4),
    (SourceKind::Unix, SinkKind::Unix),
    (SourceKind::Tcp, SinkKind::Tcp),
    (SourceKind::Unix, SinkKind::Pipe),
    (SourceKind::Tcp, SinkKind::Pipe),
    (SourceKind::UrgentTcp, SinkKind::Ext4),
    (SourceKind::UrgentTcp, SinkKind::Tcp),
    (SourceKind::UrgentTcp, SinkKind::Unix),
    (SourceKind::UrgentTcp, SinkKind::Pipe),
    (SourceKind::Memory, SinkKind::Tcp),
    (SourceKind::Memory, SinkKind::Pipe),
    (SourceKind::Ext4, SinkKind::TlsUser),
    (SourceKind::Ext4, SinkKind::TlsKernel),
    (SourceKind::Memory, SinkKind::TlsUser),
    (SourceKind::Memory, SinkKind::TlsKernel),
    (SourceKind::Pipe, SinkKind::TlsUser),
    (SourceKind::Tcp, SinkKind::TlsKernel),
    (SourceKind::TlsUser, SinkKind::Ext4),
    (SourceKind::TlsUser, SinkKind::Tcp),
    (SourceKind::TlsKernel, SinkKind::Ext4),
    (SourceKind::TlsKernel, SinkKind::Pipe),
    (SourceKind::TlsKernel, SinkKind::TlsKernel),
    (SourceKind::TlsKernel, SinkKind::TlsUser),
    (SourceKind::Parts, SinkKind::Unix),
    (SourceKind::Parts, SinkKind::Tcp),
    (SourceKind::Parts, SinkKind::Pipe),
    (SourceKind::Parts, SinkKind::Ext4),
    (SourceKind::Parts, SinkKind::Tmpfs),
    (SourceKind::Parts, SinkKind::TlsUser),
    (SourceKind::Parts, SinkKind::TlsKernel),
];

const ERRNOS: &[Errno] = &[
    Errno::INTR,
    Errno::AGAIN,
    Errno::INVAL,
    Errno::NOSYS,
    Errno::OPNOTSUPP,
    Errno::XDEV,
    Errno::PERM,
    Errno::BADF,
    Errno::IO,
    Errno::OVERFLOW,
    Errno::NOMEM,
    Errno::NOBUFS,
    Errno::NOSPC,
    Errno::PIPE,
    Errno::CONNRESET,
    Errno::DQUOT,
];

/// Faults that make a transfer wait, or go on at once where it might have waited. Every driver is
/// tested with them. A false EAGAIN is only for drivers that ask whether an end is ready now. The
/// others wait for the moment when it becomes ready.
const WAITING: &[Errno] = &[Errno::INTR, Errno::NOBUFS, Errno::AGAIN];

const PARTIAL: &[Fault] = &[Fault::Cap(1), Fault::Cap(4095), Fault::Half, Fault::Zero];

/// One transfer, and what is known about it beforehand.
#[derive(Clone, Debug)]
struct Case {
    source: SourceKind,
    sink: SinkKind,
    route: Option<Route>,
    driver: Driver,
    /// The faults; empty for the run that shows which calls are made.
    faults: Vec<Strike>,
}

/// A fault at the nth call of its name, or from that call on.
#[derive(Clone, Copy, Debug)]
struct Strike {
    call: Call,
    nth: usize,
    always: bool,
    fault: Fault,
}

/// The outcome of a case.
struct Outcome {
    result: Result<Receipt, Error>,
    /// The bytes that the sink got.
    sunk: Vec<u8>,
    /// The bytes that a stream source still had.
    rest: Vec<u8>,
    /// The position of a source file.
    position: Option<u64>,
    plan: Vec<Route>,
    log: Vec<Made>,
    struck: usize,
}

#[test]
fn pitfall_06_and_15_every_fault_keeps_the_account() {
    if let Ok(share) = std::env::var(SHARE) {
        let cases = run_share(share.parse().unwrap());
        println!("cases: {cases}");
        return;
    }
    let children: Vec<_> = (0..SHARES)
        .map(|share| {
            let mut command = Command::new(std::env::current_exe().unwrap());
            let name = "transfer::faults::pitfall_06_and_15_every_fault_keeps_the_account";
            command.args([name, "--exact", "--nocapture", "--test-threads=1"]);
            command.env(SHARE, share.to_string());
            std::thread::spawn(move || command.output().unwrap())
        })
        .collect();
    let mut cases = 0;
    for child in children {
        let output = child.join().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}\n{complaints}");
        let count = said.split("cases: ").nth(1).and_then(|s| s.lines().next());
        cases += count
            .and_then(|c| c.parse::<usize>().ok())
            .expect("a count");
    }
    println!("fault matrix: {cases} cases");
    assert!(cases > 1000, "only {cases} cases");
}

fn run_share(share: usize) -> usize {
    let mut cases = 0;
    let mut wrong = Vec::new();
    // The listener is opened once, before descriptors are counted.
    drop(rig::tcp());
    Driver::prepare_all();
    let mine = PAIRS.iter().skip(share).step_by(SHARES);
    for &(source, sink) in mine {
        let natural = try_case(&Case::plain(source, sink, None), &mut wrong);
        let forced = natural.plan.iter().copied().map(Some);
        for route in [None].into_iter().chain(forced) {
            let plain = Case::plain(source, sink, route);
            let dry = try_case(&plain, &mut wrong);
            let mut scripts = plain.single_faults(&dry.log, ERRNOS);
            scripts.extend(plain.storms(&dry));
            for &driver in &Driver::ALL[1..] {
                let plain = Case {
                    driver,
                    ..plain.clone()
                };
                let dry = try_case(&plain, &mut wrong);
                let errnos = &WAITING[..WAITING.len() - usize::from(!driver.asks())];
                scripts.extend(plain.single_faults(&dry.log, errnos));
            }
            for case in &scripts {
                try_case(case, &mut wrong);
            }
            cases += scripts.len();
        }
    }
    let shown = wrong.iter().take(12).cloned().collect::<Vec<_>>();
    let verdict = format!(
        "{} of {cases} are wrong:\n{}",
        wrong.len(),
        shown.join("\n")
    );
    assert!(wrong.is_empty(), "{verdict}");
    cases
}

fn try_case(case: &Case, wrong: &mut Vec<String>) -> Outcome {
    struct Shown<'a>(&'a Case);
    impl Drop for Shown<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("in the case {:?}", self.0);
            }
        }
    }
    let _shown = Shown(case);
    let before = open_descriptors();
    let outcome = case.run();
    let clean = pipe::empty_pool();
    let after = open_descriptors();
    let complaint = match check(case, &outcome) {
        Ok(()) if !clean => Some("a pipe that holds bytes was pooled".to_owned()),
        Ok(()) if before != after => Some(format!("{before} descriptors became {after}")),
        Ok(()) => None,
        Err(complaint) => Some(complaint),
    };
    if let Some(complaint) = complaint {
        let said = match &outcome.result {
            Ok(receipt) => format!("Ok({:?}, {:?})", receipt.routes, receipt.fallbacks),
            Err(error) => error.to_string(),
        };
        wrong.push(format!("{case:?}: {complaint}: {said}"));
    }
    outcome
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

impl Case {
    fn plain(source: SourceKind, sink: SinkKind, route: Option<Route>) -> Self {
        let faults = Vec::new();
        Self {
            source,
            sink,
            route,
            driver: Driver::Sync,
            faults,
        }
    }

    fn with(&self, faults: impl IntoIterator<Item = Strike>) -> Self {
        let mut case = self.clone();
        case.faults.extend(faults);
        case
    }

    /// One case for each call in `log` (the first four calls and the last one of each name) and
    /// each fault.
    fn single_faults(&self, log: &[Made], errnos: &[Errno]) -> Vec<Self> {
        let mut made = BTreeMap::<Call, usize>::new();
        for call in log {
            *made.entry(call.call).or_default() += 1;
        }
        let mut cases = Vec::new();
        for (call, count) in made {
            let mut moments = vec![1, 2, 3, 4, count];
            moments.retain(|&nth| nth <= count);
            moments.dedup();
            let partial = PARTIAL.iter().filter(|_| call.moves_bytes());
            let errnos = errnos.iter().map(|&errno| Fault::Errno(errno));
            for fault in errnos.chain(partial.copied()) {
                let at = |&nth: &usize| self.with([Strike::once(call, nth, fault)]);
                cases.extend(moments.iter().map(at));
            }
        }
        cases
    }

    /// Cases with several faults at once: a call refused for good, several refusals in a row, calls
    /// always cut short, and random scripts.
    fn storms(&self, dry: &Outcome) -> Vec<Self> {
        let refuse = |nth| {
            move |&route: &Route| {
                let fault = Fault::Errno(Errno::PERM);
                Some(Strike::always(call_of(route)?, nth, fault))
            }
        };
        let mut cases = Vec::new();
        for nth in 1..=4 {
            let refused = |routes: &[Route]| self.with(routes.iter().filter_map(refuse(nth)));
            cases.push(refused(&dry.plan));
            cases.extend(dry.plan.iter().map(|route| refused(&[*route])));
        }
        for short in [Fault::Cap(4095), Fault::Half] {
            let calls = ALL_MOVING.iter();
            cases.push(self.with(calls.map(|&call| Strike::always(call, 1, short))));
        }
        let mut random = rig::Random::new(0x5eed);
        for _ in 0..60 {
            let drawn: Vec<_> = (0..4).map(|_| Strike::drawn(&mut random)).collect();
            cases.push(self.with(drawn));
        }
        cases
    }

    fn run(&self) -> Outcome {
        let rig = Rig::new(self.source, self.sink);
        let [from, to] = rig.layers();
        let (result, spent, plan) = if self.source == SourceKind::Parts {
            self.drive_sequence(&rig, to)
        } else if let Some(source) = rig.source() {
            let transfer = Transfer::new(source, rig.sink()).source_layer(from);
            self.drive(transfer.sink_layer(to))
        } else {
            let transfer = Transfer::from_memory(content(self.source), rig.sink());
            self.drive(transfer.sink_layer(to))
        };
        rig.end(result, &spent, plan)
    }

    fn drive_sequence(
        &self,
        rig: &Rig,
        layer: Option<Arc<dyn Layer>>,
    ) -> (Result<Receipt, Error>, rig::Spent, Vec<Route>) {
        // The plan of its largest part.
        let large = rig::dense(rig::tmpfs());
        let large = Transfer::new(large, rig.sink()).sink_layer(layer.clone());
        let large = large.start_with(Faulty::default()).unwrap();
        let plan = large.plan().routes.iter().map(|choice| choice.route);
        let plan = plan.filter(|route| self.route.is_none_or(|forced| forced == *route));
        let plan = plan.collect();
        drop(large);
        let mut work = Sequence::new(rig::parts().into_iter(), rig.sink())
            .budget(BUDGET)
            .route(self.route)
            .idle_timeout(driver::HANGS)
            .sink_layer(layer)
            .start_with(self.script())
            .unwrap();
        let driven = self.driver.drive(&mut work);
        let result = driven.map(|()| work.receipt());
        let spent = rig::Spent {
            log: work.sys().log(),
            struck: work.sys().struck(),
        };
        (result, spent, plan)
    }

    fn script(&self) -> Faulty {
        self.faults.iter().fold(Faulty::default(), |sys, strike| {
            if strike.always {
                sys.from(strike.call, strike.nth, strike.fault)
            } else {
                sys.at(strike.call, strike.nth, strike.fault)
            }
        })
    }

    fn drive<S: super::Input, D: rustix::fd::AsFd>(
        &self,
        transfer: Transfer<'_, S, D>,
    ) -> (Result<Receipt, Error>, rig::Spent, Vec<Route>) {
        let transfer = transfer
            .budget(BUDGET)
            .route(self.route)
            .idle_timeout(driver::HANGS);
        let sys = self.script();
        let mut machine: Machine<'_, S, D, Faulty> = transfer.start_with(sys).unwrap();
        let driven = self.driver.drive(&mut machine);
        let result = driven.map(|()| machine.receipt(true));
        let plan = machine.plan().routes.iter().map(|c| c.route).collect();
        let spent = rig::Spent {
            log: machine.sys().log(),
            struck: machine.sys().struck(),
        };
        (result, spent, plan)
    }
}

const ALL_MOVING: [Call; 11] = [
    Call::Sendfile,
    Call::Splice,
    Call::CopyFileRange,
    Call::Read,
    Call::Pread,
    Call::Write,
    Call::Pwrite,
    Call::WriteNowait,
    Call::SendZerocopy,
    Call::LayerSend,
    Call::LayerReceive,
];

impl Strike {
    const fn once(call: Call, nth: usize, fault: Fault) -> Self {
        let always = false;
        Self {
            call,
            nth,
            always,
            fault,
        }
    }

    const fn always(call: Call, nth: usize, fault: Fault) -> Self {
        let always = true;
        Self {
            call,
            nth,
            always,
            fault,
        }
    }

    fn drawn(random: &mut rig::Random) -> Self {
        let call = ALL_MOVING[random.below(ALL_MOVING.len())];
        let which = random.below(ERRNOS.len() + PARTIAL.len());
        let errno = ERRNOS.get(which).map(|&errno| Fault::Errno(errno));
        let fault = errno.unwrap_or_else(|| PARTIAL[which - ERRNOS.len()]);
        Self::once(call, 1 + random.below(6), fault)
    }
}

/// The system call by which a route moves bytes inside the kernel.
fn call_of(route: Route) -> Option<Call> {
    match route {
        Route::Reflink => Some(Call::CloneRange),
        Route::CopyFileRange => Some(Call::CopyFileRange),
        Route::Sendfile => Some(Call::Sendfile),
        Route::Splice => Some(Call::Splice),
        Route::SendZerocopy => Some(Call::SendZerocopy),
        Route::Seal | Route::ReadWrite => None,
    }
}
