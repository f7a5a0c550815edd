//! A receipt in one line, for people.

use std::fmt::{self, Write as _};
use std::time::Duration;

use super::{Copies, Crypto, Fallback, Receipt, RouteUse};
use crate::endpoint::Kind;
use crate::route::Route;
use crate::units;

impl Receipt {
    /// What was moved and what it cost, in one line without the names:
    /// `286 MiB in 440 ms (650 MiB/s), none of it copied by the CPU`.
    ///
    /// The time is that of the transfer and of syncing the sink together. That something was
    /// copied, or was not, has the [`evidence`](Copies::evidence) of the receipt, which `Display`
    /// names.
    ///
    /// ```
    /// use std::io::{Write, pipe};
    /// use underpass::Transfer;
    ///
    /// let (source, mut writer) = pipe()?;
    /// writer.write_all(b"content")?;
    /// drop(writer);
    /// let receipt = Transfer::new(&source, std::fs::File::create("/dev/null")?).run()?;
    /// assert!(receipt.summary().starts_with("7 bytes in "));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn summary(&self) -> String {
        let time = self.wall + self.sync.unwrap_or_default();
        let mut line = Moved(self.bytes, time).to_string();
        if self.hole_bytes > 0 {
            let holes = units::size(self.hole_bytes);
            let _ = write!(line, ", {holes} of it holes");
        }
        if self.undelivered > 0 {
            let lost = amount(self.undelivered);
            let _ = write!(line, ", {lost} more taken and not delivered");
        }
        let share = CopiedShare {
            moved: self.bytes - self.hole_bytes.min(self.bytes),
            copies: &self.copies,
            routes: &self.routes,
            ends: (self.source.kind, self.sink.kind),
            fallbacks: &self.fallbacks,
        };
        format!("{line}{share}{}", CryptoShare(&self.crypto))
    }
}

/// Formats bytes, a time and their rate: `286 MiB in 440 ms (650 MiB/s)`.
pub(crate) struct Moved(pub(crate) u64, pub(crate) Duration);

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bytes, time) = (self.0, self.1);
        write!(f, "{} in {}", amount(bytes), units::duration(time))?;
        if bytes < 1024 || time.is_zero() {
            // The rate of a few bytes says nothing.
            return Ok(());
        }
        write!(f, " ({})", units::rate(bytes as f64 / time.as_secs_f64()))
    }
}

/// A size in words: bytes below one KiB, as `7 bytes`.
pub(crate) fn amount(bytes: u64) -> String {
    match bytes {
        ..1024 => units::count(bytes, "byte"),
        _ => units::size(bytes),
    }
}

/// Formats how much the CPU copied and why, as `, none of it copied by the CPU`. Nothing if nothing
/// was moved.
pub(crate) struct CopiedShare<'a> {
    /// Bytes that routes have moved.
    pub(crate) moved: u64,
    pub(crate) copies: &'a Copies,
    pub(crate) routes: &'a [RouteUse],
    /// The kinds of source and sink.
    pub(crate) ends: (Kind, Kind),
    pub(crate) fallbacks: &'a [Fallback],
}

impl fmt::Display for CopiedShare<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moved = self.moved;
        if moved == 0 {
            return Ok(());
        }
        let cause = self.cause();
        let Some(copied) = self.copies.cpu_bytes else {
            let mut moving = self.routes.iter().filter(|used| used.bytes > 0);
            // This route reads into memory and writes from there, whatever the ends do beyond that.
            if moving.all(|used| used.route == Route::ReadWrite) {
                return write!(f, ", all of it through user space: {cause}");
            }
            let why = &self.copies.why;
            return write!(f, ", not known what the CPU copied ({why})");
        };
        match copied {
            0 => f.write_str(", none of it copied by the CPU"),
            copied if copied < moved => {
                let copied = amount(copied);
                let cause = match self.routes.len() {
                    ..=1 => cause,
                    _ => "its small parts".to_owned(),
                };
                write!(f, ", {copied} of it copied by the CPU: {cause}")
            }
            copied if copied.is_multiple_of(moved) => {
                let times = times(copied / moved);
                write!(f, ", all of it copied {times} by the CPU: {cause}")
            }
            copied => {
                let times = copied as f64 / moved as f64;
                write!(f, ", copied {times:.1} times by the CPU: {cause}")
            }
        }
    }
}

fn times(count: u64) -> String {
    match count {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        count => format!("{count} times"),
    }
}

impl CopiedShare<'_> {
    /// Why the CPU copied, in a few words.
    fn cause(&self) -> String {
        if let Some(last) = self.fallbacks.last() {
            return last.why.clone();
        }
        let used = |route| {
            let mut moving = self.routes.iter().filter(|used| used.bytes > 0);
            moving.any(|used| used.route == route)
        };
        let cause = match self.ends {
            _ if used(Route::Seal) => "it was encrypted in user space",
            (_, Kind::Terminal) => "the target is a terminal",
            (Kind::Terminal, _) => "the source is a terminal",
            (Kind::PseudoFile, _) => "the kernel makes the source as it is read",
            (Kind::CharDevice, _) => "the source is a device",
            (_, Kind::CharDevice) => "the target is a device",
            (_, Kind::Directory) => "into page cache",
            (_, Kind::File | Kind::BlockDevice) if used(Route::CopyFileRange) => {
                "in the kernel, into page cache"
            }
            (_, Kind::File | Kind::BlockDevice) => "into page cache",
            (Kind::Memory, _) => "it was in memory",
            _ if used(Route::ReadWrite) => "read and written again",
            _ => return self.copies.why.clone(),
        };
        cause.to_owned()
    }
}

/// Formats who encrypted, as `, encrypted by the kernel`; nothing without TLS.
pub(crate) struct CryptoShare<'a>(pub(crate) &'a Crypto);

impl fmt::Display for CryptoShare<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut passes = self.0.passes.iter();
        passes.try_for_each(|pass| write!(f, ", {}", pass.phrase()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receipt::Evidence;

    fn copies(cpu_bytes: Option<u64>) -> Copies {
        Copies {
            cpu_bytes,
            evidence: Evidence::Expected,
            why: "sendfile from page cache".to_owned(),
        }
    }

    fn share(moved: u64, cpu_bytes: Option<u64>, route: Route, ends: (Kind, Kind)) -> String {
        let routes = [RouteUse {
            route,
            bytes: moved,
            syscalls: 1,
        }];
        let copies = copies(cpu_bytes);
        let share = CopiedShare {
            moved,
            copies: &copies,
            routes: &routes,
            ends,
            fallbacks: &[],
        };
        share.to_string()
    }

    #[test]
    fn what_was_copied_is_said_with_its_cause() {
        use Kind::{File, Pipe, Tcp, Terminal};
        use Route::{CopyFileRange, ReadWrite, Sendfile, Splice};
        let table = [
            (
                9,
                Some(0),
                Sendfile,
                (File, Tcp),
                ", none of it copied by the CPU",
            ),
            (0, Some(0), Sendfile, (File, Tcp), ""),
            (
                9,
                None,
                Sendfile,
                (File, Tcp),
                ", not known what the CPU copied (sendfile from page cache)",
            ),
            (
                9,
                None,
                ReadWrite,
                (File, Terminal),
                ", all of it through user space: the target is a terminal",
            ),
            (
                9,
                Some(9),
                ReadWrite,
                (File, Terminal),
                ", all of it copied once by the CPU: the target is a terminal",
            ),
            (
                9,
                Some(9),
                Splice,
                (Tcp, File),
                ", all of it copied once by the CPU: into page cache",
            ),
            (
                9,
                Some(9),
                CopyFileRange,
                (File, File),
                ", all of it copied once by the CPU: in the kernel, into page cache",
            ),
            (
                9,
                Some(18),
                ReadWrite,
                (Pipe, Tcp),
                ", all of it copied twice by the CPU: read and written again",
            ),
            (
                9,
                Some(27),
                ReadWrite,
                (Pipe, Tcp),
                ", all of it copied 3 times by the CPU: read and written again",
            ),
            (
                9,
                Some(1),
                ReadWrite,
                (Pipe, Tcp),
                ", 1 byte of it copied by the CPU: read and written again",
            ),
            (
                10,
                Some(15),
                Splice,
                (Tcp, Kind::Directory),
                ", copied 1.5 times by the CPU: into page cache",
            ),
        ];
        for (moved, copied, route, ends, want) in table {
            assert_eq!(share(moved, copied, route, ends), want);
        }
    }

    #[test]
    fn a_fallback_is_the_cause() {
        let copies = copies(Some(2));
        let fallback = Fallback {
            from: Route::Sendfile,
            to: Route::ReadWrite,
            errno: Some("EINVAL".to_owned()),
            why: "the file system refused".to_owned(),
            at: 0,
        };
        let share = CopiedShare {
            moved: 2,
            copies: &copies,
            routes: &[],
            ends: (Kind::File, Kind::Tcp),
            fallbacks: &[fallback],
        };
        let want = ", all of it copied once by the CPU: the file system refused";
        assert_eq!(share.to_string(), want);
    }

    #[test]
    fn a_few_bytes_have_no_rate() {
        let second = Duration::from_secs(1);
        for (bytes, want) in [
            (1, "1 byte in 1 s"),
            (1023, "1,023 bytes in 1 s"),
            (300_000_000, "286 MiB in 1 s (286 MiB/s)"),
        ] {
            assert_eq!(Moved(bytes, second).to_string(), want);
        }
        assert_eq!(Moved(4096, Duration::ZERO).to_string(), "4.0 KiB in 0 ms");
    }
}
