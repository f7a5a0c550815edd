//! What /proc (proc(5)) tells about processes.

use std::collections::HashMap;
use std::fs;
use std::io;

/// What is known about a process without asking the kernel's tracing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) name: String,
    pub(super) parent: u32,
    pub(super) is_kernel_thread: bool,
    /// CPU time of all its threads, in clock ticks.
    pub(super) ticks: u64,
    /// When it started, in clock ticks since the machine did.
    pub(super) start: u64,
}

/// A flag in the ninth field of /proc/PID/stat: `PF_KTHREAD`.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// Clock ticks for each second.
pub(super) fn ticks_per_second() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}

/// The number of the first PID namespace (linux/proc_ns.h).
const FIRST: u32 = 0xefff_fffc;

/// The number of this process as /proc has it, which may be that of another PID namespace than this
/// process is in.
pub(super) fn own() -> Option<u32> {
    fs::read_link("/proc/self").ok()?.to_str()?.parse().ok()
}

/// The inode number of the PID namespace whose processes /proc has; `None` if that is the
/// machine's.
///
/// # Errors
///
/// It cannot be told.
pub(super) fn namespace() -> io::Result<Option<u32>> {
    let link = match own() {
        Some(pid) if pid == std::process::id() => namespace_of(pid),
        _ => all()?
            .into_keys()
            .filter(|pid| is_in(*pid))
            .find_map(namespace_of),
    };
    match link {
        Some(FIRST) => Ok(None),
        Some(inode) => Ok(Some(inode)),
        None => Err(io::Error::other(
            "whose processes /proc has cannot be told; mount that of this PID namespace",
        )),
    }
}

/// The inode number of the PID namespace of a process.
fn namespace_of(pid: u32) -> Option<u32> {
    let link = fs::read_link(format!("/proc/{pid}/ns/pid")).ok()?;
    let number = link.to_str()?.strip_prefix("pid:[")?.strip_suffix(']')?;
    number.parse().ok()
}

/// Whether a process is in the namespace of /proc itself, and not in one inside of that: then it
/// has one number only.
fn is_in(pid: u32) -> bool {
    let status = read(pid, "status").unwrap_or_default();
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    numbers.is_some_and(|numbers| numbers.split_ascii_whitespace().count() == 1)
}

/// All processes, by number. Those that end meanwhile may be missing.
///
/// # Errors
///
/// /proc cannot be read at all.
pub(super) fn all() -> io::Result<HashMap<u32, Stat>> {
    let mut found = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let pid = name.to_str().and_then(|name| name.parse().ok());
        if let Some((pid, stat)) = pid.and_then(|pid| Some((pid, stat(pid)?))) {
            found.insert(pid, stat);
        }
    }
    Ok(found)
}

pub(super) fn stat(pid: u32) -> Option<Stat> {
    parse(&read(pid, "stat")?)
}

/// The name is in parentheses, and may itself have parentheses and spaces.
fn parse(text: &str) -> Option<Stat> {
    let (before, after) = text.rsplit_once(')')?;
    let (_, name) = before.split_once('(')?;
    let fields: Vec<&str> = after.split_ascii_whitespace().collect();
    // The first field here is the third of the line.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Stat {
        name: name.to_owned(),
        parent: number(4)? as u32,
        is_kernel_thread: number(9)? & KERNEL_THREAD != 0,
        ticks: number(14)? + number(15)?,
        start: number(22)?,
    })
}

/// The command line, words joined by spaces; `None` for threads of the kernel, and if the process
/// is gone.
pub(super) fn command(pid: u32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let words: Vec<_> = text.split('\0').filter(|word| !word.is_empty()).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// The control group: that of version 2 if it says more than the root, otherwise the longest.
pub(super) fn cgroup(pid: u32) -> Option<String> {
    let text = read(pid, "cgroup")?;
    let paths = text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let path = paths.max_by_key(|path| path.len())?;
    (path != "/").then(|| path.to_owned())
}

/// Reads and writes as /proc/PID/io sums them up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Io {
    pub(super) read_bytes: u64,
    pub(super) written_bytes: u64,
    pub(super) reads: u64,
    pub(super) writes: u64,
}

/// `None` if the process is gone, or belongs to somebody else.
pub(super) fn io(pid: u32) -> Option<Io> {
    parse_io(&read(pid, "io")?)
}

/// Those of this process, and how many bytes this read: one call, which is not among them.
pub(super) fn own_io() -> Option<(Io, u64)> {
    let mut bytes = [0; 512];
    let mut file = fs::File::open("/proc/self/io").ok()?;
    let count = io::Read::read(&mut file, &mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes[..count]);
    Some((parse_io(&text)?, count as u64))
}

fn parse_io(text: &str) -> Option<Io> {
    let number = |name: &str| {
        let lines = text.lines().filter_map(|line| line.split_once(": "));
        let mut those = lines.filter(|(field, _)| *field == name);
        those.next()?.1.trim().parse().ok()
    };
    Some(Io {
        read_bytes: number("rchar")?,
        written_bytes: number("wchar")?,
        reads: number("syscr")?,
        writes: number("syscw")?,
    })
}

fn read(pid: u32, file: &str) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/{file}")).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_have_parentheses() {
        let text = "17 (a) (b) S 3 17 17 0 -1 2097152 0 0 0 0 5 6 0 0 20 0 1 0 99 0 0";
        let stat = parse(text).unwrap();
        let expected = Stat {
            name: "a) (b".to_owned(),
            parent: 3,
            is_kernel_thread: true,
            ticks: 11,
            start: 99,
        };
        assert_eq!(stat, expected);
        assert_eq!(parse("17 (a) S 3"), None);
    }

    #[test]
    fn this_process_is_found() {
        let pid = std::process::id();
        assert!(all().unwrap().contains_key(&pid));
        assert!(command(pid).is_some() && io(pid).is_some());
    }
}
