//! Programs at the entry or the exit of functions that copy, which add up the copied bytes by
//! process and hop. They need a kernel that can attach programs to its functions (fentry, fexit).

use std::io;

use super::assembler::{Helper, If, Label, Op, Reg, Width};
use super::frame::{KEY, Writer};
use super::functions::{Amount, Term};
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
fn move_from(w: &mut Writer<'_>, other: CopyHop, out: Label) {
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
    let Amount::All(bytes) = term.bytes else {
        return load_head(w, btf);
    };
    match bytes {
        Bytes::Returned => w.asm.load(Width::Double, Reg::R8, Reg::R1, result),
        Bytes::ReturnedInt => {
            w.asm.load(Width::Double, Reg::R8, Reg::R1, result);
            lower_half(w, Op::ShiftRightSigned);
        }
        Bytes::Argument(number) => {
            let at = 8 * (i16::from(*number) - 1);
            w.asm.load(Width::Double, Reg::R8, Reg::R1, at);
            lower_half(w, Op::ShiftRight);
        }
        Bytes::Field { structure, name } => {
            w.asm.load(Width::Double, Reg::R7, Reg::R1, 0);
            let at = offset(btf, structure, name)?;
            w.follow_small(Width::Word, Reg::R8, Reg::R7, at);
        }
    }
    Ok(())
}

/// Leaves of R8 only its lower 32 bits, with or without a sign.
fn lower_half(w: &mut Writer<'_>, back: Op) {
    w.asm.number(Op::ShiftLeft, Reg::R8, 32);
    w.asm.number(back, Reg::R8, 32);
}

/// In `skb_shared_info.dataref`: how many refer to the data; above that, how many to the payload.
const REFERENCES: i32 = 0xffff;

/// At the exit of `skb_splice_bits(skb, sk, offset, pipe, length, flags)`: loads into R8 how many
/// of the spliced bytes were copied, because they lay in the packet's head, and that is not made of
/// pages, or is shared (`skb_head_is_locked`).
fn load_head(w: &mut Writer<'_>, btf: &Btf) -> io::Result<()> {
    const OFFSET: i16 = 16;
    const RESULT: i16 = 48;
    let bit = |field: &str| {
        btf.bit("sk_buff", field).ok_or_else(|| {
            io::Error::other(format!(
                "the kernel's BTF does not tell where sk_buff keeps {field}"
            ))
        })
    };
    let (of_pages, cloned) = (bit("head_frag")?, bit("cloned")?);
    let (nothing, copied, done) = (w.asm.label(), w.asm.label(), w.asm.label());
    w.asm.load(Width::Double, Reg::R7, Reg::R1, 0);
    w.asm.load(Width::Word, Reg::R9, Reg::R1, OFFSET);
    w.asm.load(Width::Double, Reg::R8, Reg::R1, RESULT);
    lower_half(w, Op::ShiftRightSigned);
    w.asm.jump_if(Reg::R8, If::SignedAtMost, 0, done);
    // R6 is how much of the head was left to be spliced.
    w.follow_small(
        Width::Word,
        Reg::R6,
        Reg::R7,
        offset(btf, "sk_buff", "len")?,
    );
    let rest = offset(btf, "sk_buff", "data_len")?;
    w.follow_small(Width::Word, Reg::R1, Reg::R7, rest);
    w.asm.reg(Op::Sub, Reg::R6, Reg::R1);
    w.asm.reg(Op::Sub, Reg::R6, Reg::R9);
    w.asm.jump_if(Reg::R6, If::SignedAtMost, 0, nothing);
    w.follow_small(Width::Byte, Reg::R1, Reg::R7, of_pages.0 as i32);
    w.asm.number(Op::And, Reg::R1, i32::from(of_pages.1));
    w.asm.jump_if(Reg::R1, If::Equal, 0, copied);
    w.follow_small(Width::Byte, Reg::R1, Reg::R7, cloned.0 as i32);
    w.asm.number(Op::And, Reg::R1, i32::from(cloned.1));
    w.asm.jump_if(Reg::R1, If::Equal, 0, nothing);
    w.follow(Reg::R9, Reg::R7, offset(btf, "sk_buff", "head")?);
    w.follow_small(
        Width::Word,
        Reg::R1,
        Reg::R7,
        offset(btf, "sk_buff", "end")?,
    );
    w.asm.reg(Op::Add, Reg::R9, Reg::R1);
    let references = offset(btf, "skb_shared_info", "dataref")?;
    w.follow_small(Width::Word, Reg::R1, Reg::R9, references);
    w.asm.number(Op::And, Reg::R1, REFERENCES);
    w.asm.jump_if(Reg::R1, If::NotEqual, 1, copied);
    w.asm.place(nothing);
    w.asm.number(Op::Move, Reg::R8, 0);
    w.asm.jump(done);
    w.asm.place(copied);
    w.asm.jump_if_reg(Reg::R6, If::AtLeast, Reg::R8, done);
    w.asm.reg(Op::Move, Reg::R8, Reg::R6);
    w.asm.place(done);
    Ok(())
}
