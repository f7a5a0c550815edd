//! `[[path]]`: rules for paths.

use http::header::InvalidHeaderName;
use http::{HeaderName, HeaderValue};
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use underpass_http::{Access, PathRule, PathRules};

use super::nearest::nearest;
use super::source::Source;
use crate::exit::Failure;

/// The name of the tables.
pub(super) const KEY: &str = "path";

const KEYS: [&str; 6] = [
    "glob",
    "headers",
    "cache-control",
    "type",
    "archive",
    "access",
];

type Value<'a> = Spanned<DeValue<'a>>;

/// What is wrong, and at which byte of the text.
type Wrong = (usize, String);

/// Reads the tables, and checks that they can be used together.
pub(super) fn read(source: &Source, value: &Value<'_>) -> Result<Vec<PathRule>, Failure> {
    let failed = |(at, why): Wrong| source.failure(at, why);
    let DeValue::Array(tables) = value.get_ref() else {
        return Err(failed((value.span().start, "write [[path]]".to_owned())));
    };
    let mut rules = Vec::new();
    for table in tables {
        rules.push(rule(table).map_err(failed)?);
    }
    if let Err(error) = PathRules::new(rules.clone()) {
        let table = tables.get(error.index());
        let at = table.map_or(0, |table| place(table, error.is_pattern()));
        return Err(source.failure(at, error));
    }
    Ok(rules)
}

/// Where a table's glob is, or its headers.
fn place(table: &Value<'_>, is_pattern: bool) -> usize {
    let key = if is_pattern { "glob" } else { "headers" };
    let value = table.get_ref().as_table().and_then(|it| it.get(key));
    value.map_or(table.span().start, |value| value.span().start)
}

fn rule(value: &Value<'_>) -> Result<PathRule, Wrong> {
    let at = value.span().start;
    let table = value.get_ref().as_table();
    let table = table.ok_or_else(|| (at, "write [[path]]".to_owned()))?;
    for key in table.keys() {
        if !KEYS.iter().any(|known| key.get_ref() == known) {
            let name = key.get_ref();
            let instead = nearest(name, KEYS.into_iter());
            let instead = instead.unwrap_or_else(|| format!("there are {}", KEYS.join(", ")));
            let why = format!("[[path]] has no {name:?}: {instead}");
            return Err((key.span().start, why));
        }
    }
    let glob = table.get("glob").ok_or_else(|| {
        let why = "[[path]] needs a glob, as in glob = \"/assets/**\"";
        (at, why.to_owned())
    })?;
    let mut rule = PathRule::new(text(glob)?);
    if let Some(value) = table.get("cache-control") {
        rule = rule.cache_control(field(value)?);
    }
    if let Some(value) = table.get("type") {
        rule = rule.media_type(media_type(value)?);
    }
    if let Some(value) = table.get("archive") {
        let archive = value.get_ref().as_bool();
        rule = rule.archive(archive.ok_or_else(|| wrong(value, "write true or false"))?);
    }
    if let Some(value) = table.get("access") {
        rule = rule.access(access(value)?);
    }
    match table.get("headers") {
        Some(value) => headers(rule, value),
        None => Ok(rule),
    }
}

fn wrong(value: &Value<'_>, why: impl Into<String>) -> Wrong {
    (value.span().start, why.into())
}

fn text<'a>(value: &'a Value<'_>) -> Result<&'a str, Wrong> {
    let text = value.get_ref().as_str();
    text.ok_or_else(|| wrong(value, "write a text in quotes"))
}

fn field(value: &Value<'_>) -> Result<HeaderValue, Wrong> {
    HeaderValue::from_str(text(value)?.trim())
        .map_err(|_| wrong(value, "this cannot be the value of a header field"))
}

fn media_type(value: &Value<'_>) -> Result<HeaderValue, Wrong> {
    let parts = text(value)?.split_once('/');
    let is_type = parts.is_some_and(|(kind, subtype)| ![kind.trim(), subtype.trim()].contains(&""));
    if !is_type {
        return Err(wrong(value, "this is no media type, as text/plain is"));
    }
    field(value)
}

fn access(value: &Value<'_>) -> Result<Access, Wrong> {
    match text(value)? {
        "allow" => Ok(Access::Allow),
        "deny" => Ok(Access::Deny),
        "auth" => Ok(Access::Authenticated),
        other => {
            let why = format!("access is \"allow\", \"deny\" or \"auth\", and not {other:?}");
            Err(wrong(value, why))
        }
    }
}

fn headers(mut rule: PathRule, value: &Value<'_>) -> Result<PathRule, Wrong> {
    let table: Option<&DeTable<'_>> = value.get_ref().as_table();
    let example = "write a table, as in headers = { X-Frame-Options = \"DENY\" }";
    for (name, value) in table.ok_or_else(|| wrong(value, example))? {
        let parsed: Result<HeaderName, InvalidHeaderName> = name.get_ref().parse();
        let parsed = parsed.map_err(|_| {
            let why = format!("{:?} cannot be the name of a header field", name.get_ref());
            (name.span().start, why)
        })?;
        rule = rule.header(parsed, field(value)?);
    }
    Ok(rule)
}
