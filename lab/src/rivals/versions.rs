//! `versions.txt`: the versions that programs report, and those of the crates in the lab's own
//! rivals.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::contender;
use crate::error::{Context, Result};
use crate::program;

/// Crates that the lab's own rivals are built from.
const CRATES: &[&str] = &["axum", "hyper", "rustls", "tokio", "tower-http"];
const LOCK: &str = include_str!("../../../Cargo.lock");

pub(super) fn write(folder: &Path, underpass: Option<&Path>) -> Result<()> {
    let path = folder.join("versions.txt");
    let ours = underpass.and_then(|binary| said(binary, &["--version"]));
    let commit = said(Path::new("git"), &["describe", "--always", "--dirty"]);
    let line = |name: &str, version: Option<String>| {
        format!("{name}: {}\n", version.as_deref().unwrap_or("absent"))
    };
    let programs = contender::programs()?;
    let asked = programs.iter().filter(|known| !known.version.0.is_empty());
    let programs = asked.map(|known| {
        let program = program::rival(&known.name, "").ok();
        let version = program.and_then(|program| said(&program, &known.version.0));
        line(&known.name, version)
    });
    let crates = CRATES
        .iter()
        .map(|name| line(&format!("crate {name}"), locked(name)));
    let text: String = [line("underpass", ours), line("commit", commit)]
        .into_iter()
        .chain(programs)
        .chain(crates)
        .collect();
    fs::write(&path, text).context(|| format!("cannot write {}", path.display()))
}

/// The line with a number in it, from what a program prints on either stream.
fn said(program: &Path, words: &[impl AsRef<OsStr>]) -> Option<String> {
    let said = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = [said.stdout, said.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let numbered = text
        .lines()
        .find(|line| line.contains(|c: char| c.is_ascii_digit()));
    Some(numbered.or_else(|| text.lines().next())?.trim().to_owned())
}

fn locked(name: &str) -> Option<String> {
    let wanted = format!("name = \"{name}\"");
    let mut lines = LOCK.lines().skip_while(|line| *line != wanted);
    let version = lines.nth(1)?.strip_prefix("version = ")?;
    Some(version.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_are_found_in_the_lock_file() {
        for name in CRATES {
            let version = locked(name).unwrap();
            assert!(version.starts_with(|c: char| c.is_ascii_digit()), "{name}");
        }
        assert_eq!(locked("no-such-crate"), None);
    }
}
