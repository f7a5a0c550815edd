//! `underpass copy SRC|- DST|-`

use std::borrow::Cow;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use underpass::Receipt;

use super::receipt::{self, Done, ReceiptOutput};
use super::transfer::{self, TransferOptions};
use crate::args::CopyArgs;
use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::io::files::{self, Sink, Source, WriteOptions};
use crate::values::Address;

pub(crate) fn run(args: &CopyArgs) -> Result<(), Failure> {
    refuse_addresses(args)?;
    let source = Source::open(&args.source)?;
    let target = target(args)?;
    refuse_same(&source, &target)?;
    let options = transfer::write_options(args.writing, mode(&source));
    let (sink, interrupt) = Sink::open(&target, options)?;
    let output = ReceiptOutput::beside(&sink);
    receipt::ready(&args.common, output)?;
    let start = args.range.map_or(0, |range| range.start);
    sink.refuse_binary(&source.name(), &source.peek(start))?;
    let receipt = copy(args, &source, &sink, &interrupt)?;
    finish(args, sink, options, receipt, &interrupt)
}

fn copy(
    args: &CopyArgs,
    source: &Source,
    sink: &Sink,
    interrupt: &Interrupt,
) -> Result<Receipt, Failure> {
    let names = (source.name(), sink.name());
    let options = TransferOptions {
        names: names.clone(),
        range: args.range,
        ..TransferOptions::default()
    };
    transfer::begin(source, sink, &options, &args.common, interrupt)?;
    transfer::run(source, sink, options, &args.common, interrupt).map_err(|error| {
        receipt::failed(error.receipt(), &args.common, ReceiptOutput::beside(sink));
        transfer::failure(&error, &names, interrupt, &sink.leftover_note())
    })
}

fn finish(
    args: &CopyArgs,
    sink: Sink,
    options: WriteOptions,
    receipt: Receipt,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let output = ReceiptOutput::beside(&sink);
    let receipt = transfer::finish(sink, options, receipt, &args.common, interrupt)?;
    receipt::receipt(&receipt, &Done::Copied, &args.common, output)
}

/// Refuses an address, unless there is a file of that name. A new file may have a name like a time,
/// such as `12:30`, or with a directory, such as `./backup:9000`.
fn refuse_addresses(args: &CopyArgs) -> Result<(), Failure> {
    for (path, may_be_new) in [(&args.source, false), (&args.sink, true)] {
        let Some(text) = path.to_str().filter(|_| path.symlink_metadata().is_err()) else {
            continue;
        };
        let is_time = text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b':');
        let is_file = may_be_new && is_time && !text.starts_with(':');
        if text.parse::<Address>().is_ok() && !is_file {
            let file = if may_be_new && !Address::has_scheme(text) {
                format!("; a new file of this name is ./{text}")
            } else {
                String::new()
            };
            return Err(Failure::usage(format_args!(
                "{text}: is an address, and there is no such file; copy takes files: \
                 use underpass send or recv{file}"
            )));
        }
    }
    Ok(())
}

fn refuse_same(source: &Source, target: &Path) -> Result<(), Failure> {
    match Sink::descriptor(target)? {
        Some(sink) => files::refuse_same_open((source, &source.name()), (&sink, &sink.name())),
        None => files::refuse_same(source, target),
    }
}

/// If the target is a directory, the copy gets the source's name in it, as with cp(1).
fn target(args: &CopyArgs) -> Result<Cow<'_, Path>, Failure> {
    let target = &args.sink;
    if files::is_standard(target) || !target.is_dir() {
        return Ok(Cow::Borrowed(target));
    }
    match args.source.file_name() {
        Some(name) if !files::is_descriptor(&args.source) => Ok(Cow::Owned(target.join(name))),
        _ => Err(Failure::usage(format_args!(
            "{}: is a directory, and {} has no name to use in it; name the file",
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
