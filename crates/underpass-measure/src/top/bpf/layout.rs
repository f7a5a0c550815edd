//! Where the running kernel keeps what the programs read.

use std::io;

use crate::btf::Btf;

/// Declares a structure of offsets, and reads all of them from BTF.
macro_rules! layout {
    ($($name:ident: $structure:literal . $field:literal,)*) => {
        /// Offsets in bytes of fields in the kernel's structures.
        #[derive(Clone, Copy, Debug)]
        pub(super) struct Layout {
            $(pub(super) $name: i32,)*
        }

        impl Layout {
            /// # Errors
            ///
            /// The kernel does not describe one of them.
            pub(super) fn of(btf: &Btf) -> io::Result<Self> {
                Ok(Self {
                    $($name: offset(btf, $structure, $field)?,)*
                })
            }
        }
    };
}

layout! {
    task_leader: "task_struct"."group_leader",
    task_start: "task_struct"."start_boottime",
    task_name: "task_struct"."comm",
    task_flags: "task_struct"."flags",
    task_parent: "task_struct"."real_parent",
    task_tgid: "task_struct"."tgid",
    task_files: "task_struct"."files",
    task_memory: "task_struct"."mm",
    memory_program: "mm_struct"."exe_file",
    mapping_inode: "address_space"."host",
    task_signal: "task_struct"."signal",
    task_sched: "task_struct"."se",
    task_thread: "task_struct"."thread_info",
    thread_status: "thread_info"."status",
    sched_runtime: "sched_entity"."sum_exec_runtime",
    signal_live: "signal_struct"."live",
    signal_runtime: "signal_struct"."sum_sched_runtime",
    files_table: "files_struct"."fdt",
    table_size: "fdtable"."max_fds",
    table_files: "fdtable"."fd",
    file_inode: "file"."f_inode",
    file_flags: "file"."f_flags",
    file_mode: "file"."f_mode",
    file_data: "file"."private_data",
    inode_mode: "inode"."i_mode",
    inode_device: "inode"."i_rdev",
    inode_file_system: "inode"."i_sb",
    file_system_magic: "super_block"."s_magic",
    socket_sock: "socket"."sk",
    sock_family: "sock_common"."skc_family",
    sock_protocol: "sock"."sk_protocol",
    tcp_upper: "inet_connection_sock"."icsk_ulp_ops",
    upper_name: "tcp_ulp_ops"."name",
    regs_number: "pt_regs"."orig_ax",
    regs_first: "pt_regs"."di",
    regs_second: "pt_regs"."si",
    regs_third: "pt_regs"."dx",
    regs_fourth: "pt_regs"."r10",
    regs_old_first: "pt_regs"."bx",
    regs_old_second: "pt_regs"."cx",
}

pub(super) fn offset(btf: &Btf, structure: &str, field: &str) -> io::Result<i32> {
    let offset = btf.field(structure, field);
    let offset = offset.and_then(|offset| i32::try_from(offset).ok());
    offset.ok_or_else(|| {
        io::Error::other(format!(
            "the kernel's BTF does not tell where {structure} keeps {field}"
        ))
    })
}
