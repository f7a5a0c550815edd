//! The text of a configuration file, and places in it.

use std::fmt::Display;
use std::path::Path;

use crate::exit::Failure;

/// The most that is read. Real files have a few KiB; this is for a path that is a mistake.
const MOST: usize = 1 << 20;

/// The byte order mark with which some editors begin a file.
const MARK: &str = "\u{feff}";

#[derive(Clone, Debug)]
pub(super) struct Source {
    name: String,
    /// Without a byte order mark.
    text: String,
}

impl Source {
    /// Reads a file.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let bytes = underpass::read_small_file(path, MOST)
            .map_err(|error| Failure::failed(format_args!("--config {name}: {error}")))?;
        match String::from_utf8(bytes) {
            Ok(text) => {
                let text = text.strip_prefix(MARK).unwrap_or(&text).to_owned();
                Ok(Self { name, text })
            }
            Err(error) => {
                let good = error.utf8_error().valid_up_to();
                let text = String::from_utf8_lossy(&error.as_bytes()[..good]).into_owned();
                let at = text.len();
                let this = Self { name, text };
                Err(this.failure(at, "this byte is not UTF-8: save the file in that encoding"))
            }
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The failure `why` at a byte of the text: `FILE:LINE:COLUMN: WHY`.
    pub(super) fn failure(&self, at: usize, why: impl Display) -> Failure {
        let before = self.text.get(..at).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |end| end + 1);
        let column = before[start..].chars().count() + 1;
        Failure::usage(format_args!("{}:{line}:{column}: {why}", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_lines_and_columns() {
        let source = Source {
            name: "a.toml".to_owned(),
            text: "a = 1\r\n\u{e4}\u{e4} = 2\n".to_owned(),
        };
        for (at, place) in [(0, "1:1"), (4, "1:5"), (7, "2:1"), (11, "2:3"), (99, "3:1")] {
            let failure = source.failure(at, "wrong").to_string();
            assert_eq!(failure, format!("a.toml:{place}: wrong"));
        }
    }
}
