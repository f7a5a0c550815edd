//! Formats counts, sizes, durations and rates for people.
//!
//! Sizes and rates have the same units, powers of 1024: `286 MiB` that take one second are
//! `286 MiB/s`.

use std::fmt::Display;
use std::time::Duration;

/// Formats a size as `12.3 KiB`, without decimals from 100 on; below one KiB as `512 B`.
///
/// ```
/// use underpass::units;
///
/// assert_eq!(units::size(512), "512 B");
/// assert_eq!(units::size(12_595), "12.3 KiB");
/// assert_eq!(units::size(300_000_000), "286 MiB");
/// ```
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let scaled = UNITS.iter().enumerate().find_map(|(power, unit)| {
        let unit_bytes = 1_u128 << (10 * (power + 1));
        let rounded = |parts: u128| (u128::from(bytes) * parts + unit_bytes / 2) / unit_bytes;
        // Both are checked after rounding: 1023.96 KiB is shown as 1.0 MiB, not as 1024 KiB.
        match (rounded(10), rounded(1)) {
            (tenths @ ..1000, _) => Some(format!("{}.{} {unit}", tenths / 10, tenths % 10)),
            (_, whole @ ..1024) => Some(format!("{whole} {unit}")),
            _ => None,
        }
    });
    scaled.unwrap_or_else(|| format!("{bytes} B"))
}

/// Formats a duration with three digits, as `1.23 s` or `638 ms`, without decimals if they are
/// zero, as `30 s`. From 100 s on it has two units, as `1 min 45 s`.
///
/// ```
/// use std::time::Duration;
/// use underpass::units;
///
/// assert_eq!(units::duration(Duration::from_millis(1230)), "1.23 s");
/// assert_eq!(units::duration(Duration::from_secs(30)), "30 s");
/// assert_eq!(units::duration(Duration::from_secs(105)), "1 min 45 s");
/// ```
pub fn duration(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    let milli = 1_000_000;
    // The unit is chosen after rounding, as with sizes.
    three_digits(nanoseconds, milli, "ms", 1000)
        .or_else(|| three_digits(nanoseconds, 1000 * milli, "s", 100))
        .unwrap_or_else(|| {
            let seconds = (nanoseconds + 500 * milli) / (1000 * milli);
            match seconds / 60 {
                minutes @ ..60 => two_units((minutes, "min"), (seconds % 60, "s")),
                minutes => two_units((minutes / 60, "h"), (minutes % 60, "min")),
            }
        })
}

/// A number of three digits, if it is less than `limit`.
fn three_digits(nanoseconds: u128, unit: u128, name: &str, limit: u128) -> Option<String> {
    for (decimals, parts) in [(2, 100), (1, 10), (0, 1)] {
        let rounded = (nanoseconds * parts + unit / 2) / unit;
        let (whole, rest) = (rounded / parts, rounded % parts);
        if rounded < 1000 && whole < limit {
            return Some(match rest {
                0 => format!("{whole} {name}"),
                rest => format!("{whole}.{rest:0decimals$} {name}"),
            });
        }
    }
    None
}

fn two_units((many, large): (u128, &str), (rest, small): (u128, &str)) -> String {
    match rest {
        0 => format!("{many} {large}"),
        rest => format!("{many} {large} {rest} {small}"),
    }
}

/// Formats a rate in the units of [`size`], as `401 MiB/s` or `4.8 GiB/s`.
///
/// ```
/// assert_eq!(underpass::units::rate(420_790_000.0), "401 MiB/s");
/// ```
pub fn rate(bytes_per_second: f64) -> String {
    format!("{}/s", size(bytes_per_second.round() as u64))
}

/// Formats a number of things as `1 file` or `1,204 files`. `one` is what one of them is called.
///
/// ```
/// use underpass::units;
///
/// assert_eq!(units::count(1, "byte"), "1 byte");
/// assert_eq!(units::count(5_000_000, "byte"), "5,000,000 bytes");
/// assert_eq!(units::count(0, "directory"), "0 directories");
/// ```
pub fn count(number: u64, one: impl Display) -> String {
    let one = one.to_string();
    match number {
        1 => format!("1 {one}"),
        number => format!("{} {}", grouped(number), plural(&one)),
    }
}

/// Formats a number with its thousands apart: `1,204`.
///
/// ```
/// assert_eq!(underpass::units::grouped(5_000_000), "5,000,000");
/// ```
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The plural of a regular English noun.
fn plural(one: &str) -> String {
    const HISSING: [&str; 4] = ["s", "x", "ch", "sh"];
    match one.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{stem}ies"),
        _ if HISSING.iter().any(|end| one.ends_with(end)) => format!("{one}es"),
        _ => format!("{one}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_one_decimal_and_are_never_1024() {
        for (bytes, text) in [
            (0, "0 B"),
            (1, "1 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (12_595, "12.3 KiB"),
            (102_348, "99.9 KiB"),
            (102_349, "100 KiB"),
            (1_003_520, "980 KiB"),
            (1_048_063, "1023 KiB"),
            (1_048_064, "1.0 MiB"),
            (1 << 20, "1.0 MiB"),
            (5_368_709_120, "5.0 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn durations_are_rounded_and_never_1000_ms() {
        for (nanoseconds, text) in [
            (0, "0 ms"),
            (4_999, "0 ms"),
            (5_000, "0.01 ms"),
            (9_995_000, "10 ms"),
            (42_560_000, "42.6 ms"),
            (100_000_000, "100 ms"),
            (637_930_000, "638 ms"),
            (999_499_999, "999 ms"),
            (999_500_000, "1 s"),
            (1_004_999_999, "1 s"),
            (1_230_000_000, "1.23 s"),
            (1_500_000_000, "1.50 s"),
            (12_345_000_000, "12.3 s"),
            (90_000_000_000, "90 s"),
            (99_949_999_999, "99.9 s"),
            (99_950_000_000, "1 min 40 s"),
            (120_000_000_000, "2 min"),
            (3_599_500_000_000, "1 h"),
            (7_500_000_000_000, "2 h 5 min"),
        ] {
            assert_eq!(duration(Duration::from_nanos(nanoseconds)), text);
        }
        assert!(duration(Duration::MAX).contains(" h"));
    }

    #[test]
    fn rates_have_the_units_of_sizes() {
        for (rate_of, text) in [
            (0.0, "0 B/s"),
            (0.4, "0 B/s"),
            (1e6, "977 KiB/s"),
            (5.2e9, "4.8 GiB/s"),
            (f64::INFINITY, "16.0 EiB/s"),
        ] {
            assert_eq!(rate(rate_of), text);
        }
    }

    #[test]
    fn one_is_not_many() {
        for (number, one, text) in [
            (0, "file", "0 files"),
            (1, "file", "1 file"),
            (2, "copy", "2 copies"),
            (1, "directory", "1 directory"),
            (3, "entry", "3 entries"),
            (2, "day", "2 days"),
            (4, "mode switch", "4 mode switches"),
            (5, "process", "5 processes"),
            (999, "byte", "999 bytes"),
            (1000, "byte", "1,000 bytes"),
            (1_048_576, "byte", "1,048,576 bytes"),
        ] {
            assert_eq!(count(number, one), text);
        }
        assert_eq!(grouped(u64::MAX), "18,446,744,073,709,551,615");
    }
}
