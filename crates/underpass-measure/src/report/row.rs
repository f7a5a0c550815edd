//! What one way on one interface took.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Count, Ratios, Summary};

/// What one way took to move files of one size over one interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Row {
    /// The way, by its [name](crate::Way::name).
    pub way: String,
    /// The [interface](super::Interface), by its name.
    pub interface: String,
    /// The size of the file.
    pub bytes: u64,
    /// How often it was sent in one sample.
    pub repeats: u64,
    /// System calls for one file.
    pub syscalls: Count,
    /// Switches into the kernel and back for one file: two a system call, and two a page fault
    /// taken in user mode.
    pub mode_switches: Count,
    /// Copies.
    pub copies: Copies,
    /// Where the processor's time went, if it was looked at.
    pub sampled: Option<Sampled>,
    /// The timed rounds, in order; none for rows that were only counted.
    pub samples: Vec<Sample>,
    /// Throughput over the rounds.
    pub gb_per_s: Option<Summary>,
    /// CPU seconds of the sending thread for 10⁹ bytes.
    pub cpu_s_per_gb: Option<Summary>,
    /// Against `read-write` of the same round, interface and size.
    pub to_read_write: Option<Ratios>,
}

/// The copies of one byte on its way from the disk to the interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Copies {
    /// By the CPU, for each byte sent.
    pub by_cpu: Count,
    /// By DMA, for each byte sent: no software can count them.
    pub by_dma: Count,
    /// The hops, from the disk to the interface.
    pub hops: Vec<Hop>,
}

/// One hop of a byte's way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Hop {
    /// From where to where.
    pub kind: HopKind,
    /// Who moves the bytes.
    pub mover: Mover,
    /// Copies for each byte sent.
    pub copies: Count,
}

/// From where to where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HopKind {
    /// The disk's read into the page cache.
    DiskToKernel,
    /// Out of the page cache into the program's memory: read(2).
    KernelToUser,
    /// Out of a socket's queue into the program's memory: read(2) of a stream. No file takes it.
    SocketToUser,
    /// Out of the program's memory into socket buffers: write(2), send(2).
    UserToSocket,
    /// Inside the kernel: pages that the socket buffers only referred to are copied after all.
    KernelToSocket,
    /// The interface's read of the socket buffers.
    SocketToInterface,
}

/// Who moves bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Mover {
    /// The processor.
    Cpu,
    /// The device, while the processor does something else.
    Dma,
}

/// One timed round: [`Row::repeats`] files.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Sample {
    /// From the first call until the receiver had the last byte.
    pub wall_s: f64,
    /// CPU time of the sending thread in user mode.
    pub user_s: f64,
    /// CPU time of the sending thread in kernel mode.
    pub system_s: f64,
    /// Times that the sending thread waited.
    pub voluntary_switches: u64,
    /// Times that it was put aside.
    pub involuntary_switches: u64,
}

/// Where the sending thread's CPU time went, by looking at it now and then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Sampled {
    /// How often it was looked at.
    pub samples: u64,
    /// How often it was in a function that copies.
    pub in_copies: u64,
    /// `in_copies / samples`.
    pub share: f64,
    /// The 95 % interval of `share` (Wilson): its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// The functions that copy, the busiest first.
    pub functions: Vec<SampledFunction>,
}

/// A function of the kernel that copies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SampledFunction {
    /// Its name.
    pub name: String,
    /// How often the thread was seen in it.
    pub samples: u64,
}

impl Row {
    /// Files of this size in one sample, as bytes.
    pub fn sample_bytes(&self) -> u64 {
        self.bytes * self.repeats
    }
}

impl Copies {
    /// From hops, in order. The sum is as well known as its least known part.
    pub(crate) fn from_hops(hops: Vec<Hop>) -> Self {
        Self {
            by_cpu: sum(&hops, Mover::Cpu),
            by_dma: sum(&hops, Mover::Dma),
            hops,
        }
    }

    /// The copies of one hop.
    pub fn hop(&self, kind: HopKind) -> Option<&Count> {
        let hop = self.hops.iter().find(|hop| hop.kind == kind)?;
        Some(&hop.copies)
    }

    /// All copies, whoever makes them.
    pub fn total(&self) -> Option<f64> {
        Some(self.by_cpu.value? + self.by_dma.value?)
    }
}

fn sum(hops: &[Hop], mover: Mover) -> Count {
    let parts: Vec<_> = hops.iter().filter(|hop| hop.mover == mover).collect();
    let value = parts.iter().map(|hop| hop.copies.value).sum();
    let mut whys: Vec<_> = parts.iter().map(|hop| hop.copies.why.as_str()).collect();
    whys.dedup();
    match parts.iter().map(|hop| hop.copies.evidence).min() {
        Some(weakest) => Count::new(value, weakest, whys.join("; ")),
        None => Count::unknown("no hop of this kind"),
    }
}

impl fmt::Display for HopKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::DiskToKernel => "disk to page cache",
            Self::KernelToUser => "page cache to user buffer",
            Self::SocketToUser => "socket queue to user buffer",
            Self::UserToSocket => "user buffer to socket buffer",
            Self::KernelToSocket => "page cache to socket buffer",
            Self::SocketToInterface => "socket buffer to interface",
        })
    }
}
