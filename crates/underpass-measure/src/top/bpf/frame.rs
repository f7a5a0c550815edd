//! What all programs have in common: their frame, reading the kernel's memory, and finding the
//! process that runs.

use super::assembler::{Assembler, Helper, If, Label, Op, Reg, Width};
use super::layout::Layout;
use super::maps::{Maps, process};
use super::numbers::Numbers;

// Offsets from the end of the frame.
pub(super) const PID: i16 = -8;
pub(super) const SCRATCH: i16 = -16;
pub(super) const KEY: i16 = -32;
pub(super) const VALUE: i16 = -56;
/// A process, as in the map of processes.
pub(super) const PROCESS: i16 = -128;
// Of a system call: its two ends, what it is (see `table`), and the descriptor and file that are
// looked at.
pub(super) const FROM: i16 = -136;
pub(super) const TO: i16 = -144;
pub(super) const CALL: i16 = -152;
pub(super) const FILE: i16 = -160;
pub(super) const DESCRIPTOR: i16 = -168;
/// The program's registers when it made the call.
pub(super) const REGS: i16 = -336;

/// How deep a PID namespace may be inside others: a container in a container is at 2.
const LEVELS: i32 = 6;
/// The bytes of `struct upid`.
const EACH: i32 = 16;

/// A program that is being written, with what it refers to.
pub(super) struct Writer<'a> {
    pub(super) asm: Assembler,
    pub(super) layout: &'a Layout,
    pub(super) maps: &'a Maps,
    /// Whether the kernel knows of what type its structures are that the program gets. Then it
    /// lets the program load from them itself, which is faster than a helper by far.
    pub(super) is_typed: bool,
    /// `None` if /proc has the machine's numbers of processes.
    numbers: Option<&'a Numbers>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(layout: &'a Layout, maps: &'a Maps, numbers: Option<&'a Numbers>) -> Self {
        Self {
            asm: Assembler::default(),
            layout,
            maps,
            is_typed: false,
            numbers,
        }
    }

    /// The address of something in the frame.
    pub(super) fn address(&mut self, to: Reg, offset: i16) {
        self.asm.reg(Op::Move, to, Reg::Frame);
        self.asm.number(Op::Add, to, i32::from(offset));
    }

    /// Reads the kernel's memory at an offset from `base` into the frame. What cannot be read is 0.
    pub(super) fn read(&mut self, to: i16, bytes: i32, base: Reg, offset: i32) {
        self.asm.reg(Op::Move, Reg::R3, base);
        self.asm.number(Op::Add, Reg::R3, offset);
        self.asm.number(Op::Move, Reg::R2, bytes);
        self.address(Reg::R1, to);
        self.asm.call(Helper::ReadKernel);
    }

    /// Reads a 64-bit number of the kernel into `to`, by way of the frame.
    pub(super) fn follow(&mut self, to: Reg, base: Reg, offset: i32) {
        self.read(SCRATCH, 8, base, offset);
        self.asm.load(Width::Double, to, Reg::Frame, SCRATCH);
    }

    /// Reads a number of at most four bytes.
    pub(super) fn follow_small(&mut self, width: Width, to: Reg, base: Reg, offset: i32) {
        let bytes = match width {
            Width::Byte => 1,
            Width::Half => 2,
            Width::Word | Width::Double => 4,
        };
        self.read(SCRATCH, bytes, base, offset);
        self.asm.load(width, to, Reg::Frame, SCRATCH);
    }

    /// Loads a field of a structure that the kernel gave to the program, or that such a structure
    /// points to.
    pub(super) fn field(&mut self, width: Width, to: Reg, base: Reg, offset: i32) {
        match width {
            _ if self.is_typed => self.asm.load(width, to, base, offset as i16),
            Width::Double => self.follow(to, base, offset),
            _ => self.follow_small(width, to, base, offset),
        }
    }

    /// Loads the current task into R6.
    pub(super) fn task(&mut self) {
        self.asm.call(if self.is_typed {
            Helper::CurrentTaskTyped
        } else {
            Helper::CurrentTask
        });
        self.asm.reg(Op::Move, Reg::R6, Reg::R0);
    }

    /// Looks up the key at `key`; R0 is the address of the value, or 0.
    pub(super) fn look_up(&mut self, map: i32, key: i16) {
        self.asm.map(Reg::R1, map);
        self.address(Reg::R2, key);
        self.asm.call(Helper::Lookup);
    }

    /// Stores the value at `value` under the key at `key`, if `only_new` only if there is none.
    pub(super) fn update(&mut self, map: i32, key: i16, value: i16, only_new: bool) {
        self.asm.map(Reg::R1, map);
        self.address(Reg::R2, key);
        self.address(Reg::R3, value);
        self.asm.number(Op::Move, Reg::R4, i32::from(only_new));
        self.asm.call(Helper::Update);
    }

    /// Counts an event that could not be counted, and goes to `out`.
    pub(super) fn lose(&mut self, out: Label) {
        self.asm.store_number(Width::Word, Reg::Frame, SCRATCH, 0);
        self.look_up(self.maps.lost.number(), SCRATCH);
        self.asm.jump_if(Reg::R0, If::Equal, 0, out);
        self.asm.number(Op::Move, Reg::R1, 1);
        self.asm.add_atomically(Reg::R0, 0, Reg::R1);
        self.asm.jump(out);
    }

    /// Leaves the number of the current process in the frame at `PID`; goes to `out` if none runs.
    pub(super) fn pid(&mut self, out: Label) {
        self.asm.call(Helper::CurrentPidTgid);
        self.asm.number(Op::ShiftRight, Reg::R0, 32);
        self.asm.jump_if(Reg::R0, If::Equal, 0, out);
        self.asm.store(Width::Word, Reg::Frame, PID, Reg::R0);
    }

    /// Finds the current process, and makes its entry if it is new. R6 must be the current task. R9
    /// is then the address of its entry; goes to `out` if there is none.
    pub(super) fn process(&mut self, out: Label) {
        self.pid(out);
        self.process_of_pid(out);
    }

    /// As [`process`](Self::process), for the process at `PID`, of which R6 is a task.
    pub(super) fn process_of_pid(&mut self, out: Label) {
        let found = self.asm.label();
        let processes = self.maps.processes.number();
        self.look_up(processes, PID);
        self.asm.jump_if(Reg::R0, If::NotEqual, 0, found);
        self.describe_process();
        self.update(processes, PID, PROCESS, true);
        self.look_up(processes, PID);
        self.asm.jump_if(Reg::R0, If::NotEqual, 0, found);
        self.lose(out);
        self.asm.place(found);
        self.asm.reg(Op::Move, Reg::R9, Reg::R0);
    }

    /// Fills the entry of the current process at `PROCESS`. Its name and its start are those of its
    /// first thread.
    fn describe_process(&mut self) {
        for at in (0..process::BYTES as i16).step_by(8) {
            self.asm
                .store_number(Width::Double, Reg::Frame, PROCESS + at, 0);
        }
        let layout = *self.layout;
        self.asm.load(Width::Word, Reg::R9, Reg::Frame, PID);
        self.asm
            .store(Width::Word, Reg::Frame, PROCESS + process::PID, Reg::R9);
        self.follow(Reg::R9, Reg::R6, layout.task_leader);
        self.read(PROCESS + process::START, 8, Reg::R9, layout.task_start);
        self.read(PROCESS + process::NAME, 16, Reg::R9, layout.task_name);
        self.read(PROCESS + process::FLAGS, 4, Reg::R9, layout.task_flags);
        self.store_number(PROCESS + process::SHOWN);
        self.follow(Reg::R9, Reg::R9, layout.task_parent);
        self.follow(Reg::R9, Reg::R9, layout.task_leader);
        self.store_number(PROCESS + process::PARENT);
    }

    /// Stores the number that /proc has of the task R9, the first of its process, at `slot`, which
    /// is 0; that stays if /proc does not show the process.
    fn store_number(&mut self, slot: i16) {
        match self.numbers {
            Some(numbers) => self.store_number_in(numbers, slot),
            None => self.read(slot, 4, Reg::R9, self.layout.task_tgid),
        }
    }

    /// As [`store_number`](Self::store_number), where /proc is that of a PID namespace.
    fn store_number_in(&mut self, numbers: &Numbers, slot: i16) {
        let done = self.asm.label();
        self.follow(Reg::R1, Reg::R9, numbers.task_pid);
        self.asm.store(Width::Double, Reg::Frame, VALUE, Reg::R1);
        let pid = |w: &mut Self| w.asm.load(Width::Double, Reg::R1, Reg::Frame, VALUE);
        for level in 0..LEVELS {
            let next = self.asm.label();
            let at = numbers.list + level * EACH;
            pid(self);
            self.follow_small(Width::Word, Reg::R1, Reg::R1, numbers.level);
            self.asm.jump_if(Reg::R1, If::SignedLess, level, done);
            pid(self);
            self.follow(Reg::R1, Reg::R1, at + numbers.of);
            self.follow_small(Width::Word, Reg::R1, Reg::R1, numbers.inode);
            // Numbers in instructions have a sign.
            self.asm.number(Op::ShiftLeft, Reg::R1, 32);
            self.asm.number(Op::ShiftRightSigned, Reg::R1, 32);
            let wanted = numbers.namespace.cast_signed();
            self.asm.jump_if(Reg::R1, If::NotEqual, wanted, next);
            pid(self);
            self.read(slot, 4, Reg::R1, at + numbers.number);
            self.asm.jump(done);
            self.asm.place(next);
        }
        self.asm.place(done);
    }

    /// Stores the key of a count of the process at R9 at `KEY`. Its last four bytes, which say what
    /// is counted, are those of R1.
    pub(super) fn key(&mut self) {
        let asm = &mut self.asm;
        asm.store(Width::Word, Reg::Frame, KEY + 12, Reg::R1);
        asm.load(Width::Double, Reg::R1, Reg::R9, process::START);
        asm.store(Width::Double, Reg::Frame, KEY, Reg::R1);
        asm.load(Width::Word, Reg::R1, Reg::R9, process::PID);
        asm.store(Width::Word, Reg::Frame, KEY + 8, Reg::R1);
    }

    /// Finds the value under the key at `KEY`, and makes one of `bytes` zeros if it is new. R0 is
    /// then its address; goes to `out` if there is none.
    pub(super) fn count(&mut self, map: i32, bytes: i16, out: Label) {
        let found = self.asm.label();
        self.look_up(map, KEY);
        self.asm.jump_if(Reg::R0, If::NotEqual, 0, found);
        for at in (0..bytes).step_by(8) {
            self.asm
                .store_number(Width::Double, Reg::Frame, VALUE + at, 0);
        }
        self.update(map, KEY, VALUE, true);
        self.look_up(map, KEY);
        self.asm.jump_if(Reg::R0, If::NotEqual, 0, found);
        self.lose(out);
        self.asm.place(found);
    }
}
