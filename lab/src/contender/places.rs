//! The values that are filled into command lines and configuration files.

use std::fmt::Display;

use crate::error::{Error, Result};

/// Values by name: `{NAME}` in a text is replaced by the value.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places(Vec<(String, String)>);

impl Places {
    pub(crate) fn with(mut self, name: &str, value: &(impl Display + ?Sized)) -> Self {
        self.0.push((name.to_owned(), value.to_string()));
        self
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// # Errors
    /// A name that has no value.
    pub(crate) fn fill(&self, text: &str) -> Result<String> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            filled += before;
            let Some(name) = name_at_start(after) else {
                filled.push('{');
                rest = after;
                continue;
            };
            let value = self.get(name);
            filled += value.ok_or_else(|| Error::new(format!("nothing is known as {{{name}}}")))?;
            rest = &after[name.len() + 1..];
        }
        Ok(filled + rest)
    }
}

/// The name in a text such as `NAME} and more`.
fn name_at_start(text: &str) -> Option<&str> {
    let (name, _) = text.split_once('}')?;
    let in_capitals = |c: char| c.is_ascii_uppercase() || c == '_';
    (!name.is_empty() && name.chars().all(in_capitals)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_capitals_are_filled_in_once() {
        let places = Places::default().with("A", "{B_}").with("B_", &2);
        let filled = places.fill("{A}{B_} { A } ${1%/*} {}").unwrap();
        assert_eq!(filled, "{B_}2 { A } ${1%/*} {}");
    }

    #[test]
    fn an_unknown_name_is_an_error() {
        let error = Places::default().fill("x {ROOT}").unwrap_err();
        assert_eq!(error.to_string(), "nothing is known as {ROOT}");
    }
}
