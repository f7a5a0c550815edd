//! The exact commands of all contenders: command lines, and the configuration files that they name.

use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use crate::run::Invocation;

/// The commands, in the order in which each was first run.
#[derive(Default)]
pub(crate) struct Commands(Mutex<Vec<(String, String)>>);

impl Commands {
    /// Records the first command with this name, and the text of its configuration file.
    pub(crate) fn note(&self, name: &str, invocation: &Invocation, configuration: Option<&str>) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.iter().any(|(known, _)| known == name) {
            return;
        }
        let mut text = format!("    {}\n", here(&invocation.to_string()));
        for line in configuration.unwrap_or_default().lines() {
            let _ = writeln!(text, "        {}", here(line));
        }
        noted.push((name.to_owned(), text));
    }
}

impl std::fmt::Display for Commands {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        noted
            .iter()
            .try_for_each(|(name, text)| writeln!(f, "{name}\n{text}"))
    }
}

/// Makes paths relative to where the lab was started, so that a kept run shows nothing of the
/// machine's directories.
fn here(text: &str) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    match here.to_str() {
        Some(here) if here.len() > 1 => text.replace(&format!("{here}/"), ""),
        _ => text.to_owned(),
    }
}
