//! Who is compared: each a whole process that copies one file to a new one.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::program;
use crate::run::Invocation;

/// One row of the table.
pub(super) struct Copier {
    pub(super) name: &'static str,
    /// The program to run, or why there is none.
    pub(super) program: std::result::Result<Program, String>,
}

pub(super) enum Program {
    Cp(PathBuf),
    Underpass(PathBuf, Form),
    Dd(PathBuf),
    /// A hidden subcommand of the lab.
    StdCopy,
}

/// What underpass prints.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The receipt, in which each run's route is looked up.
    Json,
    /// Nothing, as cp does.
    None,
}

/// Everyone, cp first: the others are held against it.
pub(super) fn all(underpass: Option<&Path>) -> Vec<Copier> {
    let on_path =
        |name: &str| program::on_path(name).ok_or_else(|| format!("{name} is not on PATH"));
    let underpass = underpass
        .map(Path::to_owned)
        .ok_or_else(|| "no underpass binary (see --underpass)".to_owned());
    vec![
        Copier {
            name: "cp --reflink=auto",
            program: on_path("cp").map(Program::Cp),
        },
        Copier {
            name: "underpass copy",
            program: underpass
                .clone()
                .map(|path| Program::Underpass(path, Form::Json)),
        },
        Copier {
            name: "underpass copy --receipt none",
            program: underpass.map(|path| Program::Underpass(path, Form::None)),
        },
        Copier {
            name: "dd bs=1M",
            program: on_path("dd").map(Program::Dd),
        },
        Copier {
            name: "Rust std::io::copy",
            program: Ok(Program::StdCopy),
        },
    ]
}

impl Program {
    pub(super) fn invocation(&self, from: &Path, to: &Path) -> Result<Invocation> {
        Ok(match self {
            Self::Cp(cp) => Invocation::new(cp).arg("--reflink=auto").arg(from).arg(to),
            Self::Underpass(path, form) => {
                let form = if *form == Form::Json { "json" } else { "none" };
                Invocation::new(path).arg("copy").arg(from).arg(to).args([
                    "--receipt",
                    form,
                    "--quiet",
                ])
            }
            Self::Dd(dd) => Invocation::new(dd)
                .arg(operand("if=", from))
                .arg(operand("of=", to))
                .args(["bs=1M", "status=none"]),
            Self::StdCopy => Invocation::child("std-copy")?.arg(from).arg(to),
        })
    }
}

fn operand(key: &str, path: &Path) -> std::ffi::OsString {
    let mut operand = std::ffi::OsString::from(key);
    operand.push(path);
    operand
}
