//! `underpass copy SRC|- DST|-`

use std::borrow::Cow;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::args::Copy;
use crate::exit::Failure;
use crate::moving::{self, Wishes};
use crate::place::{self, Sink, Source};
use crate::report::{self, Output};

pub(crate) fn run(args: &Copy) -> Result<(), Failure> {
    let source = Source::open(&args.source)?;
    let target = target(args)?;
    if place::is_same_file(&source, &target) {
        return Err(Failure::usage(format_args!(
            "{} and {} are the same file",
            args.source.display(),
            target.display()
        )));
    }
    let (sink, interrupt) = Sink::open(&target, args.force, mode(&source))?;
    let output = Output::beside(&sink);
    let names = (source.name(), sink.name());
    let wishes = Wishes {
        names: names.clone(),
        range: args.range,
        ..Wishes::default()
    };
    match moving::run(&source, &sink, wishes, &args.common, &interrupt) {
        Ok(receipt) => {
            sink.commit()?;
            report::receipt(&receipt, &args.common, output);
            Ok(())
        }
        Err(error) => {
            report::failed(error.receipt(), &args.common, output);
            Err(moving::failure(&error, &names, &interrupt, ""))
        }
    }
}

/// A directory as the target means a file of the source's name in it, as for cp(1).
fn target(args: &Copy) -> Result<Cow<'_, Path>, Failure> {
    let target = &args.sink;
    if place::is_standard(target) || !target.is_dir() {
        return Ok(Cow::Borrowed(target));
    }
    match args.source.file_name() {
        Some(name) if !place::is_standard(&args.source) => Ok(Cow::Owned(target.join(name))),
        _ => Err(Failure::usage(format_args!(
            "{}: is a directory, and {} has no name to take in it",
            target.display(),
            args.source.display()
        ))),
    }
}

/// The copy gets the source's permissions less the umask, as for cp(1).
fn mode(source: &Source) -> u32 {
    match source.metadata() {
        Some(metadata) if metadata.is_file() => metadata.permissions().mode() & 0o777,
        _ => 0o666,
    }
}
