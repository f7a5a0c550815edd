//! Times as MS-DOS has them.

/// Seconds of a day.
const DAY: i64 = 86_400;

/// The first and the last second that MS-DOS can express: the years 1980 to 2107.
const FIRST: i64 = 315_532_800;
const LAST: i64 = 4_354_819_199;

/// A time of day, in steps of two seconds, and a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DosTime {
    pub(super) time: u16,
    pub(super) date: u16,
}

impl DosTime {
    /// The time in UTC. Times that cannot be expressed become the nearest one.
    pub(super) fn of(seconds: i64) -> Self {
        let seconds = seconds.clamp(FIRST, LAST);
        let (year, month, day) = date(seconds / DAY);
        let second = seconds % DAY;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        Self {
            time: (hour << 11 | minute << 5 | (second / 2)) as u16,
            date: ((year - 1980) << 9 | month << 5 | day) as u16,
        }
    }
}

/// Year, month and day of a day after 1970-01-01, in the Gregorian calendar.
fn date(days: i64) -> (i64, i64, i64) {
    // Years begin in March here, so that the leap day is the last one. An era has 400 years.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A day of each year, as the calendar of another implementation (date(1)) has it.
    #[test]
    fn dates_are_those_of_the_calendar() {
        let known = [
            (0, (1970, 1, 1)),
            (10_956, (1999, 12, 31)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (19_675, (2023, 11, 14)),
            (47_541, (2100, 3, 1)),
            (47_540, (2100, 2, 28)),
        ];
        for (days, expected) in known {
            assert_eq!(date(days), expected, "{days}");
        }
    }

    #[test]
    fn what_cannot_be_expressed_becomes_the_nearest() {
        let first = DosTime {
            time: 0,
            date: 0x0021,
        };
        for seconds in [i64::MIN, -1, 0, FIRST] {
            assert_eq!(DosTime::of(seconds), first);
        }
        let last = DosTime::of(LAST);
        assert_eq!(last.date, 0xFF9F);
        assert_eq!(last.time, 0xBF7D);
        assert_eq!(DosTime::of(i64::MAX), last);
    }
}
