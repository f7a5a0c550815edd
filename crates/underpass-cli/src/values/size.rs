//! Numbers of bytes, and ranges of them, as people type them.

/// Reads a number of bytes with the suffixes of coreutils: `K`, `M`, `G`, `T` (or `KiB` …) are
/// powers of 1024, `KB` … of 1000. Spaces are allowed between them, since receipts print them so.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let number: u64 = number
        .parse()
        .map_err(|_| format!("{text:?} is not a number of bytes, like 4096 or 10MiB"))?;
    let suffix = suffix.trim_start_matches(' ');
    let factor = factor(suffix).ok_or_else(|| {
        format!("{suffix:?} is not a unit; use K, M, G, T (powers of 1024) or KB, MB, GB, TB (powers of 1000)")
    })?;
    number
        .checked_mul(factor)
        .ok_or_else(|| format!("{text} is more than any file can hold"))
}

/// Reads a number of bytes per second, with or without `/s` at its end.
pub(crate) fn rate(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a rate, like 500K/s or 10MiB/s");
    let rate = bytes(text.strip_suffix("/s").unwrap_or(text)).map_err(|_| wrong())?;
    if rate == 0 {
        return Err(format!("{text:?} would send nothing; the least is 1/s"));
    }
    Ok(rate)
}

fn factor(suffix: &str) -> Option<u64> {
    let mut rest = suffix.chars();
    let Some(unit) = rest.next() else {
        return Some(1);
    };
    let power = match unit.to_ascii_uppercase() {
        'B' if suffix.len() == 1 => return Some(1),
        'K' => 1,
        'M' => 2,
        'G' => 3,
        'T' => 4,
        _ => return None,
    };
    match rest.as_str() {
        "" | "i" | "iB" => Some(1024_u64.pow(power)),
        "B" => Some(1000_u64.pow(power)),
        _ => None,
    }
}

/// A range of bytes of a source: `START..END`, with either end left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ByteRange {
    pub(crate) start: u64,
    pub(crate) end: Option<u64>,
}

impl ByteRange {
    pub(crate) fn bounds(self) -> (std::ops::Bound<u64>, std::ops::Bound<u64>) {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        (Included(self.start), self.end.map_or(Unbounded, Excluded))
    }
}

pub(crate) fn range(text: &str) -> Result<ByteRange, String> {
    let (start, end) = text
        .split_once("..")
        .ok_or_else(|| format!("{text:?} is not a range, like 0..4096, 1MiB.. or ..10K"))?;
    let start = if start.is_empty() { 0 } else { bytes(start)? };
    let end = if end.is_empty() {
        None
    } else {
        Some(bytes(end)?)
    };
    match end {
        Some(end) if end < start => Err(format!("range {text} ends before it starts")),
        _ => Ok(ByteRange { start, end }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rates_are_read() {
        for (text, bytes) in [
            ("1", 1),
            ("500K/s", 512_000),
            ("10MiB/s", 10 << 20),
            ("1MB", 1_000_000),
        ] {
            assert_eq!(rate(text), Ok(bytes), "{text}");
        }
        for wrong in ["", "/s", "0", "0/s", "fast", "10MiB/m", "-1"] {
            assert!(
                rate(wrong).unwrap_err().contains(&format!("{wrong:?}")),
                "{wrong}"
            );
        }
    }

    #[test]
    fn sizes_are_read_as_coreutils_does() {
        let table = [
            ("0", 0),
            ("7B", 7),
            ("1K", 1024),
            ("1k", 1024),
            ("1KiB", 1024),
            ("1KB", 1000),
            ("3M", 3 << 20),
            ("2GB", 2_000_000_000),
            ("1TiB", 1 << 40),
            ("286 MiB", 286 << 20),
            ("5 B", 5),
        ];
        for (text, want) in table {
            assert_eq!(bytes(text), Ok(want), "{text}");
        }
        for text in [
            "",
            "K",
            " 5",
            "5 X",
            "5 5",
            "-1",
            "1.5M",
            "1X",
            "1KiX",
            "99999999999999999999",
            "9999999999T",
        ] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ranges_have_optional_ends() {
        let of = |start, end| Ok(ByteRange { start, end });
        assert_eq!(range("1K..2K"), of(1024, Some(2048)));
        assert_eq!(range("5.."), of(5, None));
        assert_eq!(range("..5"), of(0, Some(5)));
        assert_eq!(range(".."), of(0, None));
        assert!(range("5..4").is_err() && range("5").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_an_answer_not_a_panic(text in ".*") {
            let _ = (bytes(&text), range(&text));
        }

        #[test]
        fn numbers_read_back(number: u64, other: u64) {
            prop_assert_eq!(bytes(&number.to_string()), Ok(number));
            let (start, end) = (number.min(other), number.max(other));
            prop_assert_eq!(range(&format!("{start}..{end}")), Ok(ByteRange { start, end: Some(end) }));
        }
    }
}
