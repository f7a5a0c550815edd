//! What programs did in a while: the values that a watcher gives.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::report::{Evidence, Sampled};

/// What happened in a while.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Activity {
    /// How long the while was, in seconds.
    pub seconds: f64,
    /// Where the numbers come from.
    pub source: Source,
    /// The processes that did something, the busiest first: by bytes moved.
    pub processes: Vec<ProcessActivity>,
    /// Copies that the kernel made while it handled interrupts. They belong to some connection, but
    /// not to the process that happened to be interrupted.
    pub unattributed: Vec<HopCopies>,
    /// What could not be counted here, why, and what would add it; one line each.
    pub notes: Vec<String>,
    /// What the watching itself cost.
    pub overhead: Overhead,
}

/// Where the numbers come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Source {
    /// BPF programs in the kernel count each system call as it returns.
    Bpf,
    /// /proc/PID/io (proc(5)) sums up reads and writes, without their ends.
    #[default]
    Proc,
}

/// What watching cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Overhead {
    /// CPU seconds of the watching thread.
    pub watcher_cpu_seconds: f64,
    /// CPU seconds of the probes, which run inside the watched programs' system calls. `None` if
    /// the kernel does not tell.
    pub probes_cpu_seconds: Option<f64>,
    /// Events that could not be counted. If there are any, all counts are lower bounds.
    pub lost: u64,
}

/// What one process did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ProcessActivity {
    /// The process's number, in the PID namespace of the watcher's /proc.
    pub pid: u32,
    /// The number of the process that started it; 0 if not known.
    pub parent: u32,
    /// Its name, at most 15 bytes long (`comm` in proc(5)).
    pub name: String,
    /// Its command line, words joined by spaces. `None` if it ended before it could be read.
    pub command: Option<String>,
    /// Whether it is a thread of the kernel.
    pub is_kernel_thread: bool,
    /// Whether it has ended.
    pub has_ended: bool,
    /// Its control group, which names its container or service; `None` if not known.
    pub cgroup: Option<String>,
    /// CPU time of all its threads, in seconds; `None` if not known.
    pub cpu_seconds: Option<f64>,
    /// The calls that move bytes, by family and ends.
    pub calls: Vec<CallActivity>,
    /// All system calls that returned, also those that move nothing; `None` if not counted.
    pub system_calls: Option<u64>,
    /// Page faults in user mode; `None` if not counted.
    pub page_faults: Option<u64>,
    /// The copies by the CPU, by hop. A hop with no copies is listed if the program's calls might
    /// have made some.
    pub copies: Vec<HopCopies>,
    /// The share of its CPU time in functions of the kernel that copy, if sampled.
    pub copying: Option<Sampled>,
}

/// Calls of one family between the same kinds of ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CallActivity {
    /// The family.
    pub family: CallFamily,
    /// Where the bytes came from.
    pub from: End,
    /// Where they went.
    pub to: End,
    /// How many calls moved bytes, or ended with 0 bytes. Calls that failed are not among them.
    pub calls: u64,
    /// How many bytes they moved.
    pub bytes: u64,
    /// How many of the calls are not in [`bytes`](Self::bytes), because it is not known how many
    /// bytes they moved.
    pub calls_of_unknown_bytes: u64,
}

/// System calls that move bytes in the same manner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CallFamily {
    /// read(2), pread(2), readv(2), preadv2(2).
    Read,
    /// write(2), pwrite(2), writev(2), pwritev2(2).
    Write,
    /// recvfrom(2), recvmsg(2), recvmmsg(2).
    Recv,
    /// sendto(2), sendmsg(2), sendmmsg(2).
    Send,
    /// The same calls with `MSG_ZEROCOPY`.
    ZerocopySend,
    /// sendfile(2).
    Sendfile,
    /// splice(2).
    Splice,
    /// tee(2).
    Tee,
    /// vmsplice(2).
    Vmsplice,
    /// copy_file_range(2).
    CopyFileRange,
    /// process_vm_readv(2), process_vm_writev(2).
    ProcessVm,
    /// Pages of mapped files that page faults made accessible, but not of the program's own file. A
    /// page counts once for each time it is mapped.
    MmapFault,
    /// Reads and receives through io_uring(7), except what a multishot receive gives after its
    /// first completion.
    UringIn,
    /// Writes and sends through io_uring(7).
    UringOut,
    /// `IORING_OP_SEND_ZC` and `IORING_OP_SENDMSG_ZC` of io_uring(7).
    UringZerocopySend,
    /// `IORING_OP_SPLICE` and `IORING_OP_TEE` of io_uring(7). Where the bytes came from is not
    /// told.
    UringSplice,
}

/// What bytes come from, or go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum End {
    /// The memory of the process itself.
    Memory,
    /// The memory of another process.
    Process,
    /// A file, through the page cache.
    File,
    /// A file that was opened with `O_DIRECT`, past the page cache.
    DirectFile,
    /// A file whose content the kernel makes up when it is read: proc, sysfs and the like.
    KernelFile,
    /// A TCP socket.
    Tcp,
    /// A TCP socket whose TLS records are made by the kernel (`TCP_ULP`, kTLS).
    KernelTls,
    /// A TCP socket to which the program wrote TLS records: it encrypts in user space. Each such
    /// write began as a record begins.
    ProgramTls,
    /// A UNIX socket.
    Unix,
    /// A UDP socket.
    Udp,
    /// A socket of another kind, such as netlink or vsock.
    OtherSocket,
    /// A pipe or FIFO.
    Pipe,
    /// A terminal.
    Terminal,
    /// Anything else, such as a device or an eventfd.
    Other,
    /// It could not be told, for example because the descriptor was closed during the call.
    Unknown,
}

/// How many bytes the CPU copied at one hop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HopCopies {
    /// From where to where.
    pub hop: CopyHop,
    /// How many bytes; `None` if that is not known.
    pub bytes: Option<u64>,
    /// How they are known.
    pub evidence: Evidence,
    /// The evidence in words, such as the functions in which they were counted.
    pub why: String,
}

/// Where the CPU copies from, and where to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CopyHop {
    /// From the page cache into the program's memory.
    FileToUser,
    /// From the program's memory into the page cache.
    UserToFile,
    /// From a socket's queue into the program's memory.
    SocketToUser,
    /// From the program's memory into socket buffers.
    UserToSocket,
    /// From a pipe into the program's memory.
    PipeToUser,
    /// From the program's memory into a pipe.
    UserToPipe,
    /// Inside the kernel, into the page cache: from a pipe or from another file.
    KernelToFile,
    /// Inside the kernel, into socket buffers: pages that packets only referred to are copied after
    /// all, for example to make packets contiguous.
    KernelToSocket,
    /// Inside the kernel, into the pages of a pipe: what a pipe cannot refer to is copied when it
    /// is spliced, such as the head of a packet from an interface that does not gather.
    KernelToPipe,
    /// From one process's memory into another's.
    ProcessToProcess,
    /// Between the program's memory and anything else: terminals, devices, files of the kernel.
    Other,
}

impl Activity {
    /// The activity of the process with the number `pid`; of two with the same number, one after
    /// the other, that of the later one.
    pub fn process(&self, pid: u32) -> Option<&ProcessActivity> {
        let mut those = self.processes.iter().filter(|process| process.pid == pid);
        let first = those.next()?;
        Some(those.find(|process| !process.has_ended).unwrap_or(first))
    }
}

impl ProcessActivity {
    /// Bytes that came to the process or through it from files, sockets, pipes and the like. Pages
    /// of mapped files are not among them: they stay where they are, and every program that starts
    /// maps its code.
    pub fn bytes_in(&self) -> u64 {
        let bytes =
            self.bytes(|call| call.from != End::Memory && call.family != CallFamily::MmapFault);
        bytes.saturating_sub(self.spliced_on())
    }

    /// Bytes that left the process, or passed through it, to files, sockets, pipes and the like.
    pub fn bytes_out(&self) -> u64 {
        let bytes = self.bytes(|call| call.to != End::Memory);
        bytes.saturating_sub(self.spliced_on())
    }

    /// Bytes that were spliced into a pipe and out of it again: two calls moved the same bytes.
    fn spliced_on(&self) -> u64 {
        let spliced = |call: &CallActivity| call.from != End::Memory && call.to != End::Memory;
        let into = self.bytes(|call| spliced(call) && call.to == End::Pipe);
        let out_of =
            self.bytes(|call| spliced(call) && call.from == End::Pipe && call.to != End::Pipe);
        into.min(out_of)
    }

    /// The bytes of all calls that `counts` is true for.
    pub fn bytes(&self, counts: impl Fn(&CallActivity) -> bool) -> u64 {
        let counted = self.calls.iter().filter(|call| counts(call));
        counted.fold(0, |sum, call| sum.saturating_add(call.bytes))
    }

    /// All bytes that the CPU copied for it; `None` if some hop's are not known.
    pub fn copied_bytes(&self) -> Option<u64> {
        let hops = self.copies.iter();
        hops.map(|hop| hop.bytes)
            .try_fold(0_u64, |sum, bytes| Some(sum.saturating_add(bytes?)))
    }

    /// The evidence of the least certain hop, of those with at least 1 % of the bytes. Without any
    /// hop, nothing was copied, and that is known as well as the calls are: `Measured`.
    pub fn copies_evidence(&self) -> Evidence {
        let moved = self.bytes_moved();
        let matters =
            |hop: &&HopCopies| !hop.bytes.is_some_and(|it| it > 0 && is_little(it, moved));
        let evidence = self.copies.iter().filter(matters);
        let least = evidence.map(|hop| hop.evidence).min();
        least.unwrap_or(Evidence::Measured)
    }

    /// Copies by the CPU for each byte that left the process or, where less than half as much left
    /// as came, for each that came. `None` if no bytes moved, or if the copies are not known.
    pub fn copies_per_byte(&self) -> Option<f64> {
        let moved = self.bytes_moved();
        (moved > 0).then_some(self.copied_bytes()? as f64 / moved as f64)
    }

    /// The bytes that left or, where less than half as much left as came, those that came: what
    /// passes through counts once.
    pub fn bytes_moved(&self) -> u64 {
        match (self.bytes_in(), self.bytes_out()) {
            (came, left) if left >= came / 2 => left,
            (came, _) => came,
        }
    }

    /// Switches between user and kernel mode: two for each system call, and two for each page fault
    /// in user mode. `None` if either was not counted.
    pub fn mode_switches(&self) -> Option<u64> {
        Some(2 * (self.system_calls? + self.page_faults?))
    }
}

/// Whether bytes are so few of those that moved that copies for each byte do not show them.
pub(super) fn is_little(bytes: u64, moved: u64) -> bool {
    bytes < moved / 100
}

impl CallFamily {
    /// The calls' name, as in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Recv => "recv",
            Self::Send => "send",
            Self::ZerocopySend => "send MSG_ZEROCOPY",
            Self::Sendfile => "sendfile",
            Self::Splice => "splice",
            Self::Tee => "tee",
            Self::Vmsplice => "vmsplice",
            Self::CopyFileRange => "copy_file_range",
            Self::ProcessVm => "process_vm",
            Self::MmapFault => "mmap faults",
            Self::UringIn => "io_uring in",
            Self::UringOut => "io_uring out",
            Self::UringZerocopySend => "io_uring SEND_ZC",
            Self::UringSplice => "io_uring splice",
        }
    }
}

impl fmt::Display for CallFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl End {
    /// Whether it is a socket of any kind.
    pub fn is_socket(self) -> bool {
        use End::{KernelTls, OtherSocket, ProgramTls, Tcp, Udp, Unix};
        matches!(
            self,
            Tcp | KernelTls | ProgramTls | Unix | Udp | OtherSocket
        )
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Memory => "memory",
            Self::Process => "another process",
            Self::File => "file",
            Self::DirectFile => "file (O_DIRECT)",
            Self::KernelFile => "file of the kernel",
            Self::Tcp => "TCP",
            Self::KernelTls => "TLS in the kernel",
            Self::ProgramTls => "TLS in user space",
            Self::Unix => "UNIX socket",
            Self::Udp => "UDP",
            Self::OtherSocket => "other socket",
            Self::Pipe => "pipe",
            Self::Terminal => "terminal",
            Self::Other => "other",
            Self::Unknown => "unknown",
        })
    }
}

impl fmt::Display for CopyHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::FileToUser => "file to user",
            Self::UserToFile => "user to file",
            Self::SocketToUser => "socket to user",
            Self::UserToSocket => "user to socket",
            Self::PipeToUser => "pipe to user",
            Self::UserToPipe => "user to pipe",
            Self::KernelToFile => "kernel to file",
            Self::KernelToSocket => "kernel to socket",
            Self::KernelToPipe => "kernel to pipe",
            Self::ProcessToProcess => "process to process",
            Self::Other => "other",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_a_pipe_inside_the_kernel_counts_once() {
        let splice = |from, to, bytes| CallActivity {
            family: CallFamily::Splice,
            from,
            to,
            calls: 1,
            bytes,
            calls_of_unknown_bytes: 0,
        };
        let of = |calls| ProcessActivity {
            calls,
            ..ProcessActivity::default()
        };
        let relay = of(vec![
            splice(End::Tcp, End::Pipe, 1000),
            splice(End::Pipe, End::Tcp, 990),
        ]);
        assert_eq!((relay.bytes_in(), relay.bytes_out()), (1000, 1000));
        let filler = of(vec![splice(End::File, End::Pipe, 1000)]);
        assert_eq!((filler.bytes_in(), filler.bytes_out()), (1000, 1000));
    }
}
