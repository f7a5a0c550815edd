//! Dates as logs have them.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Formats a date as the Common Log Format has it, in UTC: `22/Nov/2026:10:00:00 +0000`.
pub(crate) fn common_log(at: SystemTime) -> String {
    timestamp(at)
        .strftime("%d/%b/%Y:%H:%M:%S +0000")
        .to_string()
}

/// Formats a date as RFC 3339 with milliseconds, in UTC: `2026-11-22T10:00:00.000Z`.
pub(crate) fn rfc3339(at: SystemTime) -> String {
    format!("{:.3}", timestamp(at))
}

/// Formats the time of day where this machine is, or in UTC if that is not known: `10:00:00`.
pub(crate) fn local_time(at: SystemTime) -> String {
    let zoned = timestamp(at).to_zoned(TimeZone::system());
    zoned.strftime("%H:%M:%S").to_string()
}

/// If the clock was never set, or is far off, this is the nearest date that both formats can
/// express.
fn timestamp(at: SystemTime) -> Timestamp {
    // jiff's last timestamp is in the year 9999, so that a year has four digits.
    Timestamp::try_from(at.max(UNIX_EPOCH)).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// The second of [`Timestamp::MAX`].
    const LAST: u64 = 253_402_207_200;

    fn at(seconds: u64, millis: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(seconds * 1000 + millis)
    }

    #[test]
    fn both_forms_say_the_same_second() {
        let table = [
            (0, "01/Jan/1970:00:00:00 +0000", "1970-01-01T00:00:00.007Z"),
            (
                951_782_400,
                "29/Feb/2000:00:00:00 +0000",
                "2000-02-29T00:00:00.007Z",
            ),
            (
                1_795_341_600,
                "22/Nov/2026:10:00:00 +0000",
                "2026-11-22T10:00:00.007Z",
            ),
            (
                LAST - 1,
                "30/Dec/9999:21:59:59 +0000",
                "9999-12-30T21:59:59.007Z",
            ),
        ];
        for (seconds, log, rfc) in table {
            assert_eq!(common_log(at(seconds, 7)), log);
            assert_eq!(rfc3339(at(seconds, 7)), rfc);
        }
    }

    #[test]
    fn a_clock_that_is_far_off_is_no_panic() {
        assert!(common_log(UNIX_EPOCH - Duration::from_secs(5)).starts_with("01/Jan/1970"));
        assert!(rfc3339(at(LAST + 9, 0)).starts_with("9999-12-30"));
    }
}
