//! A policy that keeps one thread from one option of sockets (seccomp(2)).
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::io;

/// Has setsockopt(2) fail with EPERM in this thread from now on, for this level and name.
#[cfg(target_arch = "x86_64")]
pub(crate) fn refuse_option(level: c_int, name: c_int) -> io::Result<()> {
    // Offsets in `struct seccomp_data`: the number of the call, and its second and third argument.
    let (number, second, third) = (0, 24, 32);
    let load = |offset| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset);
    let unless = |value, skip| libc::sock_filter {
        jf: skip,
        ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, value)
    };
    let answer = |value| statement(libc::BPF_RET | libc::BPF_K, value);
    let mut lines = [
        load(number),
        unless(libc::SYS_setsockopt as u32, 5),
        load(second),
        unless(level as u32, 3),
        load(third),
        unless(name as u32, 1),
        answer(libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        answer(libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: lines.len() as u16,
        filter: lines.as_mut_ptr(),
    };
    // SAFETY: these options take numbers, and the address of a program whose lines outlive the
    // call; the kernel copies them.
    let set = unsafe {
        if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 {
            return Err(io::Error::last_os_error());
        }
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        )
    };
    match set {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(target_arch = "x86_64")]
fn statement(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    }
}
