//! What a descriptor is: found in the kernel at each call, so that a descriptor that was only open
//! for a moment is known too.

use super::assembler::{If, Label, Op, Reg, Width};
use super::frame::{DESCRIPTOR, FILE, Writer};
use crate::top::End;

/// The type in a file's mode (inode(7)), and its values.
const TYPE: i32 = 0xf000;
const REGULAR: i32 = 0x8000;
const BLOCK: i32 = 0x6000;
const SOCKET: i32 = 0xc000;
const FIFO: i32 = 0x1000;
const CHARACTER: i32 = 0x2000;

/// File systems whose content the kernel makes up (linux/magic.h): proc, sysfs, tracefs, debugfs,
/// cgroup, cgroup2, securityfs and configfs.
const OF_THE_KERNEL: [i32; 8] = [
    0x9fa0,
    0x6265_6572,
    0x7472_6163,
    0x6462_6720,
    0x0027_e0eb,
    0x6367_7270,
    0x7363_6673,
    0x6265_6570,
];

const O_DIRECT: i32 = libc::O_DIRECT;

const AF_UNIX: i32 = 1;
const AF_INET: i32 = 2;
const AF_INET6: i32 = 10;
const TCP: i32 = 6;
const UDP: i32 = 17;
/// The name of an upper protocol, as a number.
const TLS: i32 = i32::from_le_bytes(*b"tls\0");

/// Where the number of a device has its major part.
const MAJOR: i32 = 20;
/// Major numbers of terminals: the kernel's documentation of devices.
const CONSOLES: [i32; 2] = [4, 5];
const FIRST_PTY: i32 = 136;
const LAST_PTY: i32 = 143;

/// Stores the [`End`] that the descriptor R7 is at `slot`, and goes to `done`. R6 is the task. The
/// slot keeps its value if there is no such descriptor (any more). Leaves the file's address at
/// `FILE`.
pub(super) fn find(w: &mut Writer<'_>, slot: i16, done: Label) {
    find_file(w, done);
    classify(w, slot, done);
}

/// As [`find`], for the `struct file` at R7, which must be at `FILE` too.
pub(super) fn classify(w: &mut Writer<'_>, slot: i16, done: Label) {
    let layout = *w.layout;
    w.follow(Reg::R7, Reg::R7, layout.file_inode);
    w.follow_small(Width::Half, Reg::R1, Reg::R7, layout.inode_mode);
    w.asm.number(Op::And, Reg::R1, TYPE);
    let when = |w: &mut Writer<'_>, kind: i32| {
        let label = w.asm.label();
        w.asm.jump_if(Reg::R1, If::Equal, kind, label);
        label
    };
    let regular = when(w, REGULAR);
    let socket = when(w, SOCKET);
    let fifo = when(w, FIFO);
    let character = when(w, CHARACTER);
    let block = when(w, BLOCK);
    is(w, slot, End::Other, done);
    w.asm.place(regular);
    file(w, slot, done);
    w.asm.place(socket);
    find_socket(w, slot, done);
    w.asm.place(fifo);
    is(w, slot, End::Pipe, done);
    w.asm.place(character);
    device(w, slot, done);
    w.asm.place(block);
    is_file(w, slot, done);
}

fn is(w: &mut Writer<'_>, slot: i16, end: End, done: Label) {
    w.asm
        .store_number(Width::Double, Reg::Frame, slot, end as i32);
    w.asm.jump(done);
}

/// Finds the `struct file` of the descriptor R7.
fn find_file(w: &mut Writer<'_>, done: Label) {
    let layout = *w.layout;
    w.asm.store(Width::Double, Reg::Frame, DESCRIPTOR, Reg::R7);
    w.field(Width::Double, Reg::R7, Reg::R6, layout.task_files);
    w.asm.jump_if(Reg::R7, If::Equal, 0, done);
    w.field(Width::Double, Reg::R7, Reg::R7, layout.files_table);
    w.field(Width::Word, Reg::R1, Reg::R7, layout.table_size);
    w.asm.load(Width::Double, Reg::R2, Reg::Frame, DESCRIPTOR);
    w.asm.jump_if_reg(Reg::R2, If::AtLeast, Reg::R1, done);
    w.field(Width::Double, Reg::R7, Reg::R7, layout.table_files);
    w.asm.load(Width::Double, Reg::R2, Reg::Frame, DESCRIPTOR);
    w.asm.number(Op::ShiftLeft, Reg::R2, 3);
    w.asm.reg(Op::Add, Reg::R7, Reg::R2);
    w.follow(Reg::R7, Reg::R7, 0);
    w.asm.jump_if(Reg::R7, If::Equal, 0, done);
    w.asm.store(Width::Double, Reg::Frame, FILE, Reg::R7);
}

/// R7 is the inode of a regular file.
fn file(w: &mut Writer<'_>, slot: i16, done: Label) {
    let layout = *w.layout;
    let made_up = w.asm.label();
    w.follow(Reg::R7, Reg::R7, layout.inode_file_system);
    w.follow(Reg::R1, Reg::R7, layout.file_system_magic);
    for magic in OF_THE_KERNEL {
        w.asm.jump_if(Reg::R1, If::Equal, magic, made_up);
    }
    is_file(w, slot, done);
    w.asm.place(made_up);
    is(w, slot, End::KernelFile, done);
}

/// It is a file, read and written through the page cache or past it.
fn is_file(w: &mut Writer<'_>, slot: i16, done: Label) {
    let direct = w.asm.label();
    let flags = w.layout.file_flags;
    w.asm.load(Width::Double, Reg::R7, Reg::Frame, FILE);
    w.follow_small(Width::Word, Reg::R1, Reg::R7, flags);
    w.asm.jump_if(Reg::R1, If::AnyBit, O_DIRECT, direct);
    is(w, slot, End::File, done);
    w.asm.place(direct);
    is(w, slot, End::DirectFile, done);
}

fn find_socket(w: &mut Writer<'_>, slot: i16, done: Label) {
    let layout = *w.layout;
    let [other, unix, internet, tcp, udp, tls] = [(); 6].map(|()| w.asm.label());
    w.asm.load(Width::Double, Reg::R7, Reg::Frame, FILE);
    w.follow(Reg::R7, Reg::R7, layout.file_data);
    w.follow(Reg::R7, Reg::R7, layout.socket_sock);
    w.follow_small(Width::Half, Reg::R1, Reg::R7, layout.sock_family);
    w.asm.jump_if(Reg::R1, If::Equal, AF_UNIX, unix);
    w.asm.jump_if(Reg::R1, If::Equal, AF_INET, internet);
    w.asm.jump_if(Reg::R1, If::NotEqual, AF_INET6, other);
    w.asm.place(internet);
    w.follow_small(Width::Half, Reg::R1, Reg::R7, layout.sock_protocol);
    w.asm.jump_if(Reg::R1, If::Equal, TCP, tcp);
    w.asm.jump_if(Reg::R1, If::Equal, UDP, udp);
    w.asm.place(other);
    is(w, slot, End::OtherSocket, done);
    w.asm.place(unix);
    is(w, slot, End::Unix, done);
    w.asm.place(udp);
    is(w, slot, End::Udp, done);
    w.asm.place(tcp);
    w.follow(Reg::R7, Reg::R7, layout.tcp_upper);
    w.follow_small(Width::Word, Reg::R1, Reg::R7, layout.upper_name);
    w.asm.jump_if(Reg::R1, If::Equal, TLS, tls);
    is(w, slot, End::Tcp, done);
    w.asm.place(tls);
    is(w, slot, End::KernelTls, done);
}

/// R7 is the inode of a character device.
fn device(w: &mut Writer<'_>, slot: i16, done: Label) {
    let (terminal, other) = (w.asm.label(), w.asm.label());
    let number = w.layout.inode_device;
    w.follow_small(Width::Word, Reg::R1, Reg::R7, number);
    w.asm.number(Op::ShiftRight, Reg::R1, MAJOR);
    for major in CONSOLES {
        w.asm.jump_if(Reg::R1, If::Equal, major, terminal);
    }
    w.asm.number(Op::Sub, Reg::R1, FIRST_PTY);
    w.asm
        .jump_if(Reg::R1, If::Greater, LAST_PTY - FIRST_PTY, other);
    w.asm.place(terminal);
    is(w, slot, End::Terminal, done);
    w.asm.place(other);
    is(w, slot, End::Other, done);
}
