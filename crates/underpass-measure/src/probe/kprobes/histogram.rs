//! Parses what tracefs prints about a histogram, and about the calls that a kprobe missed.

/// The sum of `bytes` over all keys in the text of a histogram.
///
/// # Errors
///
/// Some hits were dropped, so that the sum is not known, or the text has another form.
pub(super) fn sum(text: &str) -> Result<u64, String> {
    let dropped = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("Dropped:"));
    match dropped.map(str::trim) {
        Some("0") => {}
        Some(count) => return Err(format!("{count} hits were dropped from a histogram")),
        None => return Err("a histogram ends without its totals".to_owned()),
    }
    let entries = text.lines().filter(|line| line.starts_with('{'));
    entries.map(bytes).try_fold(0_u64, |sum, bytes| {
        let sum = sum.checked_add(bytes?);
        sum.ok_or_else(|| "a histogram counts more than can be".to_owned())
    })
}

/// Parses a line such as `{ common_pid: 17 } hitcount: 1024 bytes: 67108864`.
fn bytes(line: &str) -> Result<u64, String> {
    let number = line.rsplit_once("bytes:").map(|(_, number)| number.trim());
    number
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| format!("a histogram has an entry of another form: {line}"))
}

/// Calls of a probed function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Calls {
    pub(super) seen: u64,
    /// Calls made while another probe was running on that processor. The kernel did not count their
    /// bytes.
    pub(super) missed: u64,
}

/// The calls of `event`, named `GROUP/NAME`: the last two columns of `kprobe_profile`.
pub(super) fn calls(profile: &str, event: &str) -> Calls {
    let name = event.rsplit('/').next().unwrap_or(event);
    let numbers = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some(name)).then_some(())?;
        Some(Calls {
            seen: words.next()?.parse().ok()?,
            missed: words.next()?.parse().ok()?,
        })
    };
    profile.lines().find_map(numbers).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# event histogram
#
# trigger info: hist:keys=common_pid:vals=hitcount,bytes:sort=hitcount:size=2048 [active]
#

{ common_pid:         17 } hitcount:          1  bytes:       4096
{ common_pid:          0 } hitcount:       1024  bytes:   67108864

Totals:
    Hits: 1025
    Entries: 2
    Dropped: 0
";

    #[test]
    fn a_histogram_is_summed() {
        assert_eq!(sum(TEXT), Ok(67_112_960));
    }

    #[test]
    fn what_was_lost_is_not_counted_as_nothing() {
        assert!(sum(&TEXT.replace("Dropped: 0", "Dropped: 3")).is_err());
        assert!(sum("").is_err());
        assert!(sum(&TEXT.replace("bytes:       4096", "")).is_err());
    }

    #[test]
    fn missed_calls_are_the_last_column() {
        let profile = "  filemap_read      812     0\n  skb_copy_bits     5      2\n";
        let of = |event| {
            let Calls { seen, missed } = calls(profile, event);
            (seen, missed)
        };
        assert_eq!(of("underpass_17/skb_copy_bits"), (5, 2));
        assert_eq!(of("underpass_17/filemap_read"), (812, 0));
        assert_eq!(of("underpass_17/other"), (0, 0));
    }
}
