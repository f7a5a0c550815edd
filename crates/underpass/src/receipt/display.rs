//! Formats the receipt for people.

use std::fmt;
use std::time::Duration;

use super::{Evidence, Receipt};
use crate::printable::Printable;

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Expected => "expected",
            Self::Reported => "reported",
            Self::Measured => "measured",
        })
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.complete { "" } else { ", incomplete" };
        let (source, sink) = (&self.source.name, &self.sink.name);
        writeln!(f, "{} -> {}", Printable(source), Printable(sink))?;
        writeln!(
            f,
            "  bytes      {}{state}, in {} ({})",
            size(self.bytes),
            time(self.wall),
            rate(self.bytes, self.wall)
        )?;
        if self.hole_bytes > 0 {
            writeln!(
                f,
                "  holes      {} of them stayed holes",
                size(self.hole_bytes)
            )?;
        }
        if let Some(sync) = self.sync {
            writeln!(f, "  synced     in {}", time(sync))?;
        }
        if self.undelivered > 0 {
            writeln!(
                f,
                "  lost       {} taken from the source, not delivered",
                size(self.undelivered)
            )?;
        }
        for used in &self.routes {
            writeln!(
                f,
                "  route      {}: {} in {} system calls",
                used.route,
                size(used.bytes),
                used.syscalls
            )?;
        }
        for fallback in &self.fallbacks {
            let errno = fallback
                .errno
                .as_deref()
                .map(|e| format!("{e}: "))
                .unwrap_or_default();
            writeln!(
                f,
                "  fallback   {} to {} at byte {}: {errno}{}",
                fallback.from, fallback.to, fallback.at, fallback.why
            )?;
        }
        self.fmt_cost(f)
    }
}

impl Receipt {
    fn fmt_cost(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (evidence, why) = (self.copies.evidence, &self.copies.why);
        match self.copies.cpu_bytes {
            Some(bytes) => writeln!(f, "  CPU copies {} ({evidence}: {why})", size(bytes))?,
            None => writeln!(f, "  CPU copies unknown ({why})")?,
        }
        writeln!(
            f,
            "  CPU time   {} user, {} system",
            time(self.cpu.user),
            time(self.cpu.system)
        )?;
        write!(
            f,
            "  switches   {} system calls, {} mode switches, {} context switches",
            self.syscalls,
            self.mode_switches,
            self.context_switches.voluntary + self.context_switches.involuntary
        )
    }
}

/// Formats a size as `1.00 GiB (1073741824 bytes)`; a small one in bytes alone.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let mut scaled = bytes as f64 / 1024.0;
    let mut unit = 0;
    while scaled >= 1024.0 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    format!("{scaled:.2} {} ({bytes} bytes)", UNITS[unit])
}

fn time(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds >= 1.0 {
        format!("{seconds:.2} s")
    } else {
        format!("{:.2} ms", seconds * 1e3)
    }
}

fn rate(bytes: u64, wall: Duration) -> String {
    let seconds = wall.as_secs_f64();
    if seconds <= 0.0 {
        return "too quick to time".to_owned();
    }
    let per_second = bytes as f64 / seconds;
    if per_second >= 1e9 {
        format!("{:.2} GB/s", per_second / 1e9)
    } else {
        format!("{:.2} MB/s", per_second / 1e6)
    }
}
