//! The file system in memory that a machine starts from: busybox, modules, underpass, and the files
//! to run.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::modules::Module;
use crate::error::{Context, Error, Result};
use crate::run::{Invocation, run};

const INIT: &str = include_str!("init.sh");
/// Directories in which init mounts or puts something.
const DIRECTORIES: [&str; 8] = [
    "bin",
    "proc",
    "sys",
    "dev",
    "tmp",
    "mnt",
    "root",
    "lab/modules",
];

/// The content of the file system.
pub(super) struct Contents<'a> {
    /// Both are statically linked, because the machine has no libraries.
    pub(super) busybox: &'a Path,
    pub(super) underpass: &'a Path,
    pub(super) modules: &'a [Module],
    /// Files that are put into /root under their own names.
    pub(super) files: &'a [PathBuf],
    pub(super) command: &'a [OsString],
}

/// Makes `dir/initramfs`.
pub(super) fn make(dir: &Path, contents: &Contents<'_>) -> Result<PathBuf> {
    let (tree, archive) = (dir.join("tree"), dir.join("initramfs"));
    for name in DIRECTORIES {
        let path = tree.join(name);
        fs::create_dir_all(&path).context(|| format!("cannot make {}", path.display()))?;
    }
    copy(contents.busybox, &tree.join("bin/busybox"))?;
    copy(contents.underpass, &tree.join("bin/underpass"))?;
    symlink("busybox", tree.join("bin/sh")).context(|| "cannot make a link".into())?;
    write(&tree.join("init"), INIT.as_bytes(), 0o755)?;
    write(&tree.join("lab/command"), &script(contents.command), 0o755)?;
    put_modules(&tree.join("lab/modules"), contents.modules)?;
    put_files(&tree.join("root"), contents.files)?;
    let pack = "find . | busybox cpio -o -H newc -F \"$0\"";
    run(&Invocation::new("sh")
        .args(["-c", pack])
        .arg(&archive)
        .within(&tree))?;
    Ok(archive)
}

fn put_modules(dir: &Path, modules: &[Module]) -> Result<()> {
    let mut order = String::new();
    for module in modules {
        write(
            &dir.join(&module.name).with_extension("ko"),
            &module.bytes,
            0o644,
        )?;
        order.push_str(&module.name);
        order.push('\n');
    }
    write(&dir.join("order"), order.as_bytes(), 0o644)
}

fn put_files(dir: &Path, files: &[PathBuf]) -> Result<()> {
    for file in files {
        let nameless = || Error::new(format!("not a file: {}", file.display()));
        let target = dir.join(file.file_name().ok_or_else(nameless)?);
        if target.exists() {
            let target = target.file_name().unwrap_or_default().to_string_lossy();
            return Err(Error::new(format!("two files are called {target}")));
        }
        copy(file, &target)?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    fs::write(path, bytes)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode)))
        .context(|| format!("cannot write {}", path.display()))
}

/// A script that executes the command, whatever bytes its words contain.
fn script(command: &[OsString]) -> Vec<u8> {
    let mut script = b"#!/bin/sh\nexec".to_vec();
    for word in command {
        script.extend_from_slice(b" '");
        for &byte in word.as_bytes() {
            match byte {
                b'\'' => script.extend_from_slice(br"'\''"),
                _ => script.push(byte),
            }
        }
        script.push(b'\'');
    }
    script.push(b'\n');
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_arrives_as_it_was() {
        let words = [
            "printf",
            "[%s]",
            "a b",
            "it's",
            "$HOME `x` \\",
            "",
            "two\nlines",
        ];
        let words: Vec<OsString> = words.into_iter().map(OsString::from).collect();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("command");
        fs::write(&path, script(&words)).unwrap();
        let said = run(&Invocation::new("sh").arg(&path)).unwrap().stdout;
        assert_eq!(said, "[a b][it's][$HOME `x` \\][][two\nlines]");
    }

    #[test]
    fn two_files_of_one_name_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x");
        fs::write(&file, "").unwrap();
        let target = tempfile::tempdir().unwrap();
        let refused = put_files(target.path(), &[file.clone(), file]);
        assert_eq!(refused, Err(Error::new("two files are called x")));
    }
}
