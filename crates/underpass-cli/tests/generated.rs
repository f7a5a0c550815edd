//! Files that packages ship beside the binary, and what the binary says about itself.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::{Dir, Running, collected, needs, run};

const COMMANDS: [(&str, &str); 9] = [
    ("send", "Send a file"),
    ("recv", "Accept one connection"),
    ("copy", "Copy a file"),
    ("serve", "Serve a directory"),
    ("measure", "Count the copies"),
    ("top", "Show which programs copy"),
    ("relay", "Pass connections on"),
    ("fan-out", "Send a file, or one stream"),
    ("explain", "Show which routes"),
];

/// Those of other shells ask the program: see `completions`.
#[test]
fn completions_know_every_command() {
    for shell in ["elvish", "powershell"] {
        let outcome = run(&["completions", shell]).ok();
        for (command, about) in COMMANDS {
            let told = outcome.text().contains(about);
            assert!(outcome.text().contains(command), "{shell}: no {command}");
            assert!(told, "{shell}: what is {command} about?");
        }
        assert_eq!(outcome.stderr, "");
    }
}

/// Feeds `script` to `command`, which must accept it without complaint.
fn accepted_by(command: &mut Command, script: &[u8]) {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(script).unwrap();
    let outcome = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&outcome.stderr);
    assert!(
        outcome.status.success() && said.is_empty(),
        "{command:?}: {said}"
    );
}

#[test]
fn bash_reads_its_completions() {
    if needs::tool("bash") {
        let script = run(&["completions", "bash"]).ok().stdout;
        accepted_by(Command::new("bash").args(["-n", "-"]), &script);
    }
}

#[test]
fn manual_pages_are_manual_pages() {
    let mut pages = vec![("underpass", "Moves bytes", run(&["man"]).ok())];
    let page_of = |(command, about)| (command, about, run(&["man", command]).ok());
    pages.extend(COMMANDS.map(page_of));
    for (name, about, page) in &pages {
        let parts = [".TH ", ".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION"];
        let text = page.text().replace(r"\-", "-");
        for part in parts.iter().chain([name, about]) {
            assert!(text.contains(part), "{name}: no {part}");
        }
    }
}

/// Every page by name: those of all commands, and the program's.
fn pages() -> Vec<(&'static str, String)> {
    let commands = COMMANDS.map(|(command, _)| command);
    let others = ["completions", "man"];
    let commands = commands.into_iter().chain(others);
    let page = |name| (name, run(&["man", name]).ok().text().to_owned());
    let program = ("", run(&["man"]).ok().text().to_owned());
    std::iter::once(program).chain(commands.map(page)).collect()
}

#[test]
fn man_formats_the_pages() {
    if !needs::tool("man") {
        return;
    }
    for (_, page) in pages() {
        let mut man = Command::new("man");
        accepted_by(man.args(["--warnings", "-l", "-"]), page.as_bytes());
    }
}

/// No missing date, no macro that does nothing, no line that is too long: mandoc knows all of them.
#[test]
fn mandoc_finds_nothing_to_mend_in_the_pages() {
    if !needs::tool("mandoc") {
        return;
    }
    let dir = Dir::in_memory();
    for (name, page) in pages() {
        let file = dir.file("page.1", page.as_bytes());
        let found = collected("mandoc").args(["-T", "lint", &file]).output();
        let found = String::from_utf8(found.unwrap().stdout).unwrap();
        assert_eq!(found, "", "underpass {name}\n{page}");
    }
}

#[test]
fn each_option_of_the_help_is_in_the_page() {
    let mut count = 0;
    for (name, page) in pages() {
        let help = match name {
            "" => run(&["--help"]).ok(),
            name => run(&[name, "--help"]).ok(),
        };
        let headers: Vec<_> = page.lines().filter(|it| it.starts_with(r"\fB\-")).collect();
        for line in help.text().lines() {
            // An option stands at the beginning of its line; in sentences they are named elsewhere.
            let words = line.trim_start();
            let is_option =
                line.starts_with(' ') && words.starts_with('-') && !words.starts_with("- ");
            let Some(option) = words.split([' ', '[']).find(|it| it.starts_with("--")) else {
                continue;
            };
            if is_option {
                count += 1;
                let want = option.replace('-', r"\-");
                let is_it = |header: &&str| header.contains(&format!(r"\fB{want}\fR"));
                let found = headers.iter().any(is_it);
                assert!(found, "underpass {name}: {option} is not in\n{page}");
            }
        }
    }
    assert!(count > 120, "{count} options");
}

#[test]
fn the_page_of_every_command_has_the_exit_codes() {
    for (command, _) in COMMANDS {
        let page = run(&["man", command]).ok();
        let (_, codes) = page.text().split_once(".SH \"EXIT STATUS\"\n").unwrap();
        for code in ["\n0    done", "\n3    incomplete", r"measure \-\-verify"] {
            assert!(codes.contains(code), "{command}: {codes}");
        }
    }
}

#[test]
fn there_is_no_page_of_an_unknown_command() {
    run(&["man", "fly"]).fails(2, &["fly", "send", "recv", "copy", "explain"]);
}

#[test]
fn help_has_examples_and_the_exit_codes() {
    let help = run(&["--help"]).ok();
    for part in [
        "Exit codes:",
        "0    done",
        "1    failed",
        "2    usage",
        "3    incomplete",
        "4    measure --verify",
        "130",
    ] {
        assert!(
            help.text().contains(part),
            "no {part:?} in\n{}",
            help.text()
        );
    }
    for (command, about) in COMMANDS {
        let help = run(&[command, "--help"]).ok();
        let example = format!("Examples:\n  underpass {command} ");
        assert!(help.text().contains(&example), "{}", help.text());
        assert!(help.text().starts_with(about), "{}", help.text());
    }
    for command in ["completions", "man"] {
        assert!(run(&[command, "--help"]).ok().text().contains("Example"));
    }
}

/// Below the options nothing is wrapped, so that examples can be copied.
#[test]
fn the_examples_fit_a_terminal_of_80_columns() {
    for (name, _) in pages().iter().skip(1) {
        let help = run(&[name, "--help"]).ok();
        let (_, examples) = help.text().split_once("\nExample").unwrap();
        for line in examples.lines() {
            assert!(line.len() <= 80, "{name}: {line}");
        }
    }
}

#[test]
fn the_version_is_the_packages() {
    let want = concat!("underpass ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(run(&["--version"]).ok().text(), want);
}

/// `underpass man | head -1`: a reader that has seen enough is not a reason to panic.
#[test]
fn a_closed_output_is_no_panic() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = crate::support::underpass(&["man"]);
    command.stdout(writer);
    Running::start(command)
        .finish()
        .fails(1, &["standard output"]);
}
