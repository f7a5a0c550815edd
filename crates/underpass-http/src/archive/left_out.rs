//! What could not be put into an archive, and the note in the archive that says so.

use std::fmt::Write as _;

use underpass::Printable;

/// The most names in a note.
const MOST_NAMES: u64 = 1000;

/// A file or directory that is missing in an archive.
#[derive(Clone, Debug)]
pub(super) struct LeftOut {
    /// The path below the archived directory.
    pub(super) path: Vec<u8>,
    pub(super) reason: &'static str,
}

/// The text of the note, while it is written.
#[derive(Debug, Default)]
pub(super) struct Note {
    count: u64,
    text: String,
}

impl Note {
    pub(super) fn add(&mut self, left_out: &LeftOut) {
        self.count += 1;
        if self.count <= MOST_NAMES {
            let path = String::from_utf8_lossy(&left_out.path);
            let _ = writeln!(self.text, "{}: {}", Printable(&path), left_out.reason);
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The text, if anything was left out.
    pub(super) fn finish(mut self) -> Option<String> {
        let more = self.count.saturating_sub(MOST_NAMES);
        if more > 0 {
            let _ = writeln!(self.text, "and {more} more");
        }
        (self.count > 0).then(|| format!("Not in this archive:\n\n{}", self.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_has_a_line_for_each_name_up_to_a_limit() {
        assert_eq!(Note::default().finish(), None);
        let mut note = Note::default();
        for number in 0..MOST_NAMES + 2 {
            note.add(&LeftOut {
                path: format!("a\n{number}").into_bytes(),
                reason: "permission denied",
            });
        }
        let text = note.finish().unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[2], r"a\n0: permission denied");
        assert_eq!(lines.last(), Some(&"and 2 more"));
        assert_eq!(lines.len() as u64, 2 + MOST_NAMES + 1);
    }
}
