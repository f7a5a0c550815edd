//! Formats numbers, in the same way for every language.

use crate::report::Summary;

/// Formats copies, calls and switches with two decimals. A number that is not 0 is never shown as
/// 0.
pub(crate) fn count(value: f64) -> String {
    if value != 0.0 && value.abs() < 0.01 {
        format!("{value:.1e}")
    } else {
        format!("{value:.2}")
    }
}

/// Formats rates, times and ratios with three significant digits.
pub(crate) fn three_digits(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

/// Formats a median with its lowest and highest value: `6.21 (5.90–6.40)`.
pub(crate) fn with_spread(summary: &Summary) -> String {
    let [median, min, max] = [summary.median, summary.min, summary.max].map(three_digits);
    format!("{median} ({min}–{max})")
}

/// Formats bytes in powers of 1024, such as `64 KiB`; in bytes, if it is not a whole number of
/// them.
pub(crate) fn size(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    units
        .into_iter()
        .find(|(shift, _)| bytes >= 1 << shift && bytes.is_multiple_of(1 << shift))
        .map_or_else(
            || format!("{bytes} B"),
            |(shift, unit)| format!("{} {unit}", bytes >> shift),
        )
}

/// Formats bytes in GiB, for sizes of memory, where the exact number does not matter.
pub(crate) fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

/// Formats two to a whole power, such as `8` or `1/4`.
pub(crate) fn power_of_two(power: f64) -> String {
    if power < 0.0 {
        format!("1/{}", (-power).exp2())
    } else {
        power.exp2().to_string()
    }
}

/// Formats a share, such as `41.3 %`.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// Formats a share with the ends of its interval, such as `41.3 % (38.0–44.6)`.
pub(crate) fn share(share: f64, low: f64, high: f64) -> String {
    format!(
        "{} ({:.1}–{:.1})",
        percent(share),
        low * 100.0,
        high * 100.0
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_is_not_none() {
        let cases = [
            (0.0, "0.00"),
            (2.0, "2.00"),
            (0.0625, "0.06"),
            (0.0042, "4.2e-3"),
        ];
        for (value, text) in cases {
            assert_eq!(count(value), text);
        }
    }

    #[test]
    fn sizes_are_exact() {
        let cases = [
            (0, "0 B"),
            (1000, "1000 B"),
            (65536, "64 KiB"),
            (1 << 30, "1 GiB"),
            (1025, "1025 B"),
        ];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn three_digits_count() {
        let cases = [
            (123.4, "123"),
            (12.34, "12.3"),
            (1.234, "1.23"),
            (0.1234, "0.123"),
        ];
        for (value, text) in cases {
            assert_eq!(three_digits(value), text);
        }
    }
}
