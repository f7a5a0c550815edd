//! A process with all its descendants: how much they used, and whether any is left.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::error::{Context, Result};
use crate::sys;

/// User and system time so far of a process and all its descendants, including threads and
/// processes that have ended.
///
/// Living processes are measured in nanoseconds. For those that have ended and were waited for, the
/// kernel counts ticks. A process that another one has adopted is not counted, so servers must not
/// be daemons.
pub(crate) fn cpu(root: u32) -> Result<Duration> {
    let tick = 1.0 / rustix::param::clock_ticks_per_second() as f64;
    let mut sum = Duration::ZERO;
    for pid in family(root)? {
        match sys::cpu_time(pid) {
            Ok(own) => sum += own,
            // It has just ended, and will be counted with its parent soon.
            Err(_) if pid != root => continue,
            Err(error) => return Err(error).context(|| "cannot read the server's CPU time".into()),
        }
        let ended = Stat::read(pid).map_or(0, |stat| stat.awaited_ticks);
        sum += Duration::from_secs_f64(ended as f64 * tick);
    }
    Ok(sum)
}

/// The resident memory of a process and its descendants in KiB. Shared pages are counted for each.
pub(crate) fn resident_kib(root: u32) -> Result<u64> {
    family(root)?.into_iter().map(resident_of).sum()
}

/// The process and its living descendants, parents first.
pub(crate) fn family(root: u32) -> Result<Vec<u32>> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    let entries = fs::read_dir("/proc").context(|| "cannot read /proc".into())?;
    for entry in entries.flatten() {
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        if let Some((pid, stat)) = pid.and_then(|pid| Some((pid, Stat::read(pid)?))) {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    let mut all = vec![root];
    let mut next = 0;
    while let Some(&pid) = all.get(next) {
        all.extend(children.remove(&pid).unwrap_or_default());
        next += 1;
    }
    Ok(all)
}

fn resident_of(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).context(|| format!("cannot read {path}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    // A process that has just ended has no memory.
    Ok(number.unwrap_or(0))
}

struct Stat {
    parent: u32,
    /// User and system time of children that have ended and were waited for, and of their children.
    awaited_ticks: u64,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Parses proc_pid_stat(5). The name, in parentheses, may contain any character.
    fn parse(line: &str) -> Option<Self> {
        let (_, after) = line.rsplit_once(')')?;
        let field = |number: usize| after.split_whitespace().nth(number - 3);
        let ticks = |number| field(number)?.parse::<u64>().ok();
        Some(Self {
            parent: field(4)?.parse().ok()?,
            awaited_ticks: ticks(16)? + ticks(17)?,
        })
    }
}

/// Raises the limit on open files, for this process and the servers that it starts.
pub(crate) fn allow_files(wanted: u64) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    let raised = Rlimit {
        current: Some(wanted),
        maximum: limit.maximum.map(|maximum| maximum.max(wanted)),
    };
    setrlimit(Resource::Nofile, raised).context(|| format!("cannot open {wanted} files"))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use super::*;

    /// A shell that says when its child, which works until then, has ended or has begun.
    fn shell(script: &str) -> (std::process::Child, BufReader<std::process::ChildStdout>) {
        let mut shell = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(shell.stdout.take().unwrap());
        (shell, said)
    }

    const WORK: &str = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";

    #[test]
    fn children_are_counted_while_they_live_and_when_they_are_gone() {
        for script in [
            format!("sh -c '{WORK}; echo; read wait' ; echo"),
            format!("sh -c '{WORK}; :'; echo; read wait"),
        ] {
            let (mut shell, mut said) = shell(&script);
            said.read_line(&mut String::new()).unwrap();
            let all = cpu(shell.id()).unwrap();
            let own = sys::cpu_time(shell.id()).unwrap();
            shell.kill().unwrap();
            shell.wait().unwrap();
            assert!(all > own + Duration::from_millis(20), "{all:?} {own:?}");
        }
    }

    #[test]
    fn a_name_with_parentheses_is_read_over() {
        let rest = (5..52).map(|number| number.to_string());
        let rest = rest.collect::<Vec<_>>().join(" ");
        let stat = Stat::parse(&format!("12 (a) R (b)) S 7 {rest}")).unwrap();
        assert_eq!((stat.parent, stat.awaited_ticks), (7, 16 + 17));
        assert!(Stat::parse("12 (a").is_none());
    }
}
