//! Counts in the kernel, with BPF programs (kernel document bpf/) that this process writes itself:
//! one at the return of system calls, a few that follow the life of processes, and one for each
//! function that copies.
//!
//! All of it hangs on descriptors. When they are closed, also because the process was killed, the
//! kernel removes it.

use std::collections::{BTreeMap, HashSet};
use std::ffi::CStr;
use std::io;
use std::os::fd::OwnedFd;

use crate::btf::{Btf, KernelFunction};
use crate::sys::bpf::{self, Program};
use crate::top::CopyHop;

mod assembler;
mod calls;
mod copies;
mod ends;
mod frame;
mod functions;
mod layout;
mod life;
mod maps;
mod numbers;
mod table;
mod uring;

use copies::PreemptCount;
use frame::Writer;
use functions::Term;
use layout::Layout;
use maps::Maps;
use numbers::Numbers;

pub(super) use maps::{Identity, Process};

/// A program, and what it is attached by.
type Attached = (Program, OwnedFd);

/// The counts, as they run.
#[derive(Debug)]
pub(super) struct Bpf {
    maps: Maps,
    layout: Layout,
    numbers: Option<Numbers>,
    programs: Vec<Attached>,
    /// Has the kernel measure how long the programs run.
    statistics: Option<OwnedFd>,
    /// The hops that are counted, and in which functions.
    pub(super) counted: BTreeMap<CopyHop, String>,
    /// Whether page faults in user mode are counted.
    pub(super) counts_faults: bool,
    /// What is not counted, and why.
    pub(super) notes: Vec<String>,
}

/// What was counted since the start.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) processes: Vec<Process>,
    /// Whose calls, which (see [`decode`](super::decode)), and how many; bytes; of unknown bytes.
    pub(super) calls: Vec<(Identity, u32, Vec<u64>)>,
    /// Whose copies, at which hop, and how many bytes.
    pub(super) copies: Vec<(Identity, u32, Vec<u64>)>,
    pub(super) lost: u64,
    /// Nanoseconds of all programs; `None` if the kernel does not tell.
    pub(super) nanoseconds: Option<u64>,
}

impl Bpf {
    /// Starts to count. Processes are told by their numbers in the PID namespace with this inode
    /// number, or by those of the machine.
    ///
    /// # Errors
    ///
    /// The kernel does not allow it, or does not describe itself.
    pub(super) fn start(namespace: Option<u32>) -> io::Result<Self> {
        if !cfg!(target_arch = "x86_64") {
            let why = "calls are only known on x86-64";
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        let btf = Btf::of_this_kernel()?;
        let mut bpf = Self {
            maps: Maps::new()?,
            layout: Layout::of(&btf)?,
            numbers: namespace
                .map(|inode| Numbers::find(&btf, inode))
                .transpose()?,
            programs: Vec::new(),
            statistics: bpf::statistics().ok(),
            counted: BTreeMap::new(),
            counts_faults: false,
            notes: Vec::new(),
        };
        bpf.watch(c"sched_process_exit", life::exit)?;
        bpf.watch(c"sched_process_exec", life::exec)?;
        bpf.watch(c"sched_process_fork", life::fork)?;
        bpf.counts_faults = bpf.may_watch(
            c"page_fault_user",
            life::fault,
            "page faults in user mode are not counted",
        );
        bpf.may_watch(
            c"mm_filemap_map_pages",
            life::mapped,
            "pages of mapped files are not counted",
        );
        match uring::Places::find(&btf) {
            Ok(places) => {
                bpf.may_watch(
                    c"io_uring_complete",
                    |writer| uring::program(writer, places),
                    uring::NOT_COUNTED,
                );
            }
            Err(error) => bpf.notes.push(format!("{}: {error}", uring::NOT_COUNTED)),
        }
        bpf.count_copies(&btf);
        bpf.count_calls(&btf)?;
        Ok(bpf)
    }

    /// Counts calls as they return: with structures whose types the kernel knows, or by a slower
    /// program where it has no such (before Linux 5.11).
    fn count_calls(&mut self, btf: &Btf) -> io::Result<()> {
        let mut writer = self.writer();
        writer.is_typed = true;
        let code = calls::program(writer);
        let attached = btf.tracepoint("sys_exit").and_then(|number| {
            let at = (bpf::TRACEPOINT, number);
            let program = Program::load(bpf::TRACING, &code, Some(at)).ok()?;
            let link = program.attach(None).ok()?;
            Some((program, link))
        });
        match attached {
            Some(attached) => self.programs.push(attached),
            None => self.watch(c"sys_exit", calls::program)?,
        }
        Ok(())
    }

    fn writer(&self) -> Writer<'_> {
        Writer::new(&self.layout, &self.maps, self.numbers.as_ref())
    }

    fn watch(
        &mut self,
        tracepoint: &CStr,
        write: impl FnOnce(Writer<'_>) -> Vec<u64>,
    ) -> io::Result<()> {
        let code = write(self.writer());
        let named = |error: io::Error| {
            let name = tracepoint.to_string_lossy();
            io::Error::new(error.kind(), format!("{name}: {error}"))
        };
        let program = Program::load(bpf::RAW_TRACEPOINT, &code, None).map_err(named)?;
        let link = program.attach(Some(tracepoint)).map_err(named)?;
        self.programs.push((program, link));
        Ok(())
    }

    fn may_watch(
        &mut self,
        tracepoint: &CStr,
        write: impl FnOnce(Writer<'_>) -> Vec<u64>,
        otherwise: &str,
    ) -> bool {
        let watched = self.watch(tracepoint, write);
        if let Err(error) = &watched {
            self.notes.push(format!("{otherwise}: {error}"));
        }
        watched.is_ok()
    }

    /// Counts copies at all hops where that is possible.
    fn count_copies(&mut self, btf: &Btf) {
        let preempt_count = PreemptCount::find(btf);
        let mut refused = Vec::new();
        for hop in functions::HOPS {
            match self.count_hop(hop, btf, preempt_count) {
                Ok((programs, at)) => {
                    self.programs.extend(programs);
                    self.counted.insert(hop, at);
                }
                Err(error) => refused.push((hop, error)),
            }
        }
        let Some((_, first)) = refused.first() else {
            return;
        };
        if self.counted.is_empty() {
            self.notes.push(format!(
                "copies are expected from what is documented of the calls: no function of this kernel can be watched ({first})"
            ));
            return;
        }
        let lines = refused
            .iter()
            .map(|(hop, error)| format!("copies {hop} are expected, not counted: {error}"));
        self.notes.extend(lines);
    }

    fn count_hop(
        &self,
        hop: CopyHop,
        btf: &Btf,
        preempt_count: Option<PreemptCount>,
    ) -> io::Result<(Vec<Attached>, String)> {
        let preempt_count = match hop {
            CopyHop::KernelToSocket => Some(preempt_count.ok_or_else(|| {
                io::Error::other("the kernel does not tell when it handles interrupts")
            })?),
            _ => None,
        };
        let mut programs = Vec::new();
        let mut at = String::new();
        let terms = functions::resolve(hop, |name| btf.function(name)).map_err(io::Error::other)?;
        for (term, function) in terms {
            let attached = self.count_term(&term, function, btf, preempt_count);
            programs.push(attached.map_err(|error| {
                let why = format!("{}: {error}", term.symbol);
                io::Error::new(error.kind(), why)
            })?);
            if !at.is_empty() {
                at.push_str(if term.adds { " + " } else { " - " });
            }
            at.push_str(term.symbol);
        }
        Ok((programs, at))
    }

    fn count_term(
        &self,
        term: &Term,
        function: KernelFunction,
        btf: &Btf,
        preempt_count: Option<PreemptCount>,
    ) -> io::Result<Attached> {
        let code = copies::program(self.writer(), term, function, btf, preempt_count)?;
        let at = (term.place(), function.number);
        let program = Program::load(bpf::TRACING, &code, Some(at))?;
        let link = program.attach(None)?;
        Ok((program, link))
    }

    /// What was counted since the start. Processes that ended are told once, with all their counts.
    pub(super) fn counts(&self) -> io::Result<Counts> {
        // Those that run are listed first: one that ends in between is in both lists then, and in
        // neither if it were the other way round. Nothing is added to its counts any more.
        let mut processes = self.maps.running()?;
        let ended = self.maps.ended()?;
        let has_ended: HashSet<_> = ended.iter().map(|process| process.identity).collect();
        processes.retain(|process| !has_ended.contains(&process.identity));
        processes.extend(ended);
        let listed: HashSet<_> = processes.iter().map(|process| process.identity).collect();
        let of_listed = |map| {
            let mut all = Maps::counts(map)?;
            all.retain(|(who, _, _)| listed.contains(who) || *who == Identity::NOBODY);
            Ok::<_, io::Error>(all)
        };
        let (calls, copies) = (of_listed(&self.maps.calls)?, of_listed(&self.maps.copies)?);
        let ran: io::Result<Vec<_>> = self.programs.iter().map(|(p, _)| p.ran()).collect();
        let ran = ran?;
        let missed: u64 = ran.iter().map(|ran| ran.missed).sum();
        let counts = Counts {
            processes,
            calls,
            copies,
            lost: self.maps.lost()? + missed,
            nanoseconds: self
                .statistics
                .as_ref()
                .map(|_| ran.iter().map(|ran| ran.nanoseconds).sum()),
        };
        self.forget_ended(&counts)?;
        Ok(counts)
    }

    fn forget_ended(&self, counts: &Counts) -> io::Result<()> {
        let ended = counts.processes.iter().filter(|p| p.ended_after.is_some());
        let ended: HashSet<_> = ended.map(|process| process.identity).collect();
        for (map, all) in [
            (&self.maps.calls, &counts.calls),
            (&self.maps.copies, &counts.copies),
        ] {
            for (process, what, _) in all.iter().filter(|(who, _, _)| ended.contains(who)) {
                Maps::forget_count(map, *process, *what)?;
            }
        }
        ended
            .into_iter()
            .try_for_each(|process| self.maps.forget(process))
    }
}
