//! The program that counts what io_uring(7) moves: at each completion, whoever runs meanwhile.

use std::io;

use super::assembler::{If, Label, Op, Reg, Width};
use super::frame::{CALL, DESCRIPTOR, FILE, PID, TO, Writer};
use super::layout::offset;
use super::maps;
use crate::btf::Btf;
use crate::top::{CallFamily, End};

pub(super) const NOT_COUNTED: &str = "what io_uring moves is not counted";

/// Numbers of operations (`enum io_uring_op`): reads and receives; writes and sends; sends without
/// a copy; splice and tee.
const IN: [i32; 7] = [1, 4, 10, 22, 27, 49, 60];
const OUT: [i32; 6] = [2, 5, 9, 23, 26, 61];
const ZEROCOPY: [i32; 2] = [47, 48];
const SPLICE: [i32; 2] = [30, 33];

/// Where the request and its result are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    operation: i32,
    file: i32,
    owner: Owner,
    /// Whether the tracepoint gives the completion queue's entry, and not the result itself.
    gives_entry: bool,
}

/// How to find the task that made a request.
#[derive(Clone, Copy, Debug)]
enum Owner {
    Task(i32),
    /// Through its context.
    Context(i32, i32),
}

/// The result in a `struct io_uring_cqe`.
const RESULT: i32 = 8;

impl Places {
    pub(super) fn find(btf: &Btf) -> io::Result<Self> {
        let owner = match btf.field("io_kiocb", "task") {
            Some(at) => Owner::Task(at as i32),
            None => Owner::Context(
                offset(btf, "io_kiocb", "tctx")?,
                offset(btf, "io_uring_task", "task")?,
            ),
        };
        let parameters = btf.tracepoint_parameters("io_uring_complete");
        let gives_entry = match parameters {
            Some(3) => true,
            Some(5..=7) => false,
            _ => {
                let why = "the kernel's BTF does not tell the tracepoint io_uring_complete";
                return Err(io::Error::other(why));
            }
        };
        Ok(Self {
            operation: offset(btf, "io_kiocb", "opcode")?,
            file: offset(btf, "io_kiocb", "file")?,
            owner,
            gives_entry,
        })
    }
}

/// The program. R6 is the task, R7 the request, R8 the result, R9 the process.
pub(super) fn program(mut w: Writer<'_>, places: Places) -> Vec<u64> {
    let out = w.asm.label();
    w.asm.load(Width::Double, Reg::R7, Reg::R1, 8);
    // A completion without a request: another one of a multishot request.
    w.asm.jump_if(Reg::R7, If::Equal, 0, out);
    w.asm.store(Width::Double, Reg::Frame, DESCRIPTOR, Reg::R7);
    if places.gives_entry {
        w.asm.load(Width::Double, Reg::R8, Reg::R1, 16);
        w.follow_small(Width::Word, Reg::R8, Reg::R8, RESULT);
    } else {
        w.asm.load(Width::Double, Reg::R8, Reg::R1, 24);
    }
    w.asm.number(Op::ShiftLeft, Reg::R8, 32);
    w.asm.number(Op::ShiftRightSigned, Reg::R8, 32);
    w.asm.jump_if(Reg::R8, If::SignedAtMost, 0, out);
    find_family(&mut w, places.operation, out);
    match places.owner {
        Owner::Task(at) => w.follow(Reg::R6, Reg::R7, at),
        Owner::Context(context, task) => {
            w.follow(Reg::R6, Reg::R7, context);
            w.follow(Reg::R6, Reg::R6, task);
        }
    }
    let number = w.layout.task_tgid;
    w.follow_small(Width::Word, Reg::R1, Reg::R6, number);
    w.asm.jump_if(Reg::R1, If::Equal, 0, out);
    w.asm.store(Width::Word, Reg::Frame, PID, Reg::R1);
    w.process_of_pid(out);
    find_end(&mut w, places.file);
    count(&mut w, out);
    w.asm.place(out);
    w.asm.exit();
    w.asm.finish()
}

/// Stores the family at `CALL`; goes to `out` if the operation moves nothing.
fn find_family(w: &mut Writer<'_>, operation: i32, out: Label) {
    let done = w.asm.label();
    w.follow_small(Width::Byte, Reg::R1, Reg::R7, operation);
    let families: [(&[i32], CallFamily); 4] = [
        (&IN, CallFamily::UringIn),
        (&OUT, CallFamily::UringOut),
        (&ZEROCOPY, CallFamily::UringZerocopySend),
        (&SPLICE, CallFamily::UringSplice),
    ];
    for (operations, family) in families {
        w.asm
            .store_number(Width::Double, Reg::Frame, CALL, family as i32);
        for &operation in operations {
            w.asm.jump_if(Reg::R1, If::Equal, operation, done);
        }
    }
    w.asm.jump(out);
    w.asm.place(done);
}

/// Stores what the request's file is at `TO`.
fn find_end(w: &mut Writer<'_>, file: i32) {
    let done = w.asm.label();
    let unknown = End::Unknown as i32;
    w.asm.store_number(Width::Double, Reg::Frame, TO, unknown);
    w.asm.load(Width::Double, Reg::R7, Reg::Frame, DESCRIPTOR);
    w.follow(Reg::R7, Reg::R7, file);
    w.asm.jump_if(Reg::R7, If::Equal, 0, done);
    w.asm.store(Width::Double, Reg::Frame, FILE, Reg::R7);
    super::ends::classify(w, TO, done);
    w.asm.place(done);
}

fn count(w: &mut Writer<'_>, out: Label) {
    let (other_way, both) = (w.asm.label(), w.asm.label());
    w.asm.load(Width::Double, Reg::R1, Reg::Frame, CALL);
    w.asm.load(Width::Double, Reg::R2, Reg::Frame, TO);
    w.asm
        .jump_if(Reg::R1, If::Equal, CallFamily::UringIn as i32, other_way);
    w.asm.number(Op::ShiftLeft, Reg::R2, 16);
    w.asm
        .jump_if(Reg::R1, If::NotEqual, CallFamily::UringSplice as i32, both);
    w.asm.number(Op::Or, Reg::R2, (End::Unknown as i32) << 8);
    w.asm.jump(both);
    w.asm.place(other_way);
    w.asm.number(Op::ShiftLeft, Reg::R2, 8);
    w.asm.place(both);
    w.asm.reg(Op::Or, Reg::R1, Reg::R2);
    w.key();
    w.count(w.maps.calls.number(), maps::CALL as i16, out);
    w.asm.number(Op::Move, Reg::R1, 1);
    w.asm.add_atomically(Reg::R0, 0, Reg::R1);
    w.asm.add_atomically(Reg::R0, 8, Reg::R8);
}
