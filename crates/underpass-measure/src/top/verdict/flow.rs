//! What a process moved, added up for the rules.

use super::super::activity::{CallActivity, CallFamily, End, ProcessActivity};

/// What bytes come from or go to, as far as the rules tell ends apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Socket,
    /// A socket whose TLS records the kernel makes.
    KernelTls,
    /// A socket whose TLS records the program makes.
    ProgramTls,
    Pipe,
    /// Terminals, devices, memory of other processes.
    Other,
    /// It could not be told.
    Unknown,
}

impl Kind {
    pub(super) fn of(end: End) -> Self {
        match end {
            End::File | End::DirectFile => Self::File,
            End::KernelTls => Self::KernelTls,
            End::ProgramTls => Self::ProgramTls,
            End::Pipe => Self::Pipe,
            End::Unknown => Self::Unknown,
            end if end.is_socket() => Self::Socket,
            _ => Self::Other,
        }
    }

    pub(super) fn plural(self) -> &'static str {
        match self {
            Self::File => "files",
            Self::Socket => "sockets",
            Self::KernelTls | Self::ProgramTls => "TLS sockets",
            Self::Pipe => "pipes",
            Self::Other | Self::Unknown => "other things",
        }
    }

    pub(super) fn is_socket(self) -> bool {
        matches!(self, Self::Socket | Self::KernelTls | Self::ProgramTls)
    }
}

/// Bytes and calls of one direction, by kind of end.
#[derive(Clone, Debug, Default)]
pub(super) struct Side {
    parts: Vec<(Kind, u64)>,
    pub(super) calls: u64,
}

impl Side {
    fn add(&mut self, end: End, call: &CallActivity) {
        self.calls = self.calls.saturating_add(call.calls);
        let kind = Kind::of(end);
        match self.parts.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, bytes)) => *bytes = bytes.saturating_add(call.bytes),
            None => self.parts.push((kind, call.bytes)),
        }
    }

    fn remove(&mut self, kind: Kind, bytes: u64) {
        for (_, part) in self.parts.iter_mut().filter(|(known, _)| *known == kind) {
            *part = part.saturating_sub(bytes);
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        let bytes = self.parts.iter().map(|(_, bytes)| *bytes);
        bytes.fold(0, u64::saturating_add)
    }

    /// The kind with the most bytes, and its bytes; `None` if there are none.
    pub(super) fn main(&self) -> Option<(Kind, u64)> {
        let most = self.parts.iter().max_by_key(|(_, bytes)| *bytes).copied();
        most.filter(|(_, bytes)| *bytes > 0)
    }

    /// Bytes for each call; `None` if there was no call.
    pub(super) fn average(&self) -> Option<u64> {
        self.bytes().checked_div(self.calls)
    }
}

/// What a process moved.
#[derive(Clone, Debug, Default)]
pub(super) struct Flow {
    /// Into the program's memory, by copying.
    pub(super) copied_in: Side,
    /// Out of the program's memory, by copying.
    pub(super) copied_out: Side,
    /// Out of the program's memory, by reference: `MSG_ZEROCOPY`, vmsplice.
    pub(super) referred: Side,
    /// Between two descriptors, inside the kernel, by where it went. Pipes on the way do not count.
    pub(super) in_kernel: Side,
    /// Pages of mapped files that were faulted in.
    pub(super) mapped: u64,
    /// Of what was copied, by io_uring.
    pub(super) ring: u64,
    /// The calls that moved most inside the kernel.
    pub(super) kernel_call: Option<CallFamily>,
    /// Calls of which it is not known how many bytes they moved.
    pub(super) calls_of_unknown_bytes: u64,
}

impl Flow {
    pub(super) fn of(process: &ProcessActivity) -> Self {
        let mut flow = Self::default();
        process.calls.iter().for_each(|call| flow.add(call));
        let in_kernel = process.calls.iter().filter(|call| is_in_kernel(call));
        let most = in_kernel.clone().max_by_key(|call| call.bytes);
        flow.kernel_call = most.map(|call| call.family);
        // What was spliced into a pipe and out of it again would count twice.
        let sum = |counts: fn(&CallActivity) -> bool| {
            let calls = in_kernel.clone().filter(|call| counts(call));
            calls.fold(0_u64, |sum, call| sum.saturating_add(call.bytes))
        };
        let (into, out_of) = (
            sum(|call| call.to == End::Pipe),
            sum(|call| call.from == End::Pipe && call.to != End::Pipe),
        );
        flow.in_kernel.remove(Kind::Pipe, into.min(out_of));
        flow
    }

    fn add(&mut self, call: &CallActivity) {
        let unknown = &mut self.calls_of_unknown_bytes;
        *unknown = unknown.saturating_add(call.calls_of_unknown_bytes);
        if matches!(call.family, CallFamily::UringIn | CallFamily::UringOut) {
            self.ring = self.ring.saturating_add(call.bytes);
        }
        match call.family {
            CallFamily::MmapFault => self.mapped = self.mapped.saturating_add(call.bytes),
            CallFamily::ZerocopySend | CallFamily::UringZerocopySend | CallFamily::Vmsplice
                if call.from == End::Memory =>
            {
                self.referred.add(call.to, call);
            }
            _ if call.to == End::Memory => self.copied_in.add(call.from, call),
            _ if call.from == End::Memory => self.copied_out.add(call.to, call),
            _ => self.in_kernel.add(call.to, call),
        }
    }

    /// All bytes that were copied into or out of the program's memory.
    pub(super) fn copied(&self) -> u64 {
        self.copied_in
            .bytes()
            .saturating_add(self.copied_out.bytes())
    }

    /// All bytes that came, also those that stayed in the kernel.
    pub(super) fn bytes_in(&self) -> u64 {
        let sum = self.copied_in.bytes();
        sum.saturating_add(self.in_kernel.bytes())
    }

    /// All bytes; what passed through counts once.
    pub(super) fn bytes_moved(&self) -> u64 {
        self.bytes_in().max(self.bytes_out())
    }

    /// All bytes that left.
    pub(super) fn bytes_out(&self) -> u64 {
        let sum = self
            .copied_out
            .bytes()
            .saturating_add(self.referred.bytes());
        sum.saturating_add(self.in_kernel.bytes())
    }
}

fn is_in_kernel(call: &CallActivity) -> bool {
    call.from != End::Memory && call.to != End::Memory
}
