//! Formats sizes, durations and rates for people.

use std::time::Duration;

/// Formats a size as `12.3 KiB`; below one KiB as `512 B`.
///
/// ```
/// use underpass::units;
///
/// assert_eq!(units::size(512), "512 B");
/// assert_eq!(units::size(12_595), "12.3 KiB");
/// ```
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let scaled = UNITS.iter().enumerate().find_map(|(power, unit)| {
        let unit_bytes = 1_u128 << (10 * (power + 1));
        let tenths = (u128::from(bytes) * 10 + unit_bytes / 2) / unit_bytes;
        // Checked after rounding: 1023.96 KiB is shown as 1.0 MiB, not as 1024.0 KiB.
        (tenths < 10_240).then(|| format!("{}.{} {unit}", tenths / 10, tenths % 10))
    });
    scaled.unwrap_or_else(|| format!("{bytes} B"))
}

/// Formats a duration as `1.23 s` or `637.93 ms`; without decimals if they are zero, as `30 s`.
///
/// ```
/// use std::time::Duration;
/// use underpass::units;
///
/// assert_eq!(units::duration(Duration::from_millis(1230)), "1.23 s");
/// assert_eq!(units::duration(Duration::from_secs(30)), "30 s");
/// ```
pub fn duration(duration: Duration) -> String {
    // In hundredths of the unit, rounded; the unit is chosen after rounding, as with sizes.
    let hundredths = |unit: u128| (duration.as_nanos() * 100 + unit / 2) / unit;
    let (hundredths, unit) = match hundredths(1_000_000) {
        ms if ms < 100_000 => (ms, "ms"),
        _ => (hundredths(1_000_000_000), "s"),
    };
    match (hundredths / 100, hundredths % 100) {
        (whole, 0) => format!("{whole} {unit}"),
        (whole, rest) => format!("{whole}.{rest:02} {unit}"),
    }
}

/// Formats a rate as `420.79 MB/s` or `5.20 GB/s`. A megabyte is 1000² bytes here, as for links and
/// disks.
///
/// ```
/// assert_eq!(underpass::units::rate(420_790_000.0), "420.79 MB/s");
/// ```
pub fn rate(bytes_per_second: f64) -> String {
    if bytes_per_second >= 1e9 {
        format!("{:.2} GB/s", bytes_per_second / 1e9)
    } else {
        format!("{:.2} MB/s", bytes_per_second / 1e6)
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
            (1_003_520, "980.0 KiB"),
            (1_048_524, "1023.9 KiB"),
            (1_048_525, "1.0 MiB"),
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
            (42_560_000, "42.56 ms"),
            (100_000_000, "100 ms"),
            (999_994_999, "999.99 ms"),
            (999_995_000, "1 s"),
            (1_004_999_999, "1 s"),
            (1_230_000_000, "1.23 s"),
            (1_500_000_000, "1.50 s"),
            (90_000_000_000, "90 s"),
        ] {
            assert_eq!(duration(Duration::from_nanos(nanoseconds)), text);
        }
        assert!(duration(Duration::MAX).ends_with(" s"));
    }

    #[test]
    fn rates_are_decimal() {
        for (rate_of, text) in [
            (0.0, "0.00 MB/s"),
            (1e6, "1.00 MB/s"),
            (999_990_000.0, "999.99 MB/s"),
            (5.2e9, "5.20 GB/s"),
        ] {
            assert_eq!(rate(rate_of), text);
        }
    }
}
