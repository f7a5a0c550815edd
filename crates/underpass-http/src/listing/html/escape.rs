//! Escapes text for HTML.

use std::fmt::{self, Display, Formatter, Write};

/// Escapes text so that it can stand between tags and in attributes with either kind of quotes.
///
/// Bytes that are not UTF-8 are shown as U+FFFD. Control characters, which HTML forbids, are shown
/// by their pictures: a line break in a name as `␊`. U+FFFD also stands for characters that turn
/// the direction of what follows: with one, `a\u{202e}gpj.exe` would look like `aexe.jpg`.
pub(super) struct Text<'a>(pub(super) &'a [u8]);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(self.0)
            .chars()
            .try_for_each(|c| match c {
                '&' => f.write_str("&amp;"),
                '<' => f.write_str("&lt;"),
                '>' => f.write_str("&gt;"),
                '"' => f.write_str("&quot;"),
                '\'' => f.write_str("&#39;"),
                c => f.write_char(picture(c)),
            })
    }
}

fn picture(c: char) -> char {
    match u32::from(c) {
        // Unicode's Control Pictures are in the same order as the control characters.
        code @ 0..0x20 => char::from_u32(0x2400 + code).unwrap_or(char::REPLACEMENT_CHARACTER),
        0x7f => '␡',
        0x80..0xa0 | 0x202a..=0x202e | 0x2066..=0x2069 => char::REPLACEMENT_CHARACTER,
        _ => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_to_parse() {
        let text = Text("<a href=\"x\">&amp;'\n\u{1}\u{7f}\u{85}\u{202e}\u{2066}é🦀".as_bytes())
            .to_string();
        let expected = "&lt;a href=&quot;x&quot;&gt;&amp;amp;&#39;␊␁␡\u{fffd}\u{fffd}\u{fffd}é🦀";
        assert_eq!(text, expected);
    }
}
