//! Sizes as people write them: `512`, `64KiB`, `1GiB`, `2GB`.

use crate::error::{Error, Result};

/// A short suffix (`K`) is binary, as for dd and head; only `kB`, `MB` and `GB` are decimal.
const UNITS: &[(&str, u64)] = &[
    ("", 1),
    ("b", 1),
    ("k", 1 << 10),
    ("kib", 1 << 10),
    ("kb", 1_000),
    ("m", 1 << 20),
    ("mib", 1 << 20),
    ("mb", 1_000_000),
    ("g", 1 << 30),
    ("gib", 1 << 30),
    ("gb", 1_000_000_000),
    ("t", 1 << 40),
    ("tib", 1 << 40),
    ("tb", 1_000_000_000_000),
];

/// Parses a size; the result is at least 1 and fits a file offset.
pub(crate) fn parse(text: &str) -> Result<u64> {
    let unknown = || {
        Error::new(format!(
            "unknown size '{text}': write it like 512, 64KiB, 1GiB or 2GB"
        ))
    };
    let trimmed = text.trim();
    let digits = trimmed.len()
        - trimmed
            .trim_start_matches(|c: char| c.is_ascii_digit())
            .len();
    let (number, unit) = trimmed.split_at(digits);
    let number: u64 = number.parse().map_err(|_| unknown())?;
    let unit = unit.trim_start().to_ascii_lowercase();
    let (_, scale) = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(unknown)?;
    match number.checked_mul(*scale) {
        Some(0) => Err(Error::new("the size must be more than 0")),
        Some(bytes) if i64::try_from(bytes).is_ok() => Ok(bytes),
        _ => Err(Error::new(format!(
            "size '{text}' is larger than a file can be"
        ))),
    }
}

/// The largest unit that states `bytes` without a fraction, the decimal ones from MB on.
pub(crate) fn exact(bytes: u64) -> String {
    const EXACT: &[(&str, u64)] = &[
        ("TiB", 1 << 40),
        ("GB", 1_000_000_000),
        ("GiB", 1 << 30),
        ("MB", 1_000_000),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
    ];
    let fits = |(_, unit): &&(&str, u64)| bytes != 0 && bytes.is_multiple_of(*unit);
    let unit = EXACT.iter().find(fits);
    unit.map_or_else(
        || format!("{bytes} B"),
        |(name, unit)| format!("{} {name}", bytes / unit),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_way_of_writing_a_size() {
        for (text, bytes) in [
            ("512", 512),
            ("512B", 512),
            ("4k", 4096),
            ("4K", 4096),
            ("64KiB", 65_536),
            ("64 KiB", 65_536),
            ("64kB", 64_000),
            ("1MiB", 1 << 20),
            ("1gib", 1 << 30),
            ("2GB", 2_000_000_000),
            (" 1T ", 1 << 40),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn refuses_with_one_line_that_names_the_input() {
        for text in [
            "",
            "GiB",
            "1.5GiB",
            "-1",
            "1XiB",
            "1 Gi B",
            "99999999999999999999",
        ] {
            let message = parse(text).unwrap_err().to_string();
            assert!(message.contains(&format!("'{text}'")), "{message}");
            assert!(!message.contains('\n'), "{message}");
        }
    }

    #[test]
    fn refuses_nothing_and_too_much() {
        assert!(parse("0").unwrap_err().to_string().contains("more than 0"));
        assert!(
            parse("0GiB")
                .unwrap_err()
                .to_string()
                .contains("more than 0")
        );
        for text in ["8388608TiB", "99999999TiB"] {
            assert!(
                parse(text).unwrap_err().to_string().contains("larger"),
                "{text}"
            );
        }
    }

    #[test]
    fn states_sizes_exactly() {
        for (bytes, text) in [
            (0, "0 B"),
            (512, "512 B"),
            (1536, "1536 B"),
            (65_536, "64 KiB"),
            (1 << 30, "1 GiB"),
            ((1 << 30) + (1 << 20), "1025 MiB"),
            (7_000_000, "7 MB"),
            (1_000_000_000, "1 GB"),
        ] {
            assert_eq!(exact(bytes), text);
        }
    }
}
