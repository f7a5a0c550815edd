//! `underpass man [COMMAND]`: manual pages, made from the same words as `--help`.

use std::fmt::Write as _;

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use crate::args::Args;
use crate::exit::{self, Failure};
use crate::io::StandardStream;

/// The day of the pages' last change. Manual pages bear one.
const DATED: &str = "2026-11-26";

/// The longest line of the pages' own text. Formatters fill lines anew.
const LINE: usize = 78;

pub(crate) fn run(name: Option<&str>) -> Result<(), Failure> {
    let mut command = Args::command();
    command.build();
    let page = match name {
        None => command,
        Some(name) => page_of(&command, name)?,
    };
    let text = rendered(page)
        .map_err(|error| Failure::failed(format_args!("the page cannot be made: {error}")))?;
    StandardStream::Output.print(text.as_bytes())
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

fn rendered(mut command: Command) -> std::io::Result<String> {
    let synopsis = synopsis(&mut command);
    let after = command.get_after_help().map(ToString::to_string);
    let is_root = command.has_subcommands();
    let name = command.get_display_name().unwrap_or("underpass").to_owned();
    let version = command.get_version().unwrap_or_default().to_owned();
    let headings = headings(&command);
    let page = Man::new(command)
        .title(name.to_uppercase())
        .date(DATED)
        .source(format!("underpass {version}"))
        .manual("underpass");
    let mut made = Vec::new();
    page.render_title(&mut made)?;
    page.render_name_section(&mut made)?;
    made.extend(synopsis.as_bytes());
    page.render_description_section(&mut made)?;
    page.render_options_section(&mut made)?;
    if is_root {
        page.render_subcommands_section(&mut made)?;
    }
    let mut text = tidied(&String::from_utf8_lossy(&made));
    for (shouted, heading) in headings {
        text = text.replace(&shouted, &heading);
    }
    text.push_str(&sections(&after.unwrap_or_default()));
    if !is_root {
        // The page of the program has them from its help.
        text.push_str(&sections(exit::HELP));
        text.push_str(".SH \"SEE ALSO\"\n.BR underpass (1)\n");
    }
    Ok(text)
}

/// Without the names of all options: those follow.
fn synopsis(command: &mut Command) -> String {
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim();
    let plain = escaped(&usage.replace(['<', '>'], ""));
    format!(".SH SYNOPSIS\n{plain}\n")
}

/// The heading of each section of options as clap writes it, in capitals, and as it should be:
/// units are no words.
fn headings(command: &Command) -> Vec<(String, String)> {
    let all = command.get_arguments();
    let mut headings: Vec<_> = all.filter_map(clap::Arg::get_help_heading).collect();
    headings.dedup();
    let with_remark = headings.into_iter().filter_map(|heading| {
        let (title, remark) = heading.split_once(" (")?;
        let shouted = format!(".SH \"{}\"\n", heading.to_uppercase());
        let (title, remark) = (title.to_uppercase(), escaped(remark));
        Some((shouted, format!(".SH \"{title}\"\n({remark}\n")))
    });
    with_remark.collect()
}

/// Lines of a moderate length without white space at their ends, and one empty line where there
/// were breaks.
fn tidied(page: &str) -> String {
    let page = page.replace("\n.br\n\n.br\n", "\n.sp\n");
    let page = page.replace(".RS 14", ".RS 7");
    let mut text = String::new();
    // Each part begins with the same two lines, about quotes.
    let is_preamble = |line: &str| line.starts_with(".ie ") || line.starts_with(".el ");
    for (at, line) in page.lines().map(str::trim_end).enumerate() {
        if at > 1 && is_preamble(line) {
            continue;
        }
        if line.starts_with('.') {
            text.push_str(line);
        } else {
            text.push_str(&wrapped(line));
        }
        text.push('\n');
    }
    text
}

fn wrapped(line: &str) -> String {
    let mut text = String::new();
    let mut column = 0;
    for word in line.split(' ') {
        // At the beginning of a line, these would be control characters.
        let may_begin = !word.starts_with(['.', '\'']) && !word.is_empty();
        if column > 0 && column + word.len() >= LINE && may_begin {
            text.push('\n');
            column = 0;
        } else if column > 0 {
            text.push(' ');
        }
        text.push_str(word);
        column += word.len() + 1;
    }
    text
}

/// The text below the options of `--help`, as sections: its first line says what the first is, the
/// indented lines stay as they are, and what comes after the examples are notes.
fn sections(help: &str) -> String {
    let mut text = String::new();
    let (mut is_literal, mut is_example) = (false, false);
    let mut ended_by = "";
    for line in help.lines() {
        let title = match line {
            "Examples:" | "Example:" => Some("EXAMPLES"),
            "Exit codes:" => Some("EXIT STATUS"),
            _ if is_example && !line.is_empty() && !line.starts_with(' ') => Some("NOTES"),
            _ => None,
        };
        let literal = line.starts_with("  ") || is_literal && line.is_empty();
        if is_literal && !literal {
            text.push_str(".fi\n");
        }
        if let Some(title) = title {
            let _ = writeln!(text, ".SH \"{title}\"");
            is_example = title == "EXAMPLES";
            ended_by = "";
        }
        if literal && !is_literal {
            text.push_str(".nf\n");
        }
        is_literal = literal;
        match line {
            _ if title.is_some_and(|title| title != "NOTES") => {}
            "" => ended_by = ".PP\n",
            _ => {
                text.push_str(if literal && !ended_by.is_empty() {
                    "\n"
                } else {
                    ended_by
                });
                ended_by = "";
                let line = escaped(line.strip_prefix("  ").unwrap_or(line));
                text.push_str(&if literal { line } else { wrapped(&line) });
                text.push('\n');
            }
        }
    }
    if is_literal {
        text.push_str(".fi\n");
    }
    text
}

/// A line whose hyphens, quotes and tildes can be copied into a shell.
fn escaped(line: &str) -> String {
    let mut text = String::new();
    for letter in line.chars() {
        match letter {
            '\\' => text.push_str(r"\e"),
            '-' => text.push_str(r"\-"),
            '\'' => text.push_str(r"\(aq"),
            '`' => text.push_str(r"\(ga"),
            '~' => text.push_str(r"\(ti"),
            '^' => text.push_str(r"\(ha"),
            '.' if text.is_empty() => text.push_str(r"\&."),
            _ => text.push(letter),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_below_the_options_becomes_sections() {
        let help = "Examples:\n  underpass x --y 'z'\n  .hidden\n\nA note,\nof two lines.\n\nAnother:\n\n  [a]\n\n  b\n";
        let want = concat!(
            ".SH \"EXAMPLES\"\n.nf\nunderpass x \\-\\-y \\(aqz\\(aq\n\\&.hidden\n.fi\n",
            ".SH \"NOTES\"\nA note,\nof two lines.\n.PP\nAnother:\n.nf\n\n[a]\n\nb\n.fi\n",
        );
        assert_eq!(sections(help), want);
    }

    #[test]
    fn no_line_begins_with_a_control_character() {
        let line = format!("{} .x 'y tail", "word ".repeat(15));
        let text = wrapped(&line);
        assert_eq!(text.replace('\n', " "), line);
        assert!(text.lines().all(|it| !it.starts_with(['.', '\''])));
        assert_eq!(text.lines().count(), 2, "{text}");
    }
}
