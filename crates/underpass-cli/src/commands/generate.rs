//! `underpass completions SHELL`: scripts that packages ship beside the binary.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Args;
use crate::exit::Failure;
use crate::io::StandardStream;

/// Scripts that ask the program itself (`super::complete`), and for other shells one that holds the
/// names of options.
pub(crate) fn completions(shell: Shell) -> Result<(), Failure> {
    let script = match shell {
        Shell::Bash => include_str!("generate/underpass.bash"),
        Shell::Zsh => include_str!("generate/underpass.zsh"),
        Shell::Fish => include_str!("generate/underpass.fish"),
        _ => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "underpass", &mut script);
            return StandardStream::Output.print(&script);
        }
    };
    StandardStream::Output.print(script.as_bytes())
}
