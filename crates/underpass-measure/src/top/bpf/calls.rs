//! The program that counts each system call as it returns: whose it is, what it moved, and between
//! which ends.

use super::assembler::{Helper, If, Label, Op, Reg, Width};
use super::frame::{CALL, FILE, FROM, REGS, SCRATCH, TO, Writer};
use super::maps::{self, process};
use super::table::{Look, OLD, Place};
use crate::top::{CallFamily, End};

/// The bytes of `struct pt_regs` of x86.
const REGS_BYTES: i32 = 168;
/// In `thread_info.status`: the call is a 32-bit one (`TS_COMPAT`).
const IS_OLD: i32 = 2;
const MSG_ZEROCOPY: i32 = 0x0400_0000;
/// In `file.f_mode`: it is open for writing (`FMODE_WRITE`).
const WRITABLE: i32 = 2;
/// How many messages of one call are added up.
const MESSAGES: i32 = 32;
/// The bytes of `struct mmsghdr`, and where it says how long its message was.
const MESSAGE: i32 = 64;
const MESSAGE_LENGTH: i32 = 56;
/// Where a `struct msghdr` has the address of its vector.
const MESSAGE_VECTOR: i32 = 16;

// What an encoded call says where.
const FAMILY: i16 = CALL + 1;
const COMES_FROM: i16 = CALL + 2;
const GOES_TO: i16 = CALL + 3;
const LOOK: i16 = CALL + 4;

/// The program. R6 is the task, R8 the result, R9 the process.
pub(super) fn program(mut w: Writer<'_>) -> Vec<u64> {
    let out = w.asm.label();
    w.asm.load(Width::Double, Reg::R7, Reg::R1, 0);
    w.asm.load(Width::Double, Reg::R8, Reg::R1, 8);
    w.task();
    w.process(out);
    w.asm.number(Op::Move, Reg::R1, 1);
    w.asm.add_atomically(Reg::R9, process::CALLS, Reg::R1);
    // It failed.
    w.asm.jump_if(Reg::R8, If::SignedLess, 0, out);
    find_call(&mut w, out);
    w.asm.store_number(Width::Double, Reg::Frame, FILE, 0);
    find_end(&mut w, COMES_FROM, FROM);
    find_end(&mut w, GOES_TO, TO);
    look_closer(&mut w);
    count(&mut w, out);
    w.asm.place(out);
    w.asm.exit();
    w.asm.finish()
}

/// Leaves the arguments at `REGS`, and what the call is at `CALL`. R7 is the address of the
/// registers. Goes to `out` if the call does not matter.
fn find_call(w: &mut Writer<'_>, out: Label) {
    let layout = *w.layout;
    let is_new = w.asm.label();
    read_registers(w);
    let regs = |offset: i32| REGS + offset as i16;
    w.asm
        .load(Width::Double, Reg::R7, Reg::Frame, regs(layout.regs_number));
    w.asm.jump_if(Reg::R7, If::AtLeast, OLD as i32, out);
    let status = layout.task_thread + layout.thread_status;
    w.field(Width::Word, Reg::R1, Reg::R6, status);
    w.asm.number(Op::And, Reg::R1, IS_OLD);
    w.asm.jump_if(Reg::R1, If::Equal, 0, is_new);
    w.asm.number(Op::Add, Reg::R7, OLD as i32);
    for (old, new) in [
        (layout.regs_old_first, layout.regs_first),
        (layout.regs_old_second, layout.regs_second),
    ] {
        w.asm.load(Width::Double, Reg::R1, Reg::Frame, regs(old));
        w.asm.store(Width::Double, Reg::Frame, regs(new), Reg::R1);
    }
    w.asm.place(is_new);
    w.asm.store(Width::Word, Reg::Frame, SCRATCH, Reg::R7);
    w.look_up(w.maps.table.number(), SCRATCH);
    w.asm.jump_if(Reg::R0, If::Equal, 0, out);
    w.asm.load(Width::Double, Reg::R7, Reg::R0, 0);
    w.asm.jump_if(Reg::R7, If::Equal, 0, out);
    w.asm.store(Width::Double, Reg::Frame, CALL, Reg::R7);
}

/// Leaves those registers at `REGS` that say something. R7 is their address.
fn read_registers(w: &mut Writer<'_>) {
    if !w.is_typed {
        return w.read(REGS, REGS_BYTES, Reg::R7, 0);
    }
    let layout = w.layout;
    for at in [
        layout.regs_number,
        layout.regs_first,
        layout.regs_second,
        layout.regs_third,
        layout.regs_fourth,
        layout.regs_old_first,
        layout.regs_old_second,
    ] {
        w.asm.load(Width::Double, Reg::R1, Reg::R7, at as i16);
        w.asm
            .store(Width::Double, Reg::Frame, REGS + at as i16, Reg::R1);
    }
}

/// Finds what is at the [`Place`] that is stored at `place`, and stores the [`End`] at `slot`.
fn find_end(w: &mut Writer<'_>, place: i16, slot: i16) {
    let layout = *w.layout;
    let (done, found) = (w.asm.label(), w.asm.label());
    let is = |w: &mut Writer<'_>, end: End| {
        w.asm
            .store_number(Width::Double, Reg::Frame, slot, end as i32);
    };
    w.asm.load(Width::Byte, Reg::R1, Reg::Frame, place);
    is(w, End::Memory);
    w.asm
        .jump_if(Reg::R1, If::Equal, Place::Memory as i32, done);
    is(w, End::Process);
    w.asm
        .jump_if(Reg::R1, If::Equal, Place::Process as i32, done);
    is(w, End::Unknown);
    for (argument, which) in [
        (layout.regs_first, Place::First),
        (layout.regs_second, Place::Second),
        (layout.regs_third, Place::Third),
    ] {
        let at = REGS + argument as i16;
        w.asm.load(Width::Word, Reg::R7, Reg::Frame, at);
        w.asm.jump_if(Reg::R1, If::Equal, which as i32, found);
    }
    w.asm.place(found);
    super::ends::find(w, slot, done);
    w.asm.place(done);
}

/// Looks at the flags and the data of calls that have some.
fn look_closer(w: &mut Writer<'_>) {
    let (done, towards, messages) = (w.asm.label(), w.asm.label(), w.asm.label());
    w.asm.load(Width::Byte, Reg::R7, Reg::Frame, LOOK);
    w.asm
        .jump_if(Reg::R7, If::Equal, Look::Nothing as i32, done);
    w.asm
        .jump_if(Reg::R7, If::Equal, Look::Direction as i32, towards);
    look_at_flags(w);
    w.asm.load(Width::Double, Reg::R1, Reg::Frame, TO);
    w.asm
        .jump_if(Reg::R1, If::NotEqual, End::Tcp as i32, messages);
    look_at_data(w, messages);
    w.asm.place(messages);
    w.asm
        .jump_if(Reg::R7, If::NotEqual, Look::Messages as i32, done);
    add_up_messages(w, done);
    w.asm.place(towards);
    // vmsplice(2) at the end of a pipe that is read: from the pipe into memory.
    w.asm.load(Width::Double, Reg::R7, Reg::Frame, FILE);
    let mode = w.layout.file_mode;
    w.follow_small(Width::Word, Reg::R1, Reg::R7, mode);
    w.asm.jump_if(Reg::R1, If::AnyBit, WRITABLE, done);
    w.asm.load(Width::Double, Reg::R1, Reg::Frame, TO);
    w.asm.store(Width::Double, Reg::Frame, FROM, Reg::R1);
    w.asm
        .store_number(Width::Double, Reg::Frame, TO, End::Memory as i32);
    w.asm.place(done);
}

/// Whether a send has `MSG_ZEROCOPY`. R7 says what to look at.
fn look_at_flags(w: &mut Writer<'_>) {
    let (third, fourth) = (w.layout.regs_third, w.layout.regs_fourth);
    let (have, none) = (w.asm.label(), w.asm.label());
    w.asm.load(Width::Byte, Reg::R1, Reg::Frame, FAMILY);
    w.asm
        .jump_if(Reg::R1, If::NotEqual, CallFamily::Send as i32, none);
    w.asm
        .load(Width::Double, Reg::R1, Reg::Frame, REGS + third as i16);
    w.asm
        .jump_if(Reg::R7, If::Equal, Look::Message as i32, have);
    w.asm
        .load(Width::Double, Reg::R1, Reg::Frame, REGS + fourth as i16);
    w.asm.place(have);
    w.asm.number(Op::And, Reg::R1, MSG_ZEROCOPY);
    w.asm.jump_if(Reg::R1, If::Equal, 0, none);
    let family = CallFamily::ZerocopySend as i32;
    w.asm.store_number(Width::Byte, Reg::Frame, FAMILY, family);
    w.asm.place(none);
}

/// Whether what is written to a TCP socket begins as a TLS record does (RFC 8446, section 5.1): its
/// type, its version, and its length, which is at most 2¹⁴ + 256. Goes to `no` if not.
fn look_at_data(w: &mut Writer<'_>, no: Label) {
    let (vector, data) = (w.asm.label(), w.asm.label());
    let second = REGS + w.layout.regs_second as i16;
    w.asm.load(Width::Double, Reg::R3, Reg::Frame, second);
    w.asm.jump_if(Reg::R7, If::Equal, Look::Data as i32, data);
    w.asm
        .jump_if(Reg::R7, If::Equal, Look::DataAndFlags as i32, data);
    w.asm
        .jump_if(Reg::R7, If::Equal, Look::Vector as i32, vector);
    w.asm.number(Op::Add, Reg::R3, MESSAGE_VECTOR);
    read_user(w, 8, no);
    w.asm.load(Width::Double, Reg::R3, Reg::Frame, SCRATCH);
    w.asm.place(vector);
    read_user(w, 8, no);
    w.asm.load(Width::Double, Reg::R3, Reg::Frame, SCRATCH);
    w.asm.place(data);
    read_user(w, 5, no);
    let byte = |w: &mut Writer<'_>, at: i16| {
        w.asm.load(Width::Byte, Reg::R1, Reg::Frame, SCRATCH + at);
    };
    byte(w, 0);
    w.asm.number(Op::Sub, Reg::R1, 20);
    w.asm.jump_if(Reg::R1, If::Greater, 3, no);
    byte(w, 1);
    w.asm.jump_if(Reg::R1, If::NotEqual, 3, no);
    byte(w, 2);
    w.asm.jump_if(Reg::R1, If::Greater, 4, no);
    byte(w, 3);
    w.asm.jump_if(Reg::R1, If::Greater, 0x41, no);
    let end = End::ProgramTls as i32;
    w.asm.store_number(Width::Double, Reg::Frame, TO, end);
}

/// Replaces the number of messages, R8, by the sum of their bytes; by -1 if that is not known.
fn add_up_messages(w: &mut Writer<'_>, done: Label) {
    let (sum, unknown) = (w.asm.label(), w.asm.label());
    let second = REGS + w.layout.regs_second as i16;
    w.asm.number(Op::Move, Reg::R7, 0);
    for message in 0..MESSAGES {
        w.asm.jump_if(Reg::R8, If::SignedAtMost, message, sum);
        w.asm.load(Width::Double, Reg::R3, Reg::Frame, second);
        let length = message * MESSAGE + MESSAGE_LENGTH;
        w.asm.number(Op::Add, Reg::R3, length);
        read_user(w, 4, unknown);
        w.asm.load(Width::Word, Reg::R1, Reg::Frame, SCRATCH);
        w.asm.reg(Op::Add, Reg::R7, Reg::R1);
    }
    w.asm.jump_if(Reg::R8, If::SignedAtMost, MESSAGES, sum);
    w.asm.place(unknown);
    w.asm.number(Op::Move, Reg::R7, -1);
    w.asm.place(sum);
    w.asm.reg(Op::Move, Reg::R8, Reg::R7);
    w.asm.jump(done);
}

/// Reads the program's memory at R3 into the frame at `SCRATCH`; goes to `no` if it is not there.
fn read_user(w: &mut Writer<'_>, bytes: i32, no: Label) {
    w.address(Reg::R1, SCRATCH);
    w.asm.number(Op::Move, Reg::R2, bytes);
    w.asm.call(Helper::ReadUser);
    w.asm.jump_if(Reg::R0, If::NotEqual, 0, no);
}

/// Counts the call. R8 is its bytes, or below 0 if they are not known.
fn count(w: &mut Writer<'_>, out: Label) {
    let unknown = w.asm.label();
    w.asm.load(Width::Byte, Reg::R1, Reg::Frame, FAMILY);
    for (slot, shift) in [(FROM, 8), (TO, 16)] {
        w.asm.load(Width::Double, Reg::R2, Reg::Frame, slot);
        w.asm.number(Op::ShiftLeft, Reg::R2, shift);
        w.asm.reg(Op::Or, Reg::R1, Reg::R2);
    }
    w.key();
    w.count(w.maps.calls.number(), maps::CALL as i16, out);
    w.asm.number(Op::Move, Reg::R1, 1);
    w.asm.add_atomically(Reg::R0, 0, Reg::R1);
    w.asm.jump_if(Reg::R8, If::SignedLess, 0, unknown);
    w.asm.add_atomically(Reg::R0, 8, Reg::R8);
    w.asm.jump(out);
    w.asm.place(unknown);
    w.asm.add_atomically(Reg::R0, 16, Reg::R1);
}
