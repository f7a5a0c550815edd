//! Files that packages ship beside the binary, and what the binary says about itself.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::{Running, needs, run};

const COMMANDS: [(&str, &str); 8] = [
    ("send", "Send a file"),
    ("recv", "Accept one connection"),
    ("copy", "Copy a file"),
    ("serve", "Serve a directory"),
    ("measure", "Count the copies"),
    ("relay", "Pass connections on"),
    ("fan-out", "Send a file, or one stream"),
    ("explain", "Show which routes"),
];

#[test]
fn completions_know_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let outcome = run(&["completions", shell]).ok();
        for (command, about) in COMMANDS {
            let told = outcome.text().contains(about);
            assert!(outcome.text().contains(command), "{shell}: no {command}");
            assert!(told || shell == "bash", "{shell}: what is {command} about?");
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

/// Completes `underpass ex` in a shell that has loaded the script.
#[test]
fn bash_completes_a_command() {
    if !needs::tool("bash") {
        return;
    }
    let mut script = run(&["completions", "bash"]).ok().stdout;
    script.extend_from_slice(
        b"\nCOMP_WORDS=(underpass ex) COMP_CWORD=1\n_underpass underpass ex underpass\n\
          [ \"${COMPREPLY[*]}\" = explain ] || echo \"${COMPREPLY[*]}\" >&2\n",
    );
    accepted_by(&mut Command::new("bash"), &script);
}

#[test]
fn manual_pages_are_manual_pages() {
    let mut pages = vec![("underpass", "Moves bytes", run(&["man"]).ok())];
    let page_of = |(command, about)| (command, about, run(&["man", command]).ok());
    pages.extend(COMMANDS.map(page_of));
    for (name, about, page) in &pages {
        let parts = [".TH ", ".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION"];
        for part in parts.iter().chain([name, about]) {
            assert!(page.text().contains(part), "{name}: no {part}");
        }
    }
}

#[test]
fn man_formats_the_pages() {
    if !needs::tool("man") {
        return;
    }
    for args in [
        &["man"][..],
        &["man", "send"],
        &["man", "recv"],
        &["man", "serve"],
        &["man", "fan-out"],
    ] {
        let page = run(args).ok().stdout;
        accepted_by(Command::new("man").args(["--warnings", "-l", "-"]), &page);
    }
}

#[test]
fn the_page_of_every_command_has_the_exit_codes() {
    for (command, _) in COMMANDS {
        let page = run(&["man", command]).ok();
        let (_, codes) = page.text().split_once(".SH \"EXIT STATUS\"\n").unwrap();
        for code in ["  0    done", "  3    incomplete", r"measure \-\-verify"] {
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

/// Every command says where the exit codes are explained.
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
