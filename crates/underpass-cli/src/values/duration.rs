//! Durations as people type them.

use std::time::Duration;

/// Limit on durations. Clocks and timers overflow near `Duration::MAX`, so longer durations are
/// shortened to this.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Reads a duration: seconds, or a number with `ms`, `s`, `m` or `h`. At most [`LONGEST`].
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration, like 30, 500ms, 1.5s, 10m or 2h");
    let digits = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "ms" => number / 1000.0,
        "" | "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => return Err(wrong()),
    };
    match Duration::try_from_secs_f64(seconds.min(LONGEST.as_secs_f64())) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(wrong()),
    }
}

/// Reads a duration that may be 0.
pub(crate) fn parse_or_zero(text: &str) -> Result<Duration, String> {
    match text {
        "0" => Ok(Duration::ZERO),
        text => parse(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(parse("2"), Ok(Duration::from_secs(2)));
        assert_eq!(parse("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse("1h"), Ok(Duration::from_secs(3600)));
        for text in [
            "", "0", "s", "1d", "1e400", "1e308", "..", "-3", "NaN", "inf", "-inf",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn pitfall_36_every_duration_can_be_added_to_a_clock() {
        let digits = "9".repeat(400);
        for text in ["9999999999999999999", "18446744073709551615h", &digits] {
            let longest = parse(text).unwrap();
            assert_eq!(longest, LONGEST, "{text}");
            assert!(std::time::Instant::now().checked_add(longest).is_some());
        }
    }

    proptest! {
        #[test]
        fn any_text_is_an_answer_not_a_panic(text in ".*") {
            let _ = (parse(&text), parse_or_zero(&text));
        }
    }
}
