//! The settings of a configuration file, and the options of the command line that they are.

use std::error::Error;
use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command, Id};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use underpass_http::PathRule;

use super::nearest::nearest;
use super::source::Source;
use super::{NOT_IN_FILES, rules};
use crate::exit::Failure;

/// An option that is set.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    /// The name in the file.
    pub(super) key: String,
    /// clap's name.
    pub(super) id: Id,
    /// The values; none for `false`.
    values: Vec<Option<String>>,
    is_positional: bool,
    /// Where it is set: a byte of the text.
    pub(super) at: usize,
}

/// Where it is set does not count.
impl PartialEq for Setting {
    fn eq(&self, other: &Self) -> bool {
        (&self.key, &self.values) == (&other.key, &other.values)
    }
}

impl Setting {
    /// The same as arguments.
    pub(super) fn arguments(&self) -> impl Iterator<Item = OsString> {
        self.values.iter().map(|value| match value {
            Some(value) if self.is_positional => value.into(),
            Some(value) => format!("--{}={value}", self.key).into(),
            None => format!("--{}", self.key).into(),
        })
    }
}

/// Reads the settings of a file, whose names are those of `command`'s options, and its rules for
/// paths.
pub(super) fn read(
    source: &Source,
    command: &Command,
) -> Result<(Vec<Setting>, Vec<PathRule>), Failure> {
    let table = parse(source)?;
    let (mut settings, mut rules) = (Vec::new(), Vec::new());
    for (key, value) in table.get_ref() {
        if key.get_ref() == rules::KEY {
            rules = rules::read(source, value)?;
            continue;
        }
        let Some(arg) = command.get_arguments().find(|arg| is(arg, key.get_ref())) else {
            let why = unknown(key.get_ref(), command);
            return Err(source.failure(key.span().start, why));
        };
        let values = values(arg, value).map_err(|(at, why)| {
            source.failure(at, format_args!("{key}: {why}", key = key.get_ref()))
        })?;
        settings.push(Setting {
            key: key.get_ref().to_string(),
            id: arg.get_id().clone(),
            values,
            is_positional: arg.is_positional(),
            at: value.span().start,
        });
    }
    Ok((settings, rules))
}

fn parse(source: &Source) -> Result<Spanned<DeTable<'_>>, Failure> {
    DeTable::parse(source.text()).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        source.failure(at, format_args!("not TOML: {}", error.message()))
    })
}

/// The name of an option in a file: its long name, or that of its environment variable.
fn name(arg: &Arg) -> Option<String> {
    if NOT_IN_FILES.contains(&arg.get_id().as_str()) {
        return None;
    }
    if let Some(long) = arg.get_long() {
        return Some(long.to_owned());
    }
    let variable = arg.get_env()?.to_str()?.strip_prefix("UNDERPASS_")?;
    Some(variable.to_ascii_lowercase().replace('_', "-"))
}

pub(super) fn is(arg: &Arg, key: &str) -> bool {
    name(arg).is_some_and(|name| name == key)
}

/// The names of all options.
pub(super) fn names(command: &Command) -> Vec<String> {
    command.get_arguments().filter_map(name).collect()
}

fn unknown(key: &str, command: &Command) -> String {
    let names = names(command);
    let names = names.iter().map(String::as_str);
    let near = nearest(key, names.chain([rules::KEY]));
    let instead = near.unwrap_or_else(|| {
        "the names are those of the options: see underpass serve --help".to_owned()
    });
    format!("there is no option {key:?}: {instead}")
}

type Wrong = (usize, String);

/// The values of an option; a flag that is set has one without text.
fn values(arg: &Arg, value: &Spanned<DeValue<'_>>) -> Result<Vec<Option<String>>, Wrong> {
    let at = value.span().start;
    let is_flag = matches!(arg.get_action(), ArgAction::SetTrue);
    let is_repeatable = matches!(arg.get_action(), ArgAction::Append);
    match value.get_ref() {
        DeValue::Boolean(given) if is_flag => Ok(given.then_some(None).into_iter().collect()),
        _ if is_flag => Err((at, "write true or false".to_owned())),
        DeValue::Array(values) if is_repeatable => {
            let values = values.iter();
            values.map(|value| scalar(value).map(Some)).collect()
        }
        DeValue::Array(_) => Err((
            at,
            "write one value: this option is not repeatable".to_owned(),
        )),
        _ => Ok(vec![Some(scalar(value)?)]),
    }
}

/// A value as it would be typed.
fn scalar(value: &Spanned<DeValue<'_>>) -> Result<String, Wrong> {
    match value.get_ref() {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) => Ok(number.to_string()),
        DeValue::Float(number) => Ok(number.to_string()),
        _ => Err((
            value.span().start,
            "write a value in quotes, or a number".to_owned(),
        )),
    }
}

/// The setting that an error of clap is about, and a line that says what is wrong.
pub(super) fn explain<'a>(
    settings: &'a [Setting],
    error: &clap::Error,
) -> Option<(&'a Setting, String)> {
    let text = |kind| error.get(kind).map(ToString::to_string);
    let named = text(ContextKind::InvalidArg)?;
    let setting = settings.iter().find(|it| is_named(it, &named))?;
    let key = &setting.key;
    let value = text(ContextKind::InvalidValue).unwrap_or_default();
    let line = match error.kind() {
        ErrorKind::ValueValidation => {
            let why = error.source().map(ToString::to_string).unwrap_or_default();
            format!("{key}: {value:?} is not valid: {why}")
        }
        ErrorKind::InvalidValue => {
            let known = match error.get(ContextKind::ValidValue) {
                Some(ContextValue::Strings(known)) => known.join(", "),
                _ => String::new(),
            };
            format!("{key}: {value:?} is not one of the values: {known}")
        }
        ErrorKind::ArgumentConflict => {
            let other = text(ContextKind::PriorArg).unwrap_or_default();
            format!("{key} cannot be used together with {other}")
        }
        _ => return None,
    };
    Some((setting, line))
}

/// Whether clap's name of an argument, such as `--rate <RATE>`, is that of a setting.
fn is_named(setting: &Setting, named: &str) -> bool {
    let first = named.split([' ', '=']).next().unwrap_or_default();
    match first.strip_prefix("--") {
        Some(long) => long == setting.key,
        None => setting.is_positional && first.starts_with(['[', '<']),
    }
}
