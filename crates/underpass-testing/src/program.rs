//! Inspects and copies program files.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

/// Whether a 64-bit ELF program runs without a dynamic linker and libraries: then it names no
/// interpreter.
///
/// # Errors
///
/// What reading returned; `InvalidData` if it is not a 64-bit ELF program.
pub fn is_static(path: &Path) -> io::Result<bool> {
    let program = fs::read(path)?;
    names_interpreter(&program)
        .map(|interpreted| !interpreted)
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Copies a program that is to be run, with its mode, by cp(1).
///
/// If the test program wrote the copy itself, what another of its threads starts meanwhile would
/// hold that descriptor until its execve(2), and running the copy could fail with `ETXTBSY`.
///
/// # Panics
///
/// cp cannot be run, or fails.
pub fn copy_program(from: impl AsRef<Path>, to: impl AsRef<Path>) {
    let mut copy = Command::new("cp");
    copy.args(["--preserve=mode", "--"]);
    let status = copy.arg(from.as_ref()).arg(to.as_ref()).status();
    assert!(status.unwrap().success(), "{copy:?}");
}

/// Whether a program header is of the type `PT_INTERP` (elf(5)).
fn names_interpreter(program: &[u8]) -> Option<bool> {
    const PT_INTERP: [u8; 4] = [3, 0, 0, 0];
    let number = |at: usize, bytes: usize| {
        let mut number = [0; 8];
        number[..bytes].copy_from_slice(program.get(at..at + bytes)?);
        Some(u64::from_le_bytes(number) as usize)
    };
    if !program.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (table, entry, count) = (number(0x20, 8)?, number(0x36, 2)?, number(0x38, 2)?);
    (0..count).try_fold(false, |found, at| {
        let start = table.checked_add(at * entry)?;
        let kind = program.get(start..start.checked_add(4)?)?;
        Some(found || kind == PT_INTERP)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This test is linked dynamically, which is the default for Rust programs.
    #[test]
    fn a_program_with_libraries_is_not_static() {
        let this = std::env::current_exe().unwrap();
        assert_eq!(
            is_static(&this).ok(),
            Some(cfg!(target_feature = "crt-static"))
        );
        let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        assert!(is_static(&text).is_err());
    }

    #[test]
    fn a_program_without_an_interpreter_is_static() {
        let mut program = vec![0; 0x78];
        program[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (program[0x20], program[0x36], program[0x38]) = (0x40, 0x38, 1);
        program[0x40] = 1;
        assert_eq!(names_interpreter(&program), Some(false));
        program[0x40] = 3;
        assert_eq!(names_interpreter(&program), Some(true));
        program.truncate(0x41);
        assert_eq!(names_interpreter(&program), None);
    }
}
