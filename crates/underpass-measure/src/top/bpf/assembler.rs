//! Writes BPF programs, instruction by instruction (kernel document bpf/standardization). No
//! compiler is needed where a program runs, and none where it is built.

use std::collections::HashMap;

/// A register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Reg {
    R0 = 0,
    R1,
    R2,
    R3,
    R4,
    R6 = 6,
    R7,
    R8,
    R9,
    /// The frame: the end of 512 bytes of stack.
    Frame,
}

/// The kernel's functions that programs call (`enum bpf_func_id`).
#[derive(Clone, Copy, Debug)]
#[repr(i32)]
pub(super) enum Helper {
    Lookup = 1,
    Update = 2,
    Delete = 3,
    CurrentPidTgid = 14,
    CurrentTask = 35,
    ReadUser = 112,
    ReadKernel = 113,
    ThisCpu = 154,
    CurrentTaskTyped = 158,
}

/// How wide a load or store is.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum Width {
    Word = 0x00,
    Half = 0x08,
    Byte = 0x10,
    Double = 0x18,
}

/// When to jump.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum If {
    Equal = 0x10,
    Greater = 0x20,
    AtLeast = 0x30,
    AnyBit = 0x40,
    NotEqual = 0x50,
    SignedAtMost = 0xd0,
    SignedLess = 0xc0,
}

/// What to do with two numbers.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum Op {
    Add = 0x00,
    Sub = 0x10,
    Or = 0x40,
    And = 0x50,
    ShiftLeft = 0x60,
    ShiftRight = 0x70,
    Move = 0xb0,
    ShiftRightSigned = 0xc0,
}

/// A place in the program to jump to. Programs only jump forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Label(usize);

/// A program that is being written.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    code: Vec<u64>,
    labels: usize,
    places: HashMap<Label, usize>,
    jumps: Vec<(usize, Label)>,
}

const LOAD: u8 = 0x61;
const STORE: u8 = 0x63;
const STORE_NUMBER: u8 = 0x62;
const ADD_ATOMICALLY: u8 = 0xc3;
const NUMBER_64: u8 = 0x07;
const REG_64: u8 = 0x0f;
const JUMP: u8 = 0x05;
const JUMP_REG: u8 = 0x0d;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
/// A load of a 64-bit number, of which a source register says what it is.
const LOAD_64: u8 = 0x18;
const IS_MAP: u8 = 1;
const IS_VARIABLE: u8 = 3;

impl Assembler {
    fn push(&mut self, code: u8, to: u8, from: u8, offset: i16, number: i32) {
        let bytes = [code, from << 4 | to];
        let low = u64::from(u16::from_le_bytes(bytes));
        let word = low | u64::from(offset as u16) << 16 | u64::from(number as u32) << 32;
        self.code.push(word);
    }

    pub(super) fn label(&mut self) -> Label {
        self.labels += 1;
        Label(self.labels)
    }

    pub(super) fn place(&mut self, label: Label) {
        self.places.insert(label, self.code.len());
    }

    pub(super) fn load(&mut self, width: Width, to: Reg, from: Reg, offset: i16) {
        self.push(LOAD | width as u8, to as u8, from as u8, offset, 0);
    }

    pub(super) fn store(&mut self, width: Width, to: Reg, offset: i16, from: Reg) {
        self.push(STORE | width as u8, to as u8, from as u8, offset, 0);
    }

    pub(super) fn store_number(&mut self, width: Width, to: Reg, offset: i16, number: i32) {
        self.push(STORE_NUMBER | width as u8, to as u8, 0, offset, number);
    }

    /// Adds a register to a 64-bit number in memory, atomically.
    pub(super) fn add_atomically(&mut self, to: Reg, offset: i16, from: Reg) {
        let code = ADD_ATOMICALLY | Width::Double as u8;
        self.push(code, to as u8, from as u8, offset, 0);
    }

    pub(super) fn number(&mut self, op: Op, to: Reg, number: i32) {
        self.push(NUMBER_64 | op as u8, to as u8, 0, 0, number);
    }

    pub(super) fn reg(&mut self, op: Op, to: Reg, from: Reg) {
        self.push(REG_64 | op as u8, to as u8, from as u8, 0, 0);
    }

    pub(super) fn jump(&mut self, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.push(JUMP, 0, 0, 0, 0);
    }

    pub(super) fn jump_if(&mut self, reg: Reg, when: If, number: i32, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.push(JUMP | when as u8, reg as u8, 0, 0, number);
    }

    pub(super) fn jump_if_reg(&mut self, reg: Reg, when: If, other: Reg, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.push(JUMP_REG | when as u8, reg as u8, other as u8, 0, 0);
    }

    pub(super) fn call(&mut self, helper: Helper) {
        self.push(CALL, 0, 0, 0, helper as i32);
    }

    /// Loads a map, by its descriptor.
    pub(super) fn map(&mut self, to: Reg, descriptor: i32) {
        self.push(LOAD_64, to as u8, IS_MAP, 0, descriptor);
        self.push(0, 0, 0, 0, 0);
    }

    /// Loads the address of a variable of the kernel, by its number in BTF.
    pub(super) fn variable(&mut self, to: Reg, number: u32) {
        self.push(LOAD_64, to as u8, IS_VARIABLE, 0, number as i32);
        self.push(0, 0, 0, 0, 0);
    }

    pub(super) fn exit(&mut self) {
        self.number(Op::Move, Reg::R0, 0);
        self.push(EXIT, 0, 0, 0, 0);
    }

    /// The finished program.
    pub(super) fn finish(mut self) -> Vec<u64> {
        for (at, label) in self.jumps {
            let to = self.places.get(&label).copied().unwrap_or(at);
            let distance = (to as i64 - at as i64 - 1) as u16;
            self.code[at] |= u64::from(distance) << 16;
        }
        self.code
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_as_the_kernel_reads_them() {
        let mut asm = Assembler::default();
        let end = asm.label();
        asm.load(Width::Double, Reg::R6, Reg::R1, 8);
        asm.jump_if(Reg::R6, If::SignedLess, 0, end);
        asm.store_number(Width::Word, Reg::Frame, -8, 7);
        asm.place(end);
        asm.exit();
        let expected = [
            0x0000_0000_0008_1679,
            0x0000_0000_0001_06c5,
            0x0000_0007_fff8_0a62,
            0x0000_0000_0000_00b7,
            0x0000_0000_0000_0095,
        ];
        assert_eq!(asm.finish(), expected);
    }
}
