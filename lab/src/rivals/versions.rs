//! `versions.txt`: what every program says of itself, and of what the lab's own rivals are built.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::{Context, Result};
use crate::program;

/// Programs and how each is asked.
const PROGRAMS: &[(&str, &[&str])] = &[
    ("nginx", &["-v"]),
    ("h2o", &["-v"]),
    ("lighttpd", &["-v"]),
    ("caddy", &["version"]),
    ("apache2", &["-v"]),
    ("static-web-server", &["--version"]),
    ("miniserve", &["--version"]),
    ("dufs", &["--version"]),
    ("python3", &["--version"]),
    ("haproxy", &["-v"]),
    ("java", &["-version"]),
    ("socat", &["-V"]),
    ("nc", &["-h"]),
    ("mbuffer", &["--version"]),
    ("ncat", &["--version"]),
    ("tee", &["--version"]),
    ("bash", &["--version"]),
    ("cp", &["--version"]),
    ("dd", &["--version"]),
    ("rsync", &["--version"]),
];
/// Crates that the lab is compared by.
const CRATES: &[&str] = &["axum", "hyper", "tokio", "tower-http"];
const LOCK: &str = include_str!("../../../Cargo.lock");

pub(super) fn write(folder: &Path, underpass: Option<&Path>) -> Result<()> {
    let path = folder.join("versions.txt");
    let ours = underpass.and_then(|binary| said(binary, &["--version"]));
    let commit = said(Path::new("git"), &["describe", "--always", "--dirty"]);
    let line = |name: &str, version: Option<String>| {
        format!("{name}: {}\n", version.as_deref().unwrap_or("absent"))
    };
    let programs = PROGRAMS.iter().map(|(name, words)| {
        let program = program::rival(name, "").ok();
        line(name, program.and_then(|program| said(&program, words)))
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

/// The line that has a number in it, of what a program says on either stream.
fn said(program: &Path, words: &[&str]) -> Option<String> {
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
