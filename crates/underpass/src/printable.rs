//! Shows names safely on a terminal.

use std::fmt::{self, Write as _};

/// Shows text with its control characters escaped, so that a file's name can neither move a
/// terminal's cursor nor begin a new line: `\n`, `\x1b`, `\u{202e}`. Everything else stays as it
/// is.
///
/// ```
/// use underpass::Printable;
///
/// assert_eq!(Printable("a\u{1b}[2J\nb").to_string(), r"a\x1b[2J\nb");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.contains(is_control) {
            return f.write_str(self.0);
        }
        for character in self.0.chars() {
            match character {
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                _ if !is_control(character) => f.write_char(character)?,
                _ if character.is_ascii() => write!(f, "\\x{:02x}", u32::from(character))?,
                _ => write!(f, "{}", character.escape_unicode())?,
            }
        }
        Ok(())
    }
}

/// C0, DEL and C1, and the characters that change the direction of writing, which can make one name
/// look like another.
fn is_control(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::Printable;

    #[test]
    fn only_what_a_terminal_obeys_is_escaped() {
        let table = [
            ("plain name.txt", "plain name.txt"),
            ("Ωμέγα \\n", "Ωμέγα \\n"),
            ("\u{1b}]0;owned\u{7}", r"\x1b]0;owned\x07"),
            ("two\nlines\r\t\u{7f}", r"two\nlines\r\t\x7f"),
            ("\u{9b}31m", r"\u{9b}31m"),
            ("exe\u{202e}txt", r"exe\u{202e}txt"),
        ];
        for (name, want) in table {
            assert_eq!(Printable(name).to_string(), want);
        }
    }
}
