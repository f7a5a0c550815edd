//! Our kprobe events: making, reading and removing them, including those of a run that was killed.

use std::io;
use std::path::Path;
use std::rc::Rc;

use rustix::io::Errno;

use super::functions::{Bytes, Function};
use super::histogram::{self, Calls};
use crate::btf;
use crate::symbols::Symbols;
use crate::tracefs::Tracefs;

const CONTROL: &str = "kprobe_events";
/// The group of a run's events: this prefix and the number of its process.
const GROUP: &str = "underpass_";
/// How many calls of one function may be in progress at once, on the whole machine, before some are
/// missed.
const AT_ONCE: u32 = 128;

/// An event that adds up the bytes of a function, until it is dropped.
#[derive(Debug)]
pub(super) struct Event {
    tracefs: Rc<Tracefs>,
    /// `GROUP/NAME`
    name: String,
}

/// What an event has counted since it was made.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reading {
    pub(super) bytes: u64,
    pub(super) calls: Calls,
}

impl Event {
    /// Counts what `function` handles from now on: for the calling thread, or for all threads if
    /// others may run the function for us.
    pub(super) fn new(
        tracefs: &Rc<Tracefs>,
        function: &Function,
        symbols: &Symbols,
    ) -> io::Result<Self> {
        let symbol = function.symbol;
        if !symbols.has(symbol) {
            return Err(io::Error::other("this kernel has no function of that name"));
        }
        let name = format!("{GROUP}{}/{symbol}", std::process::id());
        let (kind, bytes) = match function.bytes {
            Bytes::Returned => (format!("r{AT_ONCE}"), "$retval:s64".to_owned()),
            Bytes::ReturnedInt => (format!("r{AT_ONCE}"), "$retval:s32".to_owned()),
            Bytes::Argument(number) => ("p".to_owned(), format!("$arg{number}:u32")),
            Bytes::Field { structure, name } => {
                let offset = offset(structure, name)?;
                ("p".to_owned(), format!("+{offset}($arg1):u32"))
            }
        };
        tracefs.order(CONTROL, &format!("{kind}:{name} {symbol} bytes={bytes}"))?;
        let event = Self {
            tracefs: Rc::clone(tracefs),
            name,
        };
        let whose = if function.by_sender {
            format!(
                " && common_pid == {}",
                rustix::thread::gettid().as_raw_nonzero()
            )
        } else {
            String::new()
        };
        let trigger = format!("hist:keys=common_pid:vals=bytes if bytes > 0{whose}");
        tracefs.order(&event.file("trigger"), &trigger)?;
        Ok(event)
    }

    /// What was counted so far.
    pub(super) fn reading(&self) -> io::Result<Reading> {
        let bytes = histogram::sum(&self.tracefs.read(&self.file("hist"))?);
        Ok(Reading {
            bytes: bytes.map_err(io::Error::other)?,
            calls: histogram::calls(&self.tracefs.read("kprobe_profile")?, &self.name),
        })
    }

    fn file(&self, file: &str) -> String {
        format!("events/{}/{file}", self.name)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // An event that could not be removed is found by the next run.
        let _ = remove(&self.tracefs, &self.name);
    }
}

/// Removes the events of runs that are over, and returns how many there were.
pub(in crate::probe) fn remove_stale(tracefs: &Tracefs) -> io::Result<usize> {
    let events = tracefs.read(CONTROL)?;
    let stale: Vec<_> = events
        .lines()
        .filter_map(owned)
        .filter(|(_, pid)| is_over(pid))
        .collect();
    for (name, _) in &stale {
        remove(tracefs, name)?;
    }
    Ok(stale.len())
}

/// The event of a line like `r128:underpass_17/filemap_read filemap_read bytes=$retval:s64`, and
/// its process's number.
fn owned(line: &str) -> Option<(&str, &str)> {
    let (_, rest) = line.split_once(':')?;
    let name = rest.split_ascii_whitespace().next()?;
    let (group, _) = name.split_once('/')?;
    Some((name, group.strip_prefix(GROUP)?))
}

fn is_over(pid: &str) -> bool {
    !Path::new("/proc").join(pid).exists()
}

/// Removes an event. Its triggers go first, because an event with a trigger is busy.
fn remove(tracefs: &Tracefs, name: &str) -> io::Result<()> {
    let triggers = format!("events/{name}/trigger");
    for line in tracefs
        .read(&triggers)?
        .lines()
        .filter(|line| line.starts_with("hist:"))
    {
        let trigger = line.trim_end_matches(" [active]");
        tracefs.order(&triggers, &format!("!{trigger}"))?;
    }
    tracefs.order(CONTROL, &format!("-:{name}"))
}

/// The offset of a field in a structure of the running kernel.
fn offset(structure: &str, field: &str) -> io::Result<u32> {
    let btf = std::fs::read(btf::OF_THIS_KERNEL)?;
    btf::field_offset(&btf, structure, field).ok_or_else(|| {
        let why = format!(
            "{} does not tell where {structure} keeps {field}",
            btf::OF_THIS_KERNEL
        );
        io::Error::new(Errno::NOENT.kind(), why)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_events_are_told_from_others() {
        let ours = "r128:underpass_17/filemap_read filemap_read bytes=$retval:s64";
        assert_eq!(owned(ours), Some(("underpass_17/filemap_read", "17")));
        assert_eq!(owned("p:kprobes/mine do_exit"), None);
        assert_eq!(owned(""), None);
        assert!(is_over("4000000000") && !is_over("1"));
    }
}
