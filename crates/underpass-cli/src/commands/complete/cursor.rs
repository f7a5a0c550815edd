//! Finds out which argument of which command the cursor is in.

use clap::{Arg, Command, Id};

/// Where the cursor is.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    pub(super) command: &'a Command,
    pub(super) place: Place<'a>,
    /// The options before the cursor.
    pub(super) given: Vec<&'a Id>,
}

#[derive(Debug)]
pub(super) enum Place<'a> {
    /// The name of a command.
    Command,
    /// The name of an option.
    Option,
    /// The value of one of these arguments. After `option`, if the word begins with that
    /// (`--route=`).
    Value {
        arguments: Vec<&'a Arg>,
        option: String,
    },
}

impl<'a> Cursor<'a> {
    /// At the end of `typed`, which stands after the words `before`.
    pub(super) fn after(root: &'a Command, before: &[&str], typed: &str) -> Self {
        let mut reading = Reading::new(root);
        for word in before {
            reading.word(word);
        }
        Self {
            command: reading.command,
            place: reading.place(typed),
            given: reading.given,
        }
    }
}

/// What the words so far were.
struct Reading<'a> {
    command: &'a Command,
    given: Vec<&'a Id>,
    /// The option whose value comes next.
    awaited: Option<&'a Arg>,
    /// Number of arguments that are no options.
    positionals: usize,
    /// After `--`, nothing is an option.
    only_positionals: bool,
}

impl<'a> Reading<'a> {
    fn new(command: &'a Command) -> Self {
        Self {
            command,
            given: Vec::new(),
            awaited: None,
            positionals: 0,
            only_positionals: false,
        }
    }

    fn word(&mut self, word: &str) {
        if self.awaited.take().is_some() {
            return;
        }
        match word {
            "--" if !self.only_positionals => self.only_positionals = true,
            _ if self.is_option(word) => self.option(word),
            _ => match self.command.find_subcommand(word) {
                Some(command) => *self = Self::new(command),
                None => self.positionals += 1,
            },
        }
    }

    fn is_option(&self, word: &str) -> bool {
        !self.only_positionals && word.starts_with('-') && word != "-"
    }

    fn option(&mut self, word: &str) {
        if let Some(long) = word.strip_prefix("--") {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (long, None),
            };
            if let Some(option) = self.long(name) {
                self.given.push(option.get_id());
                self.awaited = Some(option).filter(|it| value.is_none() && has_next(it));
            }
            return;
        }
        let mut letters = word.chars().skip(1);
        while let Some(letter) = letters.next() {
            let mut options = self.command.get_arguments();
            let Some(option) = options.find(|it| it.get_short() == Some(letter)) else {
                return;
            };
            self.given.push(option.get_id());
            if has_next(option) {
                // What follows the letter is the value.
                self.awaited = Some(option).filter(|_| letters.next().is_none());
                return;
            }
        }
    }

    fn long(&self, name: &str) -> Option<&'a Arg> {
        let mut options = self.command.get_arguments();
        options.find(|it| it.get_long() == Some(name))
    }

    fn place(&self, typed: &str) -> Place<'a> {
        if let Some(option) = self.awaited {
            return Place::Value {
                arguments: vec![option],
                option: String::new(),
            };
        }
        if self.is_option(typed) {
            return self.option_place(typed);
        }
        let arguments = self.positional();
        if self.positionals == 0 && self.command.has_subcommands() {
            Place::Command
        } else if arguments.is_empty() {
            Place::Option
        } else {
            let option = String::new();
            Place::Value { arguments, option }
        }
    }

    fn option_place(&self, typed: &str) -> Place<'a> {
        let name = typed.strip_prefix("--").and_then(|it| it.split_once('='));
        let option = name.and_then(|(name, _)| self.long(name));
        match (option, name) {
            (Some(option), Some((name, _))) if option.get_action().takes_values() => Place::Value {
                arguments: vec![option],
                option: format!("--{name}="),
            },
            _ => Place::Option,
        }
    }

    /// The arguments that the next word may be. After one that takes several words, that is this
    /// one and the next one.
    fn positional(&self) -> Vec<&'a Arg> {
        let all = self.command.get_positionals();
        // After `--`, what can stand only there, if there is such an argument.
        let (last, all): (Vec<_>, Vec<_>) = all.partition(|argument| argument.is_last_set());
        if self.only_positionals && !last.is_empty() {
            return last;
        }
        let is_many = |argument: &Arg| matches!(argument.get_action(), clap::ArgAction::Append);
        match all.iter().position(|argument| is_many(argument)) {
            Some(many) if self.positionals > many => all[many..].to_vec(),
            _ => all.get(self.positionals).copied().into_iter().collect(),
        }
    }
}

/// Whether the word after the option is its value.
fn has_next(option: &Arg) -> bool {
    option.get_action().takes_values() && !option.is_require_equals_set()
}
