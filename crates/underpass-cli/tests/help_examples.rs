//! The examples of `--help`, run as people type them. The table, `help_examples.txt`, has what an
//! example needs around it: files, peers, and a look at what has come of it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::support::{needs, run, typed};

const TABLE: &str = include_str!("help_examples.txt");

/// What the lines of the table call the example.
const PLACE: &str = "EXAMPLE";

/// Most of them wait for processes.
const AT_ONCE: usize = 4;

#[test]
fn each_example_of_the_help_does_what_it_says() {
    if !typed::possible() {
        return;
    }
    let (table, examples) = (table(), examples());
    let unused: Vec<_> = table.keys().filter(|it| !examples.contains(it)).collect();
    assert!(unused.is_empty(), "no such examples: {unused:?}");
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(String::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(example) = examples.get(next.fetch_add(1, Relaxed)) {
                    let around = table.get(example).map_or(PLACE, String::as_str);
                    if let Err(said) = try_out(example, around) {
                        let _ = write!(wrong.lock().unwrap(), "{example}\n{said}\n\n");
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{wrong}");
}

/// What the test above cannot show.
#[test]
fn an_example_of_the_help_that_fails_is_found() {
    if !typed::possible() {
        return;
    }
    for wrong in [
        "underpass copy in.bin backup/ --no-such-option",
        "underpass serve --listen 127.0.0.1",
        "underpass recv :9000 missing/out.bin",
    ] {
        try_out(wrong, PLACE).expect_err(wrong);
    }
    let measure = "underpass measure --rounds many";
    let parsed_only = &table()["underpass measure --quick"];
    try_out(measure, parsed_only).expect_err(measure);
}

/// Runs an example with what stands around it. If it fails, returns what was printed.
fn try_out(example: &str, around: &str) -> Result<(), String> {
    for line in around.lines() {
        if let Some(reason) = line.strip_prefix("# parsed only: ") {
            needs::print(&format!("{example}: only parsed: {reason}"));
        }
        let tool = line.strip_prefix("# needs: ");
        if tool.is_some_and(|tool| !needs::tool(tool)) {
            return Ok(());
        }
    }
    let outcome = typed::run(&around.replace(PLACE, example));
    let said = typed::said(&outcome);
    outcome.status.success().then_some(()).ok_or(said)
}

/// The examples of the program's help, and of all commands'.
fn examples() -> Vec<String> {
    let help = run(&["--help"]).ok();
    let (_, commands) = help.text().split_once("Commands:\n").unwrap();
    let commands = commands.lines().take_while(|line| !line.is_empty());
    let names = commands.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let names = names.filter(|name| !["", "help"].contains(name));
    let mut examples = examples_of("the program", help.text());
    for name in names {
        examples.extend(examples_of(name, run(&[name, "--help"]).ok().text()));
    }
    examples
}

/// Without what explains them, each on one line.
fn examples_of(name: &str, help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| !line.starts_with("Example"));
    let lines = lines.skip(1).take_while(|line| !line.is_empty());
    let mut examples = String::new();
    for line in lines.map(str::trim).filter(|line| !line.starts_with("# ")) {
        let command = line.split(" # ").next().unwrap().trim_end();
        match command.strip_suffix('\\') {
            Some(begun) => examples.push_str(begun),
            None => examples.extend([command, "\n"]),
        }
    }
    assert!(!examples.is_empty(), "{name} has no example");
    examples.lines().map(str::to_owned).collect()
}

/// What is run around which example.
fn table() -> HashMap<String, String> {
    let mut table = HashMap::new();
    for row in TABLE.split("\n\n") {
        let (examples, around): (Vec<_>, Vec<_>) =
            row.lines().partition(|line| line.starts_with("$ "));
        for example in examples {
            table.insert(example[2..].to_owned(), around.join("\n"));
        }
    }
    table
}

/// Options that commands share are described in one place, for the command that is asked.
#[test]
fn the_help_of_a_command_speaks_of_no_other() {
    for (command, others) in [
        ("serve", ["relay", "fan-out"]),
        ("relay", ["serve", "fan-out"]),
        ("fan-out", ["serve", "relay"]),
    ] {
        let help = run(&[command, "--help"]).ok();
        let (options, _) = help.text().split_once("\nExamples:").unwrap();
        for word in options.split(|letter: char| !letter.is_alphanumeric() && letter != '-') {
            assert!(!others.contains(&word), "{command}: {word}\n{options}");
        }
    }
}

#[test]
fn the_help_names_the_routes_that_an_error_names() {
    for command in ["copy", "send", "recv"] {
        let said = run(&[command, "--route", "teleport", "a", ":9"]).stderr;
        let (_, routes) = said.split_once("there are ").unwrap();
        let routes = routes.lines().next().unwrap();
        let help = run(&[command, "--help"]).ok();
        let words: Vec<_> = help.text().split_whitespace().collect();
        assert!(words.join(" ").contains(routes), "{command}: {routes}");
    }
}
