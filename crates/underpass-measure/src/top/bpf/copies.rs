//! Programs at the entry or the exit of functions that copy, which add up the copied bytes by
//! process and hop. They need a kernel that can attach programs to its functions (fentry, fexit).

use std::io;

use super::assembler::{Helper, If, Op, Reg, Width};
use super::frame::{KEY, Writer};
use super::functions::Term;
use super::layout::offset;
use super::maps;
use crate::btf::{Btf, KernelFunction};
use crate::probe::functions::Bytes;
use crate::top::CopyHop;

/// In the kernel's count of reasons not to be preempted: a softirq, an interrupt or an NMI is being
/// handled (linux/preempt.h).
const IN_INTERRUPT: i32 = 0x00ff_0100;

/// Where the kernel keeps that count, for each processor.
#[derive(Clone, Copy, Debug)]
pub(super) struct PreemptCount {
    variable: u32,
    offset: i16,
}

impl PreemptCount {
    /// It has changed its place several times.
    pub(super) fn find(btf: &Btf) -> Option<Self> {
        if let Some(variable) = btf.variable("__preempt_count") {
            return Some(Self {
                variable,
                offset: 0,
            });
        }
        let variable = btf.variable("pcpu_hot")?;
        let offset = btf.field("pcpu_hot", "preempt_count")?;
        Some(Self {
            variable,
            offset: offset as i16,
        })
    }
}

/// The program for one term. With a `count`, what is copied while an interrupt is handled counts
/// for nobody; functions that only run on behalf of the current process need none.
///
/// # Errors
///
/// The kernel does not describe what the term needs.
pub(super) fn program(
    mut w: Writer<'_>,
    term: &Term,
    function: KernelFunction,
    btf: &Btf,
    count: Option<PreemptCount>,
) -> io::Result<Vec<u64>> {
    let (out, in_interrupt, add) = (w.asm.label(), w.asm.label(), w.asm.label());
    load_bytes(&mut w, term, function, btf)?;
    w.asm.jump_if(Reg::R8, If::SignedAtMost, 0, out);
    if let Some(count) = count {
        w.asm.variable(Reg::R1, count.variable);
        w.asm.call(Helper::ThisCpu);
        w.asm.load(Width::Word, Reg::R1, Reg::R0, count.offset);
        w.asm
            .jump_if(Reg::R1, If::AnyBit, IN_INTERRUPT, in_interrupt);
    }
    w.task();
    w.process(out);
    w.asm.number(Op::Move, Reg::R1, term.hop as i32);
    w.key();
    if count.is_some() {
        w.asm.jump(add);
        w.asm.place(in_interrupt);
        nobody(&mut w, term.hop);
        w.asm.place(add);
    }
    w.count(w.maps.copies.number(), maps::COPY as i16, out);
    if !term.adds {
        w.asm.number(Op::Move, Reg::R1, 0);
        w.asm.reg(Op::Sub, Reg::R1, Reg::R8);
        w.asm.reg(Op::Move, Reg::R8, Reg::R1);
    }
    w.asm.add_atomically(Reg::R0, 0, Reg::R8);
    if let Some(other) = term.instead_of {
        move_from(&mut w, other, out);
    }
    w.asm.place(out);
    w.asm.exit();
    Ok(w.asm.finish())
}

/// Stores the key of what is copied for nobody in particular.
fn nobody(w: &mut Writer<'_>, hop: CopyHop) {
    let asm = &mut w.asm;
    asm.store_number(Width::Double, Reg::Frame, KEY, 0);
    asm.store_number(Width::Word, Reg::Frame, KEY + 8, 0);
    asm.store_number(Width::Word, Reg::Frame, KEY + 12, hop as i32);
}

/// Subtracts R8 from another hop, to which another function added it.
fn move_from(w: &mut Writer<'_>, other: CopyHop, out: super::assembler::Label) {
    w.asm
        .store_number(Width::Word, Reg::Frame, KEY + 12, other as i32);
    w.count(w.maps.copies.number(), maps::COPY as i16, out);
    w.asm.number(Op::Move, Reg::R1, 0);
    w.asm.reg(Op::Sub, Reg::R1, Reg::R8);
    w.asm.add_atomically(Reg::R0, 0, Reg::R1);
}

/// Loads the number of bytes into R8. R1 is the address of the arguments, after which comes the
/// result.
fn load_bytes(
    w: &mut Writer<'_>,
    term: &Term,
    function: KernelFunction,
    btf: &Btf,
) -> io::Result<()> {
    let result = 8 * function.parameters as i16;
    let upper_half = |w: &mut Writer<'_>, back: Op| {
        w.asm.number(Op::ShiftLeft, Reg::R8, 32);
        w.asm.number(back, Reg::R8, 32);
    };
    match &term.bytes {
        Bytes::Returned => w.asm.load(Width::Double, Reg::R8, Reg::R1, result),
        Bytes::ReturnedInt => {
            w.asm.load(Width::Double, Reg::R8, Reg::R1, result);
            upper_half(w, Op::ShiftRightSigned);
        }
        Bytes::Argument(number) => {
            let at = 8 * (i16::from(*number) - 1);
            w.asm.load(Width::Double, Reg::R8, Reg::R1, at);
            upper_half(w, Op::ShiftRight);
        }
        Bytes::Field { structure, name } => {
            w.asm.load(Width::Double, Reg::R7, Reg::R1, 0);
            let at = offset(btf, structure, name)?;
            w.follow_small(Width::Word, Reg::R8, Reg::R7, at);
        }
    }
    Ok(())
}
