//! What a file system can do for a transfer, known by its magic number (statfs(2)).

use std::cell::Cell;

use rustix::fd::BorrowedFd;

use super::FileStat;

thread_local! {
    /// The last mount that this thread asked about, and the magic number of its file system. A
    /// mount keeps its file system for life, and its number is never given again.
    static LAST_MOUNT: Cell<Option<(u64, u64)>> = const { Cell::new(None) };
}

/// A file system: its type and its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileSystem {
    /// `f_type` of statfs(2), for example `0xEF53` for ext2, ext3 and ext4.
    pub magic: u64,
    /// `st_dev` of fstat(2): two files with the same one are on the same mounted file system.
    pub device: u64,
}

/// What is known of one type of file system.
struct Traits {
    magic: u64,
    name: &'static str,
    class: Class,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Files live in the page cache; sendfile and splice refer to its pages.
    PageCache,
    /// The same, and files can share extents (reflink).
    CopyOnWrite,
    /// Files that the kernel generates when they are read.
    Pseudo,
    /// Stacked, remote or in user space: its behaviour is unknown, and it may be able to clone.
    Opaque,
    /// Opaque, and known to report holes wrongly (openzfs#15526: data not yet written back was
    /// reported as a hole).
    OpaqueHoles,
}

const KNOWN: &[Traits] = {
    use Class::{CopyOnWrite, Opaque, OpaqueHoles, PageCache, Pseudo};
    const fn of(magic: u64, name: &'static str, class: Class) -> Traits {
        Traits { magic, name, class }
    }
    &[
        of(0xEF53, "ext4", PageCache),
        of(0x0102_1994, "tmpfs", PageCache),
        of(0xF2F5_2010, "f2fs", PageCache),
        of(0x8584_58f6, "ramfs", PageCache),
        of(0x4d44, "vfat", PageCache),
        of(0x2011_BAB0, "exfat", PageCache),
        of(0x5846_5342, "xfs", CopyOnWrite),
        of(0x9123_683E, "btrfs", CopyOnWrite),
        of(0xca45_1a4e, "bcachefs", CopyOnWrite),
        of(0x7461_636f, "ocfs2", CopyOnWrite),
        of(0x794c_7630, "overlay", Opaque),
        of(0x6969, "nfs", Opaque),
        of(0xff53_4d42, "cifs", Opaque),
        of(0xfe53_4d42, "smb2", Opaque),
        of(0x6573_5546, "fuse", Opaque),
        of(0x00c3_6400, "ceph", Opaque),
        of(0x2fc1_2fc1, "zfs", OpaqueHoles),
        of(0x9fa0, "proc", Pseudo),
        of(0x6265_6572, "sysfs", Pseudo),
        of(0x6462_6720, "debugfs", Pseudo),
        of(0x7472_6163, "tracefs", Pseudo),
        of(0x7363_6673, "securityfs", Pseudo),
        of(0x0027_e0eb, "cgroup", Pseudo),
        of(0x6367_7270, "cgroup2", Pseudo),
        of(0xcafe_4a11, "bpf", Pseudo),
        of(0x6265_6570, "configfs", Pseudo),
        of(0xde5e_81e4, "efivarfs", Pseudo),
        of(0x6165_676C, "pstore", Pseudo),
    ]
};

impl FileSystem {
    /// The file system of an open file. It is asked for once in a row for each mount.
    pub(super) fn of_file(fd: BorrowedFd<'_>, stat: &FileStat) -> std::io::Result<Self> {
        let known = LAST_MOUNT
            .get()
            .filter(|(mount, _)| stat.mount == Some(*mount));
        if let Some((_, magic)) = known {
            return Ok(Self::assumed(magic, stat.device));
        }
        let file_system = Self::of(fd, stat.device)?;
        LAST_MOUNT.set(stat.mount.map(|mount| (mount, file_system.magic)));
        Ok(file_system)
    }

    pub(super) fn of(fd: BorrowedFd<'_>, device: u64) -> std::io::Result<Self> {
        let magic = rustix::fs::fstatfs(fd)?.f_type;
        // 32-bit machines sign-extend; a magic number has 32 bits.
        Ok(Self {
            magic: u64::from(magic as u32),
            device,
        })
    }

    /// A file system made up for a plan.
    pub const fn assumed(magic: u64, device: u64) -> Self {
        Self { magic, device }
    }

    fn class(&self) -> Class {
        KNOWN
            .iter()
            .find(|known| known.magic == self.magic)
            .map_or(Class::Opaque, |known| known.class)
    }

    /// Its usual name, or `unknown`.
    pub fn name(&self) -> &'static str {
        KNOWN
            .iter()
            .find(|known| known.magic == self.magic)
            .map_or("unknown", |known| known.name)
    }

    /// Its files are generated when they are read (pitfall 3: sizes of 0 or 4096, copies by the
    /// kernel refused or cut short).
    pub fn is_pseudo(&self) -> bool {
        self.class() == Class::Pseudo
    }

    /// Its files can or might share extents. Remote and stacked file systems have to be tried.
    pub fn may_clone(&self) -> bool {
        matches!(
            self.class(),
            Class::CopyOnWrite | Class::Opaque | Class::OpaqueHoles
        )
    }

    /// Known to serve sendfile and splice from the page cache by reference.
    pub fn is_page_cache(&self) -> bool {
        matches!(self.class(), Class::PageCache | Class::CopyOnWrite)
    }

    /// Known to copy in the kernel for `copy_file_range`, since it can neither clone nor ask a
    /// server.
    pub fn copies_in_kernel(&self) -> bool {
        self.class() == Class::PageCache
    }

    /// Its `SEEK_HOLE` is reliable (pitfall 8).
    pub fn knows_holes(&self) -> bool {
        !matches!(self.class(), Class::OpaqueHoles | Class::Pseudo)
    }
}
