//! What a shell offers when Tab is pressed. The scripts of `underpass completions` ask the program
//! itself, by `underpass __complete WORDS`, so that they need to know nothing.
//!
//! The last word is the one to complete, up to the cursor; it may be empty. The answer is in lines.
//! The first says whether names of files belong there: `files`, `directories` or `none`. Each
//! further line is a whole word, a tab, and what it means.

use std::ffi::OsString;
use std::fmt;

use clap::{Command, CommandFactory};

use self::cursor::{Cursor, Place};
use crate::args::Args;
use crate::exit::Failure;
use crate::io::StandardStream;

mod cursor;
mod values;

/// The first word of a question.
const REQUEST: &str = "__complete";

/// The words to complete, if a shell asks for that. `typed` begins with the program.
pub(crate) fn request(typed: &[OsString]) -> Option<&[OsString]> {
    match typed {
        [_, request, words @ ..] if request == REQUEST => Some(words),
        _ => None,
    }
}

/// Prints what belongs at the end of `words`.
pub(crate) fn answer(words: &[OsString]) -> Result<(), Failure> {
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    let words: Vec<_> = words.iter().map(|word| &**word).collect();
    let mut command = Args::command();
    command.build();
    let offer = offer(&command, &words);
    StandardStream::Output.print(offer.to_string().as_bytes())
}

/// What may be written at a place.
#[derive(Debug, Default, PartialEq, Eq)]
struct Offer {
    paths: Paths,
    words: Vec<Word>,
}

/// Which names of files may be written. The shell finds those: it knows about `~` and quotes.
///
/// In an order: who may write files may also go through directories.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Paths {
    #[default]
    None,
    Directories,
    Files,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Word {
    text: String,
    about: String,
}

impl Word {
    fn new(text: impl Into<String>, about: impl Into<String>) -> Self {
        let (text, about) = (text.into(), about.into());
        Self { text, about }
    }
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}",
            match self.paths {
                Paths::None => "none",
                Paths::Files => "files",
                Paths::Directories => "directories",
            }
        )?;
        for Word { text, about } in &self.words {
            writeln!(f, "{text}\t{about}")?;
        }
        Ok(())
    }
}

fn offer(root: &Command, words: &[&str]) -> Offer {
    let Some((typed, before)) = words.split_last() else {
        return Offer::default();
    };
    let cursor = Cursor::after(root, before, typed);
    match &cursor.place {
        Place::Command => Offer::of(commands(cursor.command), typed),
        Place::Option => Offer::of(options(&cursor), typed),
        Place::Value { arguments, option } => {
            let typed = &typed[option.len()..];
            let mut offer = Offer::default();
            for argument in arguments {
                let more = values::of(root, cursor.command, argument, typed);
                offer.paths = offer.paths.max(more.paths);
                offer.words.extend(more.words);
            }
            offer.words.iter_mut().for_each(|word| {
                word.text.insert_str(0, option);
            });
            offer
        }
    }
}

impl Offer {
    /// Those of `words` that `typed` is the beginning of.
    fn of(mut words: Vec<Word>, typed: &str) -> Self {
        words.retain(|word| word.text.starts_with(typed));
        let paths = Paths::None;
        Self { paths, words }
    }
}

fn commands(parent: &Command) -> Vec<Word> {
    let shown = parent.get_subcommands().filter(|it| !it.is_hide_set());
    shown
        .map(|it| Word::new(it.get_name(), about(it.get_about())))
        .collect()
}

/// The options that are not given yet, or may be given again.
fn options(cursor: &Cursor<'_>) -> Vec<Word> {
    let mut words = Vec::new();
    for option in cursor.command.get_arguments() {
        let is_again = cursor.given.contains(&option.get_id());
        let is_repeatable = matches!(option.get_action(), clap::ArgAction::Append);
        if option.is_hide_set() || is_again && !is_repeatable {
            continue;
        }
        let about = about(option.get_help());
        let Some(long) = option.get_long() else {
            continue;
        };
        words.push(Word::new(format!("--{long}"), &about));
        if option.is_require_equals_set() {
            words.push(Word::new(format!("--{long}="), &about));
        }
        if let Some(short) = option.get_short() {
            words.push(Word::new(format!("-{short}"), about));
        }
    }
    words
}

/// The first sentence, on one line.
fn about(help: Option<&clap::builder::StyledStr>) -> String {
    let text = help.map(ToString::to_string).unwrap_or_default();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let first = text.split(['.', ':', ';']).next().unwrap_or_default();
    // An abbreviation, or a name with a dot, is no end of a sentence.
    let is_whole = text[first.len()..]
        .chars()
        .nth(1)
        .is_none_or(char::is_whitespace);
    let sentence = if is_whole { first } else { &text };
    sentence.to_owned()
}

#[cfg(test)]
mod tests;
