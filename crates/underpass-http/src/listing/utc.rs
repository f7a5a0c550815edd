//! Times in UTC, by the proleptic Gregorian calendar.

use std::time::SystemTime;

const DAY: i64 = 86_400;
/// The years that four digits can show. File systems can hold others, which are shown as the
/// nearest of these.
const FIRST: i64 = -62_167_219_200;
const LAST: i64 = 253_402_300_799;

/// `2026-11-22T10:00:00Z`
pub(super) fn rfc3339(time: SystemTime) -> String {
    let seconds = since_1970(time);
    let (year, month, day) = date(seconds.div_euclid(DAY));
    let (hour, minute, second) = clock(seconds.rem_euclid(DAY));
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// `2026-11-22 10:00`
pub(super) fn to_the_minute(time: SystemTime) -> String {
    let seconds = since_1970(time);
    let (year, month, day) = date(seconds.div_euclid(DAY));
    let (hour, minute, _) = clock(seconds.rem_euclid(DAY));
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}")
}

/// Rounded down, before 1970 too.
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

fn clock(second_of_day: i64) -> (i64, i64, i64) {
    (
        second_of_day / 3600,
        second_of_day / 60 % 60,
        second_of_day % 60,
    )
}

/// Year, month and day from days since 1970: `civil_from_days` of Howard Hinnant's
/// "chrono-compatible low-level date algorithms". Its years start in March, so that a leap day is a
/// year's last.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
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

    /// The right-hand sides are what `date -u -d @… +%FT%TZ` says.
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
        /// httpdate knows the years from 1970 on.
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
