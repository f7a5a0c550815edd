//! Times in UTC.

use std::time::SystemTime;

use jiff::SignedDuration;
use jiff::civil::{DateTime, date};

/// The first and last second that a year of four digits can show. File systems can have other
/// times; they are shown as the nearest of these.
const FIRST: i64 = -62_167_219_200;
const LAST: i64 = 253_402_300_799;

/// Formats a time as `2026-11-22T10:00:00Z`.
pub(super) fn rfc3339(time: SystemTime) -> String {
    civil(time).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Formats a time as `2026-11-22 10:00`.
pub(super) fn to_the_minute(time: SystemTime) -> String {
    civil(time).strftime("%Y-%m-%d %H:%M").to_string()
}

fn civil(time: SystemTime) -> DateTime {
    const EPOCH: DateTime = date(1970, 1, 1).at(0, 0, 0, 0);
    EPOCH.saturating_add(SignedDuration::from_secs(since_1970(time)))
}

/// Whole seconds since 1970, rounded down, before 1970 too.
fn since_1970(time: SystemTime) -> i64 {
    let seconds = match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(LAST),
        Err(before) => {
            let until = before.duration();
            let started = u64::from(until.subsec_nanos() > 0);
            i64::try_from(until.as_secs() + started).map_or(FIRST, |seconds| -seconds)
        }
    };
    seconds.clamp(FIRST, LAST)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> SystemTime {
        let distance = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 {
            SystemTime::UNIX_EPOCH - distance
        } else {
            SystemTime::UNIX_EPOCH + distance
        }
    }

    /// The right-hand sides are the output of `date -u -d @… +%FT%TZ`.
    #[test]
    fn as_date_says() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_795_341_600, "2026-11-22T10:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (FIRST, "0000-01-01T00:00:00Z"),
            (LAST, "9999-12-31T23:59:59Z"),
            (LAST + 1, "9999-12-31T23:59:59Z"),
            (i64::MAX, "9999-12-31T23:59:59Z"),
            (i64::MIN, "0000-01-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(at(seconds)), expected, "{seconds}");
        }
        assert_eq!(to_the_minute(at(1_795_341_659)), "2026-11-22 10:00");
    }

    #[test]
    fn half_a_second_before_1970_is_still_1969() {
        let time = SystemTime::UNIX_EPOCH - Duration::from_millis(500);
        assert_eq!(rfc3339(time), "1969-12-31T23:59:59Z");
    }

    proptest! {
        /// httpdate supports the years from 1970 on.
        #[test]
        fn as_httpdate_says(seconds in 0..=LAST) {
            let http = httpdate::fmt_http_date(at(seconds));
            let ours = rfc3339(at(seconds));
            prop_assert_eq!(&http[5..7], &ours[8..10]);
            prop_assert_eq!(&http[12..16], &ours[..4]);
            prop_assert_eq!(&http[17..25], &ours[11..19]);
            let month: usize = ours[5..7].parse().unwrap();
            let name = &"JanFebMarAprMayJunJulAugSepOctNovDec"[3 * month - 3..3 * month];
            prop_assert_eq!(&http[8..11], name);
        }
    }
}
