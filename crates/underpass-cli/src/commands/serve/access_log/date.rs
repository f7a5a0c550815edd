//! Times as logs write them, in UTC.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The last second that four digits of a year can say.
const LAST: u64 = 253_402_300_799;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// `22/Nov/2026:10:00:00 +0000`
pub(super) fn common(at: SystemTime) -> String {
    let text = httpdate::fmt_http_date(shown(at));
    let (day, month, year, time) = parts(&text);
    format!("{day}/{month}/{year}:{time} +0000")
}

/// `2026-11-22T10:00:00.000Z` (RFC 3339)
pub(super) fn rfc3339(at: SystemTime) -> String {
    let at = shown(at);
    let text = httpdate::fmt_http_date(at);
    let (day, month, year, time) = parts(&text);
    let month = MONTHS.iter().position(|name| *name == month).unwrap_or(0) + 1;
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    format!(
        "{year}-{month:02}-{day}T{time}.{:03}Z",
        since.subsec_millis()
    )
}

/// Of a clock that was never set, or is far off, the nearest that can be written.
fn shown(at: SystemTime) -> SystemTime {
    at.clamp(UNIX_EPOCH, UNIX_EPOCH + Duration::from_secs(LAST))
}

/// Of `Sun, 22 Nov 2026 10:00:00 GMT`, whose parts always stand in the same places.
fn parts(text: &str) -> (&str, &str, &str, &str) {
    (&text[5..7], &text[8..11], &text[12..16], &text[17..25])
}

#[cfg(test)]
mod tests {
    use super::*;

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
                "31/Dec/9999:23:59:58 +0000",
                "9999-12-31T23:59:58.007Z",
            ),
        ];
        for (seconds, log, rfc) in table {
            assert_eq!(common(at(seconds, 7)), log);
            assert_eq!(rfc3339(at(seconds, 7)), rfc);
        }
    }

    #[test]
    fn a_clock_that_is_far_off_is_no_panic() {
        assert!(common(UNIX_EPOCH - Duration::from_secs(5)).starts_with("01/Jan/1970"));
        assert!(rfc3339(at(LAST + 9, 0)).starts_with("9999-12-31"));
    }
}
