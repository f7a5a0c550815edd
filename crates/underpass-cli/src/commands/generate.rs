//! `underpass completions SHELL` and `underpass man [COMMAND]`: files that packages ship beside the
//! binary.

use clap::{Command, CommandFactory};

use crate::args::Args;
use crate::exit::{self, Failure};
use crate::io::StandardStream;

pub(crate) fn completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "underpass", &mut script);
    StandardStream::Output.print(&script)
}

pub(crate) fn man(name: Option<&str>) -> Result<(), Failure> {
    let mut command = Args::command();
    command.build();
    let page = match name {
        None => command,
        Some(name) => page_of(&command, name)?,
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(page)
        .render(&mut text)
        .map_err(|error| Failure::failed(format_args!("the page cannot be made: {error}")))?;
    if name.is_some() {
        // The page of the program has them from its help.
        text.extend(exit_status().as_bytes());
    }
    StandardStream::Output.print(&text)
}

/// The section on exit codes, in roff: a hyphen that is to be copied is escaped.
fn exit_status() -> String {
    let lines = exit::HELP.lines().skip(1);
    let lines = lines.map(|line| line.replace('-', r"\-"));
    let codes = lines.collect::<Vec<_>>().join("\n");
    format!(".SH \"EXIT STATUS\"\n.nf\n{codes}\n.fi\n")
}

fn page_of(command: &Command, name: &str) -> Result<Command, Failure> {
    let found = command.find_subcommand(name).ok_or_else(|| {
        let known: Vec<_> = command.get_subcommands().map(Command::get_name).collect();
        Failure::usage(format_args!(
            "there is no command {name:?}; there are {}",
            known.join(", ")
        ))
    })?;
    Ok(found.clone())
}
