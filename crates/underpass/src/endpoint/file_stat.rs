//! What statx(2) says about an open file, as far as an endpoint needs it.

use rustix::fd::BorrowedFd;
use rustix::fs::{AtFlags, FileType, StatxFlags};

/// `STATX_MNT_ID_UNIQUE` of <linux/stat.h>, since Linux 6.8. An older kernel ignores it.
const MOUNT_ID_UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// What the kernel says about a file.
pub(super) struct FileStat {
    pub(super) kind: FileType,
    pub(super) device: u64,
    pub(super) size: u64,
    /// Bytes that are allocated for it.
    pub(super) allocated: u64,
    /// The mount that it is on, by a number that is never given again; `None` if the kernel has no
    /// such numbers.
    pub(super) mount: Option<u64>,
}

impl FileStat {
    /// Asks by statx(2), or by fstat(2) if that is refused.
    pub(super) fn of(fd: BorrowedFd<'_>) -> std::io::Result<Self> {
        const WANTED: StatxFlags = StatxFlags::TYPE
            .union(StatxFlags::SIZE)
            .union(StatxFlags::BLOCKS)
            .union(MOUNT_ID_UNIQUE);
        let Ok(stat) = rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, WANTED) else {
            // Sandboxes that are older than statx(2) refuse it with ENOSYS or EPERM. Any other
            // reason fstat(2) has as well.
            return Self::by_fstat(fd);
        };
        let mask = StatxFlags::from_bits_retain(stat.stx_mask);
        Ok(Self {
            kind: FileType::from_raw_mode(stat.stx_mode.into()),
            device: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
            size: stat.stx_size,
            allocated: stat.stx_blocks.saturating_mul(512),
            mount: mask.contains(MOUNT_ID_UNIQUE).then_some(stat.stx_mnt_id),
        })
    }

    fn by_fstat(fd: BorrowedFd<'_>) -> std::io::Result<Self> {
        let stat = rustix::fs::fstat(fd)?;
        Ok(Self {
            kind: FileType::from_raw_mode(stat.st_mode),
            device: stat.st_dev,
            size: stat.st_size as u64,
            allocated: (stat.st_blocks as u64).saturating_mul(512),
            mount: None,
        })
    }
}
