//! The cost of one way on one interface.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Count, Crypto, Ratios, Summary};

/// What it cost one way to move files of one size over one interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Row {
    /// The way's [name](crate::Way::name).
    pub way: String,
    /// The name of the [interface](super::Interface).
    pub interface: String,
    /// Size of the file.
    pub bytes: u64,
    /// How often the file was sent in one sample.
    pub repeats: u64,
    /// System calls per file.
    pub syscalls: Count,
    /// Mode switches per file: two for each system call, and two for each page fault in user mode.
    pub mode_switches: Count,
    /// Copies of each byte.
    pub copies: Copies,
    /// Passes of encryption over each byte; `None` if the way has no TLS.
    #[serde(default)]
    pub crypto: Option<Crypto>,
    /// Where the CPU time went, if it was sampled.
    pub sampled: Option<Sampled>,
    /// The timed rounds, in order. Empty for rows that were only counted.
    pub samples: Vec<Sample>,
    /// Throughput over the rounds.
    pub gb_per_s: Option<Summary>,
    /// CPU seconds of the sending thread per 10⁹ bytes.
    pub cpu_s_per_gb: Option<Summary>,
    /// Ratios to `read-write` of the same round, interface and size.
    pub to_read_write: Option<Ratios>,
}

/// The copies of one byte on its way from the disk to the network interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Copies {
    /// Copies by the CPU, per byte sent.
    pub by_cpu: Count,
    /// Copies by DMA, per byte sent. No software can count them.
    pub by_dma: Count,
    /// The hops, from the disk to the interface.
    pub hops: Vec<Hop>,
}

/// One hop on the way of a byte.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Hop {
    /// From where to where.
    pub kind: HopKind,
    /// Who moves the bytes.
    pub mover: Mover,
    /// Copies per byte sent.
    pub copies: Count,
}

/// Where a hop begins and where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HopKind {
    /// The disk's transfer into the page cache.
    DiskToKernel,
    /// From the page cache into the program's memory: read(2).
    KernelToUser,
    /// From a socket's queue into the program's memory: read(2) of a stream. Files do not have this
    /// hop.
    SocketToUser,
    /// From the program's memory into socket buffers: write(2), send(2).
    UserToSocket,
    /// Inside the kernel: pages that the socket buffers only referred to are copied after all.
    KernelToSocket,
    /// The network interface's transfer from the socket buffers.
    SocketToInterface,
}

/// Who moves bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Mover {
    /// The CPU.
    Cpu,
    /// The device, while the CPU does something else.
    Dma,
}

/// One timed round of [`Row::repeats`] files.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Sample {
    /// Time from the first call until the receiver had the last byte.
    pub wall_s: f64,
    /// CPU time of the sending thread in user mode.
    pub user_s: f64,
    /// CPU time of the sending thread in kernel mode.
    pub system_s: f64,
    /// How often the sending thread waited.
    pub voluntary_switches: u64,
    /// How often the sending thread was preempted.
    pub involuntary_switches: u64,
}

/// Where the sending thread's CPU time went, by sampling.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Sampled {
    /// Number of samples.
    pub samples: u64,
    /// Number of samples in a function that copies.
    pub in_copies: u64,
    /// `in_copies / samples`.
    pub share: f64,
    /// Lower end of the 95 % interval of `share` (Wilson).
    pub low: f64,
    /// Upper end of that interval.
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
    /// Number of samples in it.
    pub samples: u64,
}

impl Row {
    /// Bytes that one sample moves: the file size times the repeats.
    pub fn sample_bytes(&self) -> u64 {
        self.bytes * self.repeats
    }
}

impl Copies {
    /// Sums up hops, which are in order. The sum is only as certain as its least certain part.
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

    /// All copies, by the CPU and by DMA.
    pub fn total(&self) -> Option<f64> {
        Some(self.by_cpu.value? + self.by_dma.value?)
    }
}

fn sum(hops: &[Hop], mover: Mover) -> Count {
    let parts = hops.iter().filter(|hop| hop.mover == mover);
    let sum = Count::sum(parts.map(|hop| &hop.copies));
    sum.unwrap_or_else(|| Count::unknown("no hop of this kind"))
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
