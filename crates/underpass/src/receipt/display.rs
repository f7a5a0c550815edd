//! Formats the receipt for people.

use std::fmt;
use std::time::Duration;

use super::{Evidence, Receipt};
use crate::printable::Printable;
use crate::units;

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
        for tls in [&self.source.tls, &self.sink.tls].into_iter().flatten() {
            writeln!(f, "  tls: {tls}")?;
        }
        writeln!(
            f,
            "  bytes      {}{state}, in {} ({})",
            size(self.bytes),
            units::duration(self.wall),
            rate(self.bytes, self.wall)
        )?;
        if self.hole_bytes > 0 {
            writeln!(
                f,
                "  holes      {} of them stayed holes",
                size(self.hole_bytes)
            )?;
        }
        if self.already_there > 0 {
            writeln!(
                f,
                "  there      {} were there already, and not moved again",
                size(self.already_there)
            )?;
        }
        if let Some(sync) = self.sync {
            writeln!(f, "  synced     in {}", units::duration(sync))?;
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
                "  route      {}: {} in {}",
                used.route,
                size(used.bytes),
                units::count(used.syscalls, "system call")
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
                fallback.from,
                fallback.to,
                units::grouped(fallback.at),
                fallback.why
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
        for pass in &self.crypto.passes {
            let (bytes, phrase) = (size(pass.bytes), pass.phrase());
            writeln!(f, "  crypto     {bytes} {phrase} ({})", pass.evidence)?;
        }
        if let Some(pass) = &self.checksum {
            writeln!(
                f,
                "  checksum   1 pass of the CPU over {}, {} of its time",
                size(pass.bytes),
                units::duration(pass.cpu)
            )?;
        }
        writeln!(
            f,
            "  CPU time   {} user, {} system",
            units::duration(self.cpu.user),
            units::duration(self.cpu.system)
        )?;
        write!(
            f,
            "  switches   {}, {}, {}",
            units::count(self.syscalls, "system call"),
            units::count(self.mode_switches, "mode switch"),
            units::count(
                self.context_switches.voluntary + self.context_switches.involuntary,
                "context switch"
            )
        )
    }
}

/// Formats a size as `1.0 GiB (1,073,741,824 bytes)`; a small one in bytes alone.
fn size(bytes: u64) -> String {
    let exact = units::count(bytes, "byte");
    match bytes {
        ..1024 => exact,
        _ => format!("{} ({exact})", units::size(bytes)),
    }
}

fn rate(bytes: u64, wall: Duration) -> String {
    if wall.is_zero() {
        return "too quick to time".to_owned();
    }
    units::rate(bytes as f64 / wall.as_secs_f64())
}
