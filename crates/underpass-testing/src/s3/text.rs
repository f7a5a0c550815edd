//! Texts of URLs and dates.

use std::time::{SystemTime, UNIX_EPOCH};

/// `%41` as `A`.
pub(super) fn decode(text: &str) -> String {
    let (bytes, mut decoded, mut at) = (text.as_bytes(), Vec::new(), 0);
    while at < bytes.len() {
        let hex = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten();
        let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        decoded.push(byte.unwrap_or(bytes[at]));
        at += if byte.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// Year, month, day, hour, minute, second; by the civil calendar, from days since 1970.
fn calendar(time: SystemTime) -> (i64, usize, i64, i64, i64, i64, usize) {
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .map_or(0, |it| it.as_secs() as i64);
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let weekday = (days + 4) % 7;
    let clock = (rest / 3_600, rest / 60 % 60, rest % 60);
    (
        year,
        month as usize,
        day,
        clock.0,
        clock.1,
        clock.2,
        weekday as usize,
    )
}

/// As in `Last-Modified`.
pub(super) fn http_date(time: SystemTime) -> String {
    const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (year, month, day, hour, minute, second, weekday) = calendar(time);
    let (name, month) = (DAYS[weekday], MONTHS[month - 1]);
    format!("{name}, {day:02} {month} {year} {hour:02}:{minute:02}:{second:02} GMT")
}

/// As in a list.
pub(super) fn iso_date(time: SystemTime) -> String {
    let (year, month, day, hour, minute, second, _) = calendar(time);
    format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.000Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn dates() {
        let time = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(
            http_date(time(784_111_777)),
            "Sun, 06 Nov 1994 08:49:37 GMT"
        );
        assert_eq!(http_date(time(0)), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(iso_date(time(951_782_400)), "2000-02-29T00:00:00.000Z");
    }
}
