//! `machine.txt`: the properties of the machine that the numbers depend on.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::error::{Context, Result};
use crate::header::Header;

/// Files of one line, and the names under which they are shown.
const LINES: &[(&str, &str)] = &[
    ("kernel command line", "/proc/cmdline"),
    ("load average", "/proc/loadavg"),
    (
        "cpu governor",
        "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
    ),
    (
        "transparent huge pages",
        "/sys/kernel/mm/transparent_hugepage/enabled",
    ),
    ("tcp_rmem", "/proc/sys/net/ipv4/tcp_rmem"),
    ("tcp_wmem", "/proc/sys/net/ipv4/tcp_wmem"),
    (
        "congestion control",
        "/proc/sys/net/ipv4/tcp_congestion_control",
    ),
    ("loopback MTU", "/sys/class/net/lo/mtu"),
    ("pipe-max-size", "/proc/sys/fs/pipe-max-size"),
    ("distribution", "/etc/debian_version"),
];
const MITIGATIONS: &str = "/sys/devices/system/cpu/vulnerabilities";

pub(super) fn write(folder: &Path) -> Result<()> {
    let path = folder.join("machine.txt");
    fs::write(&path, describe()).context(|| format!("cannot write {}", path.display()))
}

fn describe() -> String {
    let mut text = Header::here().to_string();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"));
    let _ = writeln!(text, "memory     {}", total.unwrap_or("unknown").trim());
    for (name, file) in LINES {
        if let Ok(line) = fs::read_to_string(file) {
            let _ = writeln!(text, "{name}: {}", line.trim().replace('\t', " "));
        }
    }
    text + &mitigations()
}

/// The mitigations of processor bugs; each makes system calls slower.
fn mitigations() -> String {
    let entries = fs::read_dir(MITIGATIONS).into_iter().flatten().flatten();
    let line = |entry: fs::DirEntry| {
        let state = fs::read_to_string(entry.path()).ok()?;
        let name = entry.file_name().to_string_lossy().into_owned();
        Some(format!("mitigation {name}: {}\n", state.trim()))
    };
    let mut lines: Vec<_> = entries.filter_map(line).collect();
    lines.sort();
    lines.concat()
}
