//! The command line of this run, as it was typed: for reports that say how they were made.

use std::ffi::OsString;

/// The command line as one would type it.
pub(super) fn own() -> String {
    typed(std::env::args_os())
}

/// Whether it ends with `--`, and so without what should stand behind that.
pub(super) fn has_nothing_to_run() -> bool {
    std::env::args_os()
        .next_back()
        .is_some_and(|word| word == "--")
}

/// What a shell would not take as it is stands in quotes.
fn typed(arguments: impl Iterator<Item = OsString>) -> String {
    let quoted = |word: &str| {
        let plain = |letter: char| letter.is_alphanumeric() || "-_./,:=@%+".contains(letter);
        if !word.is_empty() && word.chars().all(plain) {
            word.to_owned()
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    };
    let words = arguments.skip(1);
    let words = words.map(|word| quoted(&word.to_string_lossy()));
    let command = std::iter::once("underpass".to_owned()).chain(words);
    command.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_can_be_typed_again() {
        for (words, line) in [
            (
                &["/usr/bin/underpass", "measure", "--sizes=4K,1M"][..],
                "underpass measure --sizes=4K,1M",
            ),
            (
                &["x", "--html", "a page.html", ""],
                "underpass --html 'a page.html' ''",
            ),
            (&["x", "it's $HOME"], r"underpass 'it'\''s $HOME'"),
        ] {
            let words = words.iter().map(OsString::from);
            assert_eq!(typed(words), line);
        }
    }
}
