//! The text of errors of the command line. clap finds them; here it is said what was meant.

use std::error::Error as _;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Error};

use crate::args::Args;
use crate::values::Address;

/// The text of `error` for a terminal or a file, where something is to be changed in clap's own.
pub(crate) fn text(error: &Error) -> Option<String> {
    let command = words().next().unwrap_or_default();
    let plain = error.render().to_string();
    let changed = match error.kind() {
        ErrorKind::ValueValidation => wrong_value(error, &plain, &command)?,
        ErrorKind::InvalidValue => missing_value(error, &plain)?,
        ErrorKind::UnknownArgument => unknown(error, &plain, &command)?,
        ErrorKind::MissingRequiredArgument => plain,
        _ => return None,
    };
    let help = format!("'underpass {command} --help'");
    Some(changed.trim_end().replace("'--help'", &help))
}

/// What was typed after the program's name. Names may have any bytes.
fn words() -> impl Iterator<Item = String> {
    let words = std::env::args_os().skip(1);
    words.map(|word| word.to_string_lossy().into_owned())
}

fn context(error: &Error, kind: ContextKind) -> Option<&str> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text),
        _ => None,
    }
}

/// A value that cannot be: clap repeats it before our reason, which names it too. For an argument
/// without an option, its place follows: two of them may have been swapped.
fn wrong_value(error: &Error, plain: &str, command: &str) -> Option<String> {
    let argument = context(error, ContextKind::InvalidArg)?;
    let reason = error.source()?.to_string();
    let value = context(error, ContextKind::InvalidValue).unwrap_or_default();
    let begin = plain.find(&reason)?;
    let rest = &plain[begin + reason.len()..];
    // Some reasons do not name it.
    let said = if let Some(number) = wrong_number(&reason, value) {
        format!("{argument}: {number}")
    } else if reason.contains(value) {
        format!("{argument}: {reason}")
    } else {
        let said = &plain[..begin + reason.len()];
        said.trim_start_matches("error: ").to_owned()
    };
    let (tip, usage) = if argument.starts_with('<') {
        (swapped(command), usage(command).unwrap_or_default())
    } else {
        (String::new(), String::new())
    };
    Some(format!("error: {said}{tip}{usage}{rest}"))
}

/// What is wrong with a number, where the reason is in the words of the standard library.
fn wrong_number(reason: &str, value: &str) -> Option<String> {
    Some(match reason {
        "number would be zero for non-zero type" => format!("{value} is too few; the least is 1"),
        "number too large to fit in target type" => format!("{value} is too large a number"),
        "invalid digit found in string" | "cannot parse integer from empty string" => {
            format!("{value:?} is not a whole number, like 4 or 1000")
        }
        _ => return None,
    })
}

/// A tip, if file and address have each other's place.
fn swapped(command: &str) -> String {
    let words: Vec<_> = words().skip(1).collect();
    let is_address = |word: &String| word.parse::<Address>().is_ok();
    let right = match (&words[..], command) {
        ([address, file], "send") if is_address(address) && !is_address(file) => {
            format!("underpass send {file} {address}")
        }
        ([file, address], "recv") if is_address(address) && !is_address(file) => {
            format!("underpass recv {address} {file}")
        }
        _ => return String::new(),
    };
    format!("\n\n  tip: file and address have each other's place: {right}")
}

fn usage(command: &str) -> Option<String> {
    let mut all = Args::command();
    all.build();
    let usage = all.find_subcommand_mut(command)?.render_usage();
    Some(format!("\n\n{usage}"))
}

/// An option whose value is missing gets an example.
fn missing_value(error: &Error, plain: &str) -> Option<String> {
    let option = context(error, ContextKind::InvalidArg)?;
    let value = context(error, ContextKind::InvalidValue).unwrap_or_default();
    let (option, name) = option.split_once(' ').filter(|_| value.is_empty())?;
    let example = match name.trim_start_matches('<').split('>').next()? {
        "PORT" => "8080",
        "ADDR" => "127.0.0.1:9000",
        "TIME" => "30s",
        "BYTES" => "1MiB",
        "RANGE" => "1MiB..2MiB",
        "N" => "4",
        "RATE" => "10MiB/s",
        _ => return None,
    };
    let said = "none was supplied";
    Some(plain.replacen(said, &format!("{said}; write {option} {example}"), 1))
}

/// An argument that the command does not have.
fn unknown(error: &Error, plain: &str, command: &str) -> Option<String> {
    let argument = context(error, ContextKind::InvalidArg)?;
    let meant = meant(command, argument)?;
    let (first, rest) = plain.split_once("\n\n")?;
    // clap's own tip is a guess from the letters.
    let rest = match rest.trim_start().strip_prefix("tip:") {
        Some(tip) => tip.split_once("\n\n").map_or("", |(_, rest)| rest),
        None => rest,
    };
    Some(format!("{first}\n\n  tip: {meant}\n\n{rest}"))
}

/// What an argument was probably meant for.
fn meant(command: &str, argument: &str) -> Option<String> {
    let is_port = argument.parse::<u16>().is_ok();
    let is_address = argument.parse::<Address>().is_ok();
    let is_option = argument.starts_with('-');
    // clap takes it for an option, and would have it behind `--`.
    let mut after_dash = argument.strip_prefix('-').into_iter().flat_map(str::chars);
    if after_dash
        .next()
        .is_some_and(|first| first.is_ascii_digit())
    {
        return Some("no number here can be negative".to_owned());
    }
    Some(match command {
        "serve" if is_port => format!("to listen at port {argument}, write --port {argument}"),
        "serve" if is_address => format!("to listen there, write --listen {argument}"),
        "serve" if !is_option => "one directory or one file is served".to_owned(),
        "relay" if is_address => {
            "write underpass relay --listen ADDR --to ADDR, the first for clients".to_owned()
        }
        "fan-out" if !is_option => {
            format!("write underpass fan-out --listen ADDR --from {argument}")
        }
        "recv" if matches!(argument, "-p" | "--port" | "-l" | "--listen") => {
            "the address stands alone: underpass recv :9000 FILE".to_owned()
        }
        "send" if matches!(argument, "-p" | "--port" | "--to" | "--host") => {
            "the address stands alone, after the file: underpass send FILE HOST:9000".to_owned()
        }
        "copy" if matches!(argument, "-r" | "-R" | "-a" | "--recursive") => {
            "copy takes one file; directories go from underpass send DIR ADDR to underpass recv ADDR DIR/"
                .to_owned()
        }
        "send" | "recv" if matches!(argument, "-r" | "-R" | "-a" | "--recursive") => {
            "a directory needs no option: underpass send DIR ADDR, and underpass recv ADDR DIR/"
                .to_owned()
        }
        "top" if matches!(argument, "-p" | "--pid") => {
            "the number stands alone: underpass top PID".to_owned()
        }
        "top" if matches!(argument, "-d" | "--delay") => "write --interval TIME".to_owned(),
        "copy" if !is_option => "copy takes one file and its copy".to_owned(),
        "measure" if !is_option => "measure makes its own files; --sizes says how large".to_owned(),
        _ => return None,
    })
}
