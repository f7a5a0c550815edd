//! Patterns of paths, as `.gitignore` has them.

use globset::{Glob, GlobBuilder};

/// A pattern.
#[derive(Debug)]
pub(super) enum Pattern {
    /// Matches the root, and so everything.
    All,
    /// As globset matches it, from the root.
    Glob(String),
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// Why it can never match, or cannot be read.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let mut bare = text.trim_end_matches('/');
        // A slash at the end, or `/**`, changes nothing: what matches a directory is for everything
        // below it.
        while let Some(directory) = bare.strip_suffix("/**") {
            bare = directory.trim_end_matches('/');
        }
        let is_anchored = text.trim_end_matches('/').contains('/');
        let names = bare.trim_start_matches('/');
        if text.is_empty() {
            return Err("an empty pattern matches nothing; ** matches everything".to_owned());
        }
        if names.is_empty() || names == "**" {
            return Ok(Self::All);
        }
        if names.split('/').any(|name| matches!(name, "" | "." | "..")) {
            return Err(format!(
                "{text:?} matches nothing: no path has an empty name, . or .."
            ));
        }
        let glob = if is_anchored {
            names.to_owned()
        } else {
            format!("**/{names}")
        };
        build(&glob, false).map_err(|why| format!("{text:?} is not a pattern: {why}"))?;
        Ok(Self::Glob(glob))
    }

    /// The glob; with `any_case`, upper and lower case are the same.
    pub(super) fn glob(&self, any_case: bool) -> Result<Option<Glob>, String> {
        match self {
            Self::All => Ok(None),
            Self::Glob(glob) => build(glob, any_case).map(Some),
        }
    }
}

fn build(glob: &str, any_case: bool) -> Result<Glob, String> {
    GlobBuilder::new(glob)
        .literal_separator(true)
        .backslash_escape(true)
        .case_insensitive(any_case)
        .build()
        .map_err(|error| error.kind().to_string())
}
