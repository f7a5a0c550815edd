//! The system calls that move bytes, by number, and what their arguments say.

use crate::top::CallFamily::{
    self, CopyFileRange, ProcessVm, Read, Recv, Send, Sendfile, Splice, Tee, Vmsplice, Write,
};

/// Where a call's bytes come from or go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Place {
    Memory = 0,
    /// The descriptor that is the first argument.
    First = 1,
    Second = 2,
    Third = 3,
    Process = 4,
}

/// What else must be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Look {
    Nothing = 0,
    /// The second argument is the address of the data.
    Data = 1,
    /// The second argument is the address of a `struct iovec`.
    Vector = 2,
    /// The second argument is the address of a `struct msghdr`, and the third has flags.
    Message = 3,
    /// Data, and the fourth argument has flags.
    DataAndFlags = 4,
    /// The second argument is the address of several `struct mmsghdr`, the fourth has flags.
    Messages = 5,
    /// The direction depends on which end of the pipe it is.
    Direction = 6,
}

/// A call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) family: CallFamily,
    pub(super) from: Place,
    pub(super) to: Place,
    pub(super) look: Look,
}

/// Calls of 32-bit programs have their numbers from here on.
pub(super) const OLD: u32 = 512;

/// Numbers below this are looked up.
pub(super) const NUMBERS: u32 = 2 * OLD;

/// What a call is, for each number that matters.
pub(super) fn calls() -> Vec<(u32, Call)> {
    use Look::{Data, DataAndFlags, Direction, Message, Messages, Nothing, Vector};
    use Place::{First, Memory, Process, Second, Third};
    let call = |family, from, to, look| Call {
        family,
        from,
        to,
        look,
    };
    let read = call(Read, First, Memory, Nothing);
    let recv = call(Recv, First, Memory, Nothing);
    let recv_all = call(Recv, First, Memory, Messages);
    let write = |look| call(Write, Memory, First, look);
    let send = |look| call(Send, Memory, First, look);
    let sendfile = call(Sendfile, Second, First, Nothing);
    let splice = call(Splice, First, Third, Nothing);
    let tee = call(Tee, First, Second, Nothing);
    let vmsplice = call(Vmsplice, Memory, First, Direction);
    let copy = call(CopyFileRange, First, Third, Nothing);
    let from_process = call(ProcessVm, Process, Memory, Nothing);
    let to_process = call(ProcessVm, Memory, Process, Nothing);
    // arch/x86/entry/syscalls/syscall_64.tbl, then syscall_32.tbl. A 32-bit program's addresses of
    // structures are not followed: they are laid out otherwise.
    let of_64_bits = [
        (0, read),
        (1, write(Data)),
        (17, read),
        (18, write(Nothing)),
        (19, read),
        (20, write(Vector)),
        (40, sendfile),
        (44, send(DataAndFlags)),
        (45, recv),
        (46, send(Message)),
        (47, recv),
        (275, splice),
        (276, tee),
        (278, vmsplice),
        (295, read),
        (296, write(Nothing)),
        (299, recv_all),
        (307, send(Messages)),
        (310, from_process),
        (311, to_process),
        (326, copy),
        (327, read),
        (328, write(Nothing)),
    ];
    let of_32_bits = [
        (3, read),
        (4, write(Nothing)),
        (145, read),
        (146, write(Nothing)),
        (180, read),
        (181, write(Nothing)),
        (187, sendfile),
        (239, sendfile),
        (313, splice),
        (315, tee),
        (316, vmsplice),
        (333, read),
        (334, write(Nothing)),
        (347, from_process),
        (348, to_process),
        (369, send(Nothing)),
        (370, send(Nothing)),
        (371, recv),
        (372, recv),
        (377, copy),
        (378, read),
        (379, write(Nothing)),
    ];
    let old = of_32_bits
        .into_iter()
        .map(|(number, call)| (number + OLD, call));
    of_64_bits.into_iter().chain(old).collect()
}

impl Call {
    /// As the programs read it: 8 bytes. A call that matters is never all 0.
    pub(super) fn encoded(self) -> [u8; 8] {
        let (family, from, to) = (self.family as u8, self.from as u8, self.to as u8);
        [1, family, from, to, self.look as u8, 0, 0, 0]
    }
}
