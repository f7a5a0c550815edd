//! Formats file sizes for people.

use std::fmt::{self, Display, Formatter};

const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// Formats a size as `12.3 KiB`, with the exact number of bytes in its title.
pub(super) struct Size(pub(super) u64);

impl Display for Size {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let bytes = self.0;
        let plural = if bytes == 1 { "" } else { "s" };
        write!(f, r#"<data value="{bytes}" title="{bytes} byte{plural}">"#)?;
        match rounded(bytes) {
            None => write!(f, "{bytes} B")?,
            Some((tenths, unit)) => write!(f, "{}.{} {unit}", tenths / 10, tenths % 10)?,
        }
        f.write_str("</data>")
    }
}

/// The size in tenths of the smallest unit that needs no more than four digits; `None` below one
/// KiB.
fn rounded(bytes: u64) -> Option<(u128, &'static str)> {
    if bytes < 1024 {
        return None;
    }
    UNITS.iter().enumerate().find_map(|(power, unit)| {
        let unit_bytes = 1_u128 << (10 * (power + 1));
        let tenths = (u128::from(bytes) * 10 + unit_bytes / 2) / unit_bytes;
        // Checked after rounding: 1023.96 KiB is shown as 1.0 MiB, not as 1024.0 KiB.
        (tenths < 10_240).then_some((tenths, *unit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_decimal_and_never_1024() {
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
            let shown = Size(bytes).to_string();
            assert!(shown.contains(&format!(">{text}<")), "{shown}, not {text}");
        }
        assert!(Size(1).to_string().contains("\"1 byte\""));
        assert!(Size(12_595).to_string().contains("\"12595 bytes\""));
    }
}
