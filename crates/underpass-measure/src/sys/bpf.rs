//! bpf(2): maps, programs, and what they are attached to. Everything is a descriptor, so the kernel
//! removes it when the process ends, however it ends.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Kinds of maps (`enum bpf_map_type`).
pub(crate) const HASH: u32 = 1;
pub(crate) const ARRAY: u32 = 2;

/// Kinds of programs (`enum bpf_prog_type`).
pub(crate) const RAW_TRACEPOINT: u32 = 17;
pub(crate) const TRACING: u32 = 26;

/// Where a program of the kind `TRACING` is attached (`enum bpf_attach_type`).
pub(crate) const TRACEPOINT: u32 = 23;
pub(crate) const ENTRY: u32 = 24;
pub(crate) const EXIT: u32 = 25;

const MAP_CREATE: i32 = 0;
const MAP_UPDATE: i32 = 2;
const MAP_DELETE: i32 = 3;
const PROG_LOAD: i32 = 5;
const OBJ_GET_INFO_BY_FD: i32 = 15;
const RAW_TRACEPOINT_OPEN: i32 = 17;
const MAP_LOOKUP_BATCH: i32 = 24;
const ENABLE_STATS: i32 = 32;

/// Room for what the kernel says about a program that it refuses.
const LOG_BYTES: usize = 64 << 10;

/// `union bpf_attr`, by the offsets of its fields.
#[repr(C, align(8))]
struct Attr([u8; 144]);

impl Attr {
    fn new() -> Self {
        Self([0; 144])
    }

    fn u32(mut self, at: usize, value: u32) -> Self {
        self.0[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        self
    }

    fn u64(mut self, at: usize, value: u64) -> Self {
        self.0[at..at + 8].copy_from_slice(&value.to_ne_bytes());
        self
    }

    fn fd(self, at: usize, fd: BorrowedFd<'_>) -> Self {
        self.u32(at, fd.as_raw_fd() as u32)
    }

    /// The address of a buffer that the kernel reads.
    fn input(self, at: usize, bytes: &[u8]) -> Self {
        self.u64(at, bytes.as_ptr() as u64)
    }

    /// The address of a buffer that the kernel writes.
    fn output(self, at: usize, bytes: &mut [u8]) -> Self {
        self.u64(at, bytes.as_mut_ptr() as u64)
    }
}

/// # Safety
///
/// All buffers whose addresses are in `attr` are as long as the command expects, and outlive the
/// call.
unsafe fn call(command: i32, attr: &mut Attr) -> io::Result<i32> {
    // SAFETY: `attr` is as long as said; the caller promises the rest.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            attr.0.as_mut_ptr(),
            attr.0.len() as libc::c_uint,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result as i32)
}

/// # Safety
///
/// As for [`call`]; and the command returns a new descriptor.
unsafe fn open(command: i32, attr: &mut Attr) -> io::Result<OwnedFd> {
    // SAFETY: the caller promises what `call` needs.
    let fd = unsafe { call(command, attr) }?;
    // SAFETY: the kernel has just made it for us, and close-on-exec.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A map.
#[derive(Debug)]
pub(crate) struct Map {
    fd: OwnedFd,
    key: usize,
    value: usize,
    entries: u32,
}

impl Map {
    /// Makes one, with the sizes of a key and a value in bytes.
    pub(crate) fn new(kind: u32, key: usize, value: usize, entries: u32) -> io::Result<Self> {
        let mut attr = Attr::new()
            .u32(0, kind)
            .u32(4, key as u32)
            .u32(8, value as u32)
            .u32(12, entries);
        // SAFETY: MAP_CREATE refers to no buffer.
        let fd = unsafe { open(MAP_CREATE, &mut attr) }?;
        Ok(Self {
            fd,
            key,
            value,
            entries,
        })
    }

    /// The number by which a program's instructions name it.
    pub(crate) fn number(&self) -> i32 {
        self.fd.as_raw_fd()
    }

    pub(crate) fn set(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        assert!(key.len() == self.key && value.len() == self.value);
        let mut attr = self.on(0).input(8, key).input(16, value);
        // SAFETY: both buffers have the map's sizes.
        unsafe { call(MAP_UPDATE, &mut attr) }?;
        Ok(())
    }

    /// Removes an entry, if it is there.
    pub(crate) fn remove(&self, key: &[u8]) -> io::Result<()> {
        assert!(key.len() == self.key);
        let mut attr = self.on(0).input(8, key);
        // SAFETY: the key has the map's size.
        match unsafe { call(MAP_DELETE, &mut attr) } {
            Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
            _ => Ok(()),
        }
    }

    /// All entries, each a key and its value.
    pub(crate) fn all(&self) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut found = Vec::new();
        let mut at = [0_u8; 16];
        let mut is_first = true;
        let mut batch = 4096.min(self.entries as usize);
        loop {
            let mut keys = vec![0; batch * self.key];
            let mut values = vec![0; batch * self.value];
            let mut next = [0_u8; 16];
            let mut attr = Attr::new()
                .u64(0, if is_first { 0 } else { at.as_ptr() as u64 })
                .output(8, &mut next)
                .output(16, &mut keys)
                .output(24, &mut values)
                .u32(32, batch as u32)
                .fd(36, std::os::fd::AsFd::as_fd(&self.fd));
            // SAFETY: the buffers have room for `batch` keys and values of the map's sizes, and a
            // position in a map is at most as long as a key or four bytes.
            let result = unsafe { call(MAP_LOOKUP_BATCH, &mut attr) };
            let count = u32::from_ne_bytes([attr.0[32], attr.0[33], attr.0[34], attr.0[35]]);
            let is_over = match result {
                Ok(_) => false,
                Err(error) => match error.raw_os_error() {
                    Some(libc::ENOENT) => true,
                    // One bucket has more entries than there is room for.
                    Some(libc::ENOSPC) if batch < 1 << 20 => {
                        batch *= 2;
                        continue;
                    }
                    _ => return Err(error),
                },
            };
            let pairs = keys
                .chunks(self.key)
                .zip(values.chunks(self.value))
                .take(count as usize);
            found.extend(pairs.map(|(key, value)| (key.to_vec(), value.to_vec())));
            if is_over {
                return Ok(found);
            }
            (at, is_first) = (next, false);
        }
    }

    fn on(&self, at: usize) -> Attr {
        Attr::new().fd(at, std::os::fd::AsFd::as_fd(&self.fd))
    }
}

/// A program that the kernel has accepted.
#[derive(Debug)]
pub(crate) struct Program(OwnedFd);

/// How much a program ran.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ran {
    /// Nanoseconds. The kernel only measures it while somebody holds [`statistics`].
    pub(crate) nanoseconds: u64,
    /// How often it could not run, because it was running already on that processor.
    pub(crate) missed: u64,
}

impl Program {
    /// Gives the kernel a program: instructions of eight bytes each. `at` is where a program of the
    /// kind `TRACING` will be attached: at its entry or exit, and the number of the function.
    ///
    /// # Errors
    ///
    /// The kernel does not allow it; or it refuses the program, and then the error has the last
    /// line of its reason.
    pub(crate) fn load(kind: u32, code: &[u64], at: Option<(u32, u32)>) -> io::Result<Self> {
        let bytes: Vec<u8> = code.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let licence = c"GPL".to_bytes_with_nul();
        let (place, function) = at.unwrap_or_default();
        let attr = |level: u32, log: &mut [u8]| {
            let attr = Attr::new()
                .u32(0, kind)
                .u32(4, code.len() as u32)
                .input(8, &bytes)
                .input(16, licence)
                .u32(68, place)
                .u32(108, function);
            if level == 0 {
                return attr;
            }
            attr.u32(24, level)
                .u32(28, log.len() as u32)
                .output(32, log)
        };
        // SAFETY: instructions, licence and log are as long as said.
        let refused = match unsafe { open(PROG_LOAD, &mut attr(0, &mut [])) } {
            Ok(fd) => return Ok(Self(fd)),
            Err(error) => error,
        };
        let mut log = vec![0; LOG_BYTES];
        // SAFETY: as above.
        if let Ok(fd) = unsafe { open(PROG_LOAD, &mut attr(1, &mut log)) } {
            return Ok(Self(fd));
        }
        let said = CStr::from_bytes_until_nul(&log).unwrap_or_default();
        let said = said.to_string_lossy();
        let mut lines = said.lines().rev();
        match lines.find(|line| !line.is_empty() && !line.starts_with("processed")) {
            Some(line) => Err(io::Error::new(
                refused.kind(),
                format!("{refused} ({line})"),
            )),
            None => Err(refused),
        }
    }

    /// Attaches it to a tracepoint, or to the function that it was loaded for, until the descriptor
    /// is closed.
    pub(crate) fn attach(&self, tracepoint: Option<&CStr>) -> io::Result<OwnedFd> {
        let name = tracepoint.map_or(0, |name| name.as_ptr() as u64);
        let mut attr = Attr::new()
            .u64(0, name)
            .fd(8, std::os::fd::AsFd::as_fd(&self.0));
        // SAFETY: the name ends with a zero byte, and is borrowed during the call.
        unsafe { open(RAW_TRACEPOINT_OPEN, &mut attr) }
    }

    pub(crate) fn ran(&self) -> io::Result<Ran> {
        let mut info = [0_u8; 256];
        let mut attr = Attr::new()
            .fd(0, std::os::fd::AsFd::as_fd(&self.0))
            .u32(4, info.len() as u32)
            .output(8, &mut info);
        // SAFETY: the buffer is as long as said.
        unsafe { call(OBJ_GET_INFO_BY_FD, &mut attr) }?;
        let number = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&info[at..at + 8]);
            u64::from_ne_bytes(bytes)
        };
        // `run_time_ns` and `recursion_misses` of `struct bpf_prog_info`; an older kernel leaves
        // what it does not know 0.
        Ok(Ran {
            nanoseconds: number(192),
            missed: number(208),
        })
    }
}

/// Has the kernel measure how long programs run, until the descriptor is closed.
pub(crate) fn statistics() -> io::Result<OwnedFd> {
    // SAFETY: ENABLE_STATS refers to no buffer; 0 is `BPF_STATS_RUN_TIME`.
    unsafe { open(ENABLE_STATS, &mut Attr::new()) }
}
