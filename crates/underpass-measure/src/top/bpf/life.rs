//! Programs that follow the life of processes: their start, their page faults, their names after
//! exec, and their end.

use super::assembler::{Helper, If, Op, Reg, Width};
use super::frame::{KEY, PID, PROCESS, Writer};
use super::maps::{self, process};
use crate::top::{CallFamily, End};

/// The bits of a page's number in an address, on x86.
const PAGE_BITS: i32 = 12;

/// At `sched:sched_process_fork`: makes the entry of a new process. Its parent may have ended
/// before its first call.
pub(super) fn fork(mut w: Writer<'_>) -> Vec<u64> {
    let out = w.asm.label();
    let layout = *w.layout;
    w.asm.load(Width::Double, Reg::R6, Reg::R1, 8);
    w.follow_small(Width::Word, Reg::R7, Reg::R6, layout.task_tgid);
    w.asm.store(Width::Word, Reg::Frame, PID, Reg::R7);
    w.asm.call(Helper::CurrentPidTgid);
    w.asm.number(Op::ShiftRight, Reg::R0, 32);
    // It is a thread.
    w.asm.jump_if_reg(Reg::R0, If::Equal, Reg::R7, out);
    w.process_of_pid(out);
    w.asm.place(out);
    w.asm.exit();
    w.asm.finish()
}

/// At `exceptions:page_fault_user`: counts the page fault.
pub(super) fn fault(mut w: Writer<'_>) -> Vec<u64> {
    let out = w.asm.label();
    w.task();
    w.process(out);
    w.asm.number(Op::Move, Reg::R1, 1);
    w.asm.add_atomically(Reg::R9, process::FAULTS, Reg::R1);
    w.asm.place(out);
    w.asm.exit();
    w.asm.finish()
}

/// At `filemap:mm_filemap_map_pages`: counts pages of a file that a page fault makes accessible,
/// unless the file is the program itself.
pub(super) fn mapped(mut w: Writer<'_>) -> Vec<u64> {
    let out = w.asm.label();
    let layout = *w.layout;
    w.asm.load(Width::Double, Reg::R9, Reg::R1, 0);
    w.asm.load(Width::Double, Reg::R7, Reg::R1, 8);
    w.asm.load(Width::Double, Reg::R8, Reg::R1, 16);
    w.asm.reg(Op::Sub, Reg::R8, Reg::R7);
    w.asm.number(Op::Add, Reg::R8, 1);
    w.asm.number(Op::ShiftLeft, Reg::R8, PAGE_BITS);
    w.task();
    w.follow(Reg::R7, Reg::R9, layout.mapping_inode);
    w.follow(Reg::R1, Reg::R6, layout.task_memory);
    w.follow(Reg::R1, Reg::R1, layout.memory_program);
    w.follow(Reg::R1, Reg::R1, layout.file_inode);
    w.asm.jump_if_reg(Reg::R1, If::Equal, Reg::R7, out);
    w.process(out);
    let (family, from, to) = (CallFamily::MmapFault, End::File, End::Memory);
    let what = family as i32 | (from as i32) << 8 | (to as i32) << 16;
    w.asm.number(Op::Move, Reg::R1, what);
    w.key();
    w.count(w.maps.calls.number(), maps::CALL as i16, out);
    w.asm.number(Op::Move, Reg::R1, 1);
    w.asm.add_atomically(Reg::R0, 0, Reg::R1);
    w.asm.add_atomically(Reg::R0, 8, Reg::R8);
    w.asm.place(out);
    w.asm.exit();
    w.asm.finish()
}

/// At `sched:sched_process_exec`: a process has become another program.
pub(super) fn exec(mut w: Writer<'_>) -> Vec<u64> {
    let out = w.asm.label();
    w.task();
    w.pid(out);
    w.look_up(w.maps.processes.number(), PID);
    w.asm.jump_if(Reg::R0, If::Equal, 0, out);
    w.asm.reg(Op::Move, Reg::R9, Reg::R0);
    let name = w.layout.task_name;
    w.read(PROCESS, 16, Reg::R6, name);
    for half in [0, 8] {
        w.asm
            .load(Width::Double, Reg::R1, Reg::Frame, PROCESS + half);
        w.asm
            .store(Width::Double, Reg::R9, process::NAME + half, Reg::R1);
    }
    w.asm.place(out);
    w.asm.exit();
    w.asm.finish()
}

/// At `sched:sched_process_exit`: if this is the last thread, the process moves to those that
/// ended, with its CPU time, and its number is free for another.
pub(super) fn exit(mut w: Writer<'_>) -> Vec<u64> {
    let out = w.asm.label();
    let layout = *w.layout;
    w.task();
    w.follow(Reg::R8, Reg::R6, layout.task_signal);
    w.follow_small(Width::Word, Reg::R1, Reg::R8, layout.signal_live);
    w.asm.jump_if(Reg::R1, If::NotEqual, 0, out);
    w.pid(out);
    w.look_up(w.maps.processes.number(), PID);
    w.asm.jump_if(Reg::R0, If::Equal, 0, out);
    w.asm.reg(Op::Move, Reg::R9, Reg::R0);
    for at in (0..process::BYTES as i16).step_by(8) {
        w.asm.load(Width::Double, Reg::R1, Reg::R9, at);
        w.asm
            .store(Width::Double, Reg::Frame, PROCESS + at, Reg::R1);
    }
    // It may have taken another name since its first call.
    w.follow(Reg::R7, Reg::R6, layout.task_leader);
    w.read(PROCESS + process::NAME, 16, Reg::R7, layout.task_name);
    w.follow(Reg::R7, Reg::R8, layout.signal_runtime);
    w.follow(Reg::R1, Reg::R6, layout.task_sched + layout.sched_runtime);
    w.asm.reg(Op::Add, Reg::R7, Reg::R1);
    let runtime = PROCESS + process::RUNTIME;
    w.asm.store(Width::Double, Reg::Frame, runtime, Reg::R7);
    w.asm.load(Width::Double, Reg::R1, Reg::R9, process::START);
    w.asm.store(Width::Double, Reg::Frame, KEY, Reg::R1);
    w.asm.load(Width::Word, Reg::R1, Reg::R9, process::PID);
    w.asm.store(Width::Double, Reg::Frame, KEY + 8, Reg::R1);
    w.update(w.maps.ended.number(), KEY, PROCESS, false);
    w.asm.reg(Op::Move, Reg::R7, Reg::R0);
    w.asm.map(Reg::R1, w.maps.processes.number());
    w.address(Reg::R2, PID);
    w.asm.call(Helper::Delete);
    w.asm.jump_if(Reg::R7, If::Equal, 0, out);
    w.lose(out);
    w.asm.place(out);
    w.asm.exit();
    w.asm.finish()
}
