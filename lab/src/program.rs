//! Finds the programs that are compared.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::Advice;

use crate::error::{Context, Error, Result};

/// The `underpass` to measure: the one that was named, otherwise the one built beside the lab,
/// otherwise the one on PATH.
///
/// # Errors
///
/// A named path that does not exist. If neither of the others exists, the result is `None`.
pub(crate) fn underpass(named: Option<&Path>) -> Result<Option<PathBuf>> {
    if let Some(path) = named {
        return is_there(path).map(|()| Some(path.to_owned()));
    }
    let sibling = std::env::current_exe()
        .ok()
        .map(|lab| lab.with_file_name("underpass"));
    Ok(sibling
        .filter(|path| path.is_file())
        .or_else(|| on_path("underpass")))
}

/// Fails unless the named underpass binary is a file.
pub(crate) fn is_there(path: &Path) -> Result<()> {
    let error = || Error::new(format!("no underpass binary at {}", path.display()));
    path.is_file().then_some(()).ok_or_else(error)
}

/// Makes the binary be read from the disk again, like an installed program. The pages that a linker
/// has just written lie in the page cache in small pieces. Mapping those made the same program
/// start 0.2 ms later, which is a tenth of a reflink copy.
pub(crate) fn as_installed(binary: &Path) -> Result<()> {
    let file = File::open(binary).context(|| format!("cannot open {}", binary.display()))?;
    rustix::fs::fsync(&file)
        .and_then(|()| rustix::fs::fadvise(&file, 0, None, Advice::DontNeed))
        .map_err(std::io::Error::from)
        .context(|| format!("cannot write {} back", binary.display()))
}

/// Describes the binary for the header.
pub(crate) fn describe(underpass: Option<&Path>) -> String {
    let Some(path) = underpass else {
        return "absent".to_owned();
    };
    let debug = path.components().any(|part| part.as_os_str() == "debug");
    let warning = if debug {
        " (a debug build: its CPU time means little)"
    } else {
        ""
    };
    // The path is relative to where the lab was started, so that a kept run shows nothing of the
    // machine's directories.
    let here = std::env::current_dir().unwrap_or_default();
    let path = path.strip_prefix(here).unwrap_or(path);
    format!("{}{warning}", path.display())
}

/// This program itself; its hidden subcommands are rivals of our own.
pub(crate) fn lab() -> std::result::Result<PathBuf, String> {
    std::env::current_exe().map_err(|error| format!("cannot find the lab's own program: {error}"))
}

/// A rival of this name: on PATH, in the directories where Debian keeps servers and which are not
/// on everybody's PATH, or where `scripts/install-rivals` puts what it builds. A path means that
/// file.
pub(crate) fn rival(name: &str, package: &str) -> std::result::Result<PathBuf, String> {
    let file = Path::new(name);
    if file.is_absolute() && file.exists() {
        return Ok(file.to_owned());
    }
    let built = std::env::current_exe()
        .ok()
        .and_then(|lab| Some(lab.parent()?.parent()?.join("rivals/bin").join(name)));
    let sbin = Path::new("/usr/sbin").join(name);
    let elsewhere = [Some(sbin), built].into_iter().flatten();
    let found = on_path(name).or_else(|| elsewhere.into_iter().find(|path| is_executable(path)));
    found.ok_or_else(|| format!("not installed: {package} (scripts/install-rivals)"))
}

/// The first executable file of this name on PATH.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|candidate| is_executable(candidate))
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_on_the_path_only() {
        assert!(on_path("sh").is_some());
        assert!(on_path("no-such-program-anywhere").is_none());
    }

    #[test]
    fn a_named_binary_must_exist() {
        assert!(underpass(Some(Path::new("/nonexistent/underpass"))).is_err());
    }

    #[test]
    fn a_debug_build_is_told() {
        assert!(describe(Some(Path::new("/x/target/debug/underpass"))).contains("debug build"));
        assert_eq!(describe(None), "absent");
    }
}
