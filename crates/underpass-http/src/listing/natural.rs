//! Natural sorting of names: `file2` before `File10`.

use std::cmp::Ordering;

/// Numbers compare by value, and letters without regard to case. Only equal names compare as equal:
/// `a` and `A`, or `1` and `01`, are ordered by their bytes.
pub(super) fn compare(a: &[u8], b: &[u8]) -> Ordering {
    let (text_a, text_b) = (String::from_utf8_lossy(a), String::from_utf8_lossy(b));
    Tokens(&text_a).cmp(Tokens(&text_b)).then_with(|| a.cmp(b))
}

#[derive(PartialEq, Eq)]
enum Token<'a> {
    /// ASCII digits without leading zeros. They can have any length, so this is not a u64.
    Number(&'a str),
    Character(char),
}

impl Ord for Token<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => a.len().cmp(&b.len()).then_with(|| a.cmp(b)),
            (Self::Character(a), Self::Character(b)) => a.cmp(b),
            // Every character that is not a digit compares the same way with all digits, so '0' can
            // stand for any of them.
            (Self::Number(_), Self::Character(b)) => '0'.cmp(b),
            (Self::Character(a), Self::Number(_)) => a.cmp(&'0'),
        }
    }
}

impl PartialOrd for Token<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The rest of a name that is still to be compared.
struct Tokens<'a>(&'a str);

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let first = self.0.chars().next()?;
        let after_digits = self.0.trim_start_matches(|c: char| c.is_ascii_digit());
        if first.is_ascii_digit() {
            let digits = &self.0[..self.0.len() - after_digits.len()];
            self.0 = after_digits;
            return Some(Token::Number(digits.trim_start_matches('0')));
        }
        self.0 = &self.0[first.len_utf8()..];
        // Only İ has more than one lower-case character; the first of them is enough.
        Some(Token::Character(
            first.to_lowercase().next().unwrap_or(first),
        ))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn as_people_would() {
        for ascending in [
            &["file2", "file10", "file10a", "file11"][..],
            &["a", "B", "c"],
            &["A", "a", "AA", "aa"],
            &["img1.png", "IMG2.png", "img12.png"],
            &["1.2.9", "1.2.10", "1.10.0"],
            &["", "0", "00", "01", "1", "2"],
            &["x-1", "x1", "xy"],
            &["99999999999999999999998", "99999999999999999999999"],
            &["999999999999999999999", "1000000000000000000000"],
            &["a1b2", "a1b10", "a01b11", "a2"],
            &["ärger", "Äußerst", "öl"],
            &["2026-1-9", "2026-01-10", "2026-11-2"],
        ] {
            for pair in ascending.windows(2) {
                assert_eq!(
                    compare(pair[0].as_bytes(), pair[1].as_bytes()),
                    Ordering::Less,
                    "{pair:?}"
                );
            }
        }
    }

    fn name() -> impl Strategy<Value = Vec<u8>> {
        ("[aAİ019./é]{0,6}", prop::option::of(0x80..=0xff_u8)).prop_map(|(text, byte)| {
            let mut name = text.into_bytes();
            name.extend(byte);
            name
        })
    }

    proptest! {
        /// An order that contradicts itself would make sorting panic.
        #[test]
        fn total(a in name(), b in name(), c in name()) {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            prop_assert_eq!(compare(&a, &b) == Ordering::Equal, a == b);
            if compare(&a, &b).is_le() && compare(&b, &c).is_le() {
                prop_assert!(compare(&a, &c).is_le());
            }
        }
    }
}
