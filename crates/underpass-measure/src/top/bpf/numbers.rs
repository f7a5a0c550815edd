//! The number of a process in a PID namespace (pid_namespaces(7)), where /proc has not the numbers
//! of the machine, such as in a container.

use std::io;

use super::layout::offset;
use crate::btf::Btf;

/// Where a task has its numbers, and the namespace in which they are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    pub(super) namespace: u32,
    pub(super) task_pid: i32,
    pub(super) level: i32,
    pub(super) list: i32,
    pub(super) number: i32,
    pub(super) of: i32,
    pub(super) inode: i32,
}

impl Numbers {
    /// `namespace` is the inode number of the namespace, as in /proc/PID/ns/pid.
    pub(super) fn find(btf: &Btf, namespace: u32) -> io::Result<Self> {
        Ok(Self {
            namespace,
            task_pid: offset(btf, "task_struct", "thread_pid")?,
            level: offset(btf, "pid", "level")?,
            list: offset(btf, "pid", "numbers")?,
            number: offset(btf, "upid", "nr")?,
            of: offset(btf, "upid", "ns")?,
            inode: offset(btf, "pid_namespace", "ns")? + offset(btf, "ns_common", "inum")?,
        })
    }
}
