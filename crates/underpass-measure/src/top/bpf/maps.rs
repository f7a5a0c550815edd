//! The maps in which the programs count, and what is in them.

use std::io;

use super::table;
use crate::sys::bpf::{ARRAY, HASH, Map};

/// How many processes may be counted at once.
const PROCESSES: u32 = 32 << 10;
/// How many different counts there may be, of all processes together.
const COUNTS: u32 = 64 << 10;

/// A key of a count: the process's start and number, and what is counted.
const KEY: usize = 16;
/// Calls, bytes, and calls of unknown bytes.
pub(super) const CALL: usize = 24;
/// Copied bytes.
pub(super) const COPY: usize = 8;

/// What is known about a process: the offsets in a value of the map.
pub(super) mod process {
    pub(in crate::top::bpf) const START: i16 = 0;
    pub(in crate::top::bpf) const CALLS: i16 = 8;
    pub(in crate::top::bpf) const FAULTS: i16 = 16;
    pub(in crate::top::bpf) const PID: i16 = 24;
    pub(in crate::top::bpf) const PARENT: i16 = 28;
    pub(in crate::top::bpf) const NAME: i16 = 32;
    pub(in crate::top::bpf) const FLAGS: i16 = 48;
    pub(in crate::top::bpf) const SHOWN: i16 = 52;
    pub(in crate::top::bpf) const RUNTIME: i16 = 56;
    pub(in crate::top::bpf) const BYTES: usize = 64;
}

/// The maps.
#[derive(Debug)]
pub(super) struct Maps {
    pub(super) processes: Map,
    /// Processes that ended, by their start and number.
    pub(super) ended: Map,
    pub(super) calls: Map,
    pub(super) copies: Map,
    pub(super) lost: Map,
    /// What each system call is, by its number.
    pub(super) table: Map,
}

/// A process that is not mixed up with a later one of the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Identity {
    /// When it started, in nanoseconds since the machine did.
    pub(crate) start: u64,
    pub(crate) pid: u32,
}

impl Identity {
    /// Copies while an interrupt is handled have no process.
    pub(crate) const NOBODY: Self = Self { start: 0, pid: 0 };
}

/// A process that made a system call or a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) identity: Identity,
    /// Its number in /proc; `None` if /proc does not show it.
    pub(crate) shown: Option<u32>,
    /// The number of its parent in /proc, or 0.
    pub(crate) parent: u32,
    pub(crate) name: String,
    pub(crate) is_kernel_thread: bool,
    pub(crate) system_calls: u64,
    pub(crate) page_faults: u64,
    /// If it ended: the CPU time of its whole life, in nanoseconds.
    pub(crate) ended_after: Option<u64>,
}

/// A flag of `struct task_struct`: `PF_KTHREAD`.
const KERNEL_THREAD: u32 = 0x0020_0000;

impl Maps {
    pub(super) fn new() -> io::Result<Self> {
        let counts = |value| Map::new(HASH, KEY, value, COUNTS);
        let maps = Self {
            processes: Map::new(HASH, 4, process::BYTES, PROCESSES)?,
            ended: Map::new(HASH, 16, process::BYTES, PROCESSES)?,
            calls: counts(CALL)?,
            copies: counts(COPY)?,
            lost: Map::new(ARRAY, 4, 8, 1)?,
            table: Map::new(ARRAY, 4, 8, table::NUMBERS)?,
        };
        for (number, call) in table::calls() {
            maps.table.set(&number.to_ne_bytes(), &call.encoded())?;
        }
        Ok(maps)
    }

    /// The processes that ended since they were last [forgotten](Self::forget).
    pub(super) fn ended(&self) -> io::Result<Vec<Process>> {
        let all = self.ended.all()?;
        Ok(all.iter().map(|(_, value)| parse(value, true)).collect())
    }

    pub(super) fn running(&self) -> io::Result<Vec<Process>> {
        let all = self.processes.all()?;
        Ok(all.iter().map(|(_, value)| parse(value, false)).collect())
    }

    /// The counts of a map: whose, of what, and the numbers.
    pub(super) fn counts(map: &Map) -> io::Result<Vec<(Identity, u32, Vec<u64>)>> {
        let parse = |(key, value): &(Vec<u8>, Vec<u8>)| {
            let identity = Identity {
                start: double(key, 0),
                pid: word(key, 8),
            };
            let numbers = (0..value.len()).step_by(8).map(|at| double(value, at));
            (identity, word(key, 12), numbers.collect())
        };
        Ok(map.all()?.iter().map(parse).collect())
    }

    pub(super) fn lost(&self) -> io::Result<u64> {
        Ok(self
            .lost
            .all()?
            .iter()
            .map(|(_, value)| double(value, 0))
            .sum())
    }

    /// Removes a process that ended.
    pub(super) fn forget(&self, process: Identity) -> io::Result<()> {
        let mut key = process.start.to_ne_bytes().to_vec();
        key.extend(u64::from(process.pid).to_ne_bytes());
        self.ended.remove(&key)
    }

    /// Removes a count.
    pub(super) fn forget_count(map: &Map, process: Identity, what: u32) -> io::Result<()> {
        let mut key = process.start.to_ne_bytes().to_vec();
        key.extend(process.pid.to_ne_bytes());
        key.extend(what.to_ne_bytes());
        map.remove(&key)
    }
}

fn parse(value: &[u8], has_ended: bool) -> Process {
    let name = &value[process::NAME as usize..][..16];
    let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
    let flags = word(value, process::FLAGS as usize);
    Process {
        identity: Identity {
            start: double(value, process::START as usize),
            pid: word(value, process::PID as usize),
        },
        shown: Some(word(value, process::SHOWN as usize)).filter(|shown| *shown != 0),
        parent: word(value, process::PARENT as usize),
        name: String::from_utf8_lossy(name).into_owned(),
        is_kernel_thread: flags & KERNEL_THREAD != 0,
        system_calls: double(value, process::CALLS as usize),
        page_faults: double(value, process::FAULTS as usize),
        ended_after: has_ended.then(|| double(value, process::RUNTIME as usize)),
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    u32::from_ne_bytes(four)
}

fn double(bytes: &[u8], at: usize) -> u64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[at..at + 8]);
    u64::from_ne_bytes(eight)
}
