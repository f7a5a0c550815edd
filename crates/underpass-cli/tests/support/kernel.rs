//! A kernel without resources, or one that refuses calls: only for the program under test.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Dir, needs, program::collected, underpass};

/// A Python that every user may run.
const PYTHON: &str = "/usr/bin/python3";

/// Takes all the pipe pages that a user may have, and becomes the program. Other processes of this
/// user may hold some too, so the last pages are taken by pipes of the default size, until there
/// are none left.
const HOARD: &str = "
import fcntl, os, sys
SET_SIZE, GET_SIZE = 1031, 1032
held = []
while len(held) < 200:
    ends = os.pipe()
    held.append(ends)
    if fcntl.fcntl(ends[1], GET_SIZE) < 1 << 16:
        break
    try:
        fcntl.fcntl(ends[1], SET_SIZE, 1 << 20)
    except PermissionError:
        pass
for ends in held:
    os.set_inheritable(ends[0], True)
os.execv(sys.argv[1], sys.argv[1:])
";

/// The program as an unprivileged user that already has all the pipe pages it may have (pipe(7),
/// pipe-user-pages-soft). `None` if that cannot be done.
pub(crate) fn without_pipes(dir: &Dir, args: &[&str]) -> Option<Command> {
    /// A user for each call, since the limit is per user.
    static USERS: AtomicU32 = AtomicU32::new(60_001);
    if !needs::root() || !needs::tool("setpriv") || !needs::tool(PYTHON) {
        return None;
    }
    let user = USERS.fetch_add(1, Ordering::Relaxed);
    let (user, group) = (format!("--reuid={user}"), format!("--regid={user}"));
    let before = [&user, &group, "--clear-groups", "--inh-caps=-all", PYTHON];
    // Other users may not enter the directory where it was built.
    let program = dir.path("underpass");
    underpass_testing::copy_program(underpass(&[]).get_program(), &program);
    for path in [dir.root(), &program] {
        std::fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = collected("setpriv");
    command
        .args(before)
        .args(["-c", HOARD, &program])
        .args(args);
    Some(command)
}

/// A Python script that installs a filter of system calls (seccomp(2)) and becomes the program. The
/// argument makes `code`, the lines of the filter.
macro_rules! filtering {
    ($code:literal) => {
        concat!(
            "
import ctypes, os, platform, struct, sys
machine = platform.machine()
LOAD, UNLESS, RETURN = 0x20, 0x15, 6
FAIL, ALLOW = 0x50000, (RETURN, 0, 0, 0x7fff0000)
",
            $code,
            "
lines = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *line) for line in code))
class Program(ctypes.Structure):
    _fields_ = [('length', ctypes.c_ushort), ('lines', ctypes.c_void_p)]
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0, 'PR_SET_NO_NEW_PRIVS'
program = Program(len(code), ctypes.addressof(lines))
assert libc.prctl(22, 2, ctypes.byref(program)) == 0, 'PR_SET_SECCOMP'
os.execv(sys.argv[1], sys.argv[1:])
"
        )
    };
}

/// Makes the kernel refuse splice(2) with EINVAL, as it does for files without splice operations,
/// and becomes the program.
pub(crate) const REFUSING_SPLICE: &str = filtering!(
    "
splice, EINVAL = {'x86_64': 275, 'aarch64': 76}[machine], 22
code = [(LOAD, 0, 0, 0), (UNLESS, 0, 1, splice), (RETURN, 0, 0, FAIL | EINVAL), ALLOW]
"
);

/// Makes the kernel refuse setsockopt(2) with EPERM for `TCP_ULP` only, and becomes the program.
pub(crate) const REFUSING_TCP_ULP: &str = filtering!(
    "
setsockopt, EPERM = {'x86_64': 54, 'aarch64': 208}[machine], 1
IPPROTO_TCP, TCP_ULP = 6, 31
# The number of the call, and its second and third argument.
code = [(LOAD, 0, 0, 0), (UNLESS, 0, 5, setsockopt), (LOAD, 0, 0, 24), (UNLESS, 0, 3, IPPROTO_TCP),
        (LOAD, 0, 0, 32), (UNLESS, 0, 1, TCP_ULP), (RETURN, 0, 0, FAIL | EPERM), ALLOW]
"
);
