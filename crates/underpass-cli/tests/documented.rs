//! The commands in README, README.zh-CN and the book, as their readers run them.
//!
//! Each block of `sh` is run in a directory and a network of its own. A block that cannot be run
//! says so in the line above it: `<!-- not run: REASON -->`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::support::typed;

/// How many blocks of all documents are run, at least, and how many different ones are not, at
/// most. Translations count as well.
const RUN: usize = 38;
const NOT_RUN: usize = 14;

/// Commands of a document.
struct Block {
    commands: String,
    /// The file, and the line of the first command.
    place: String,
    /// Why they are not run.
    not_run: Option<String>,
}

#[test]
fn commands_of_the_readmes_do_what_they_say() {
    run_all(&["README.md", "README.zh-CN.md"]);
}

#[test]
fn commands_of_the_book_do_what_they_say() {
    run_all(&["docs/src"]);
}

#[test]
fn commands_of_the_chinese_chapters_do_what_they_say() {
    run_all(&["docs/src/zh"]);
}

#[test]
fn few_commands_of_documents_are_not_run() {
    let blocks = blocks(&["README.md", "README.zh-CN.md", "docs/src", "docs/src/zh"]);
    let (run, not_run): (Vec<_>, Vec<_>) = blocks.iter().partition(|it| it.not_run.is_none());
    assert!(run.len() >= RUN, "{} blocks are run", run.len());
    let places: Vec<_> = not_run.iter().map(|it| &it.place).collect();
    // The same commands in several documents are one thing that is not run.
    let different: HashSet<_> = not_run.iter().map(|it| &it.commands).collect();
    let count = different.len();
    assert!(count <= NOT_RUN, "{count} not run: {places:?}");
    for block in &not_run {
        let reason = block.not_run.as_ref().unwrap();
        assert!(
            reason.len() > 20,
            "{}: {reason:?} is no reason",
            block.place
        );
    }
}

/// What the tests above cannot show: that a wrong command of any kind is found.
#[test]
fn a_command_that_fails_is_found() {
    if !typed::possible() {
        return;
    }
    for wrong in [
        "underpass copy missing.bin backup/",
        "underpass serve missing/",
        "underpass recv 127.0.0.1:9000 missing/out.bin &",
        "underpass send --no-such-option in.bin 127.0.0.1:9000 &",
    ] {
        let commands = format!("underpass --version\n{wrong}\n");
        let outcome = typed::run(&commands);
        let named = typed::said(&outcome).contains(wrong.trim_end_matches(" &"));
        let code = outcome.status.code();
        assert!(
            code == Some(1) && named,
            "{wrong}: {}",
            typed::said(&outcome)
        );
    }
}

fn run_all(documents: &[&str]) {
    if !typed::possible() {
        return;
    }
    for block in blocks(documents) {
        if block.not_run.is_none() {
            let outcome = typed::run(&block.commands);
            let said = typed::said(&outcome);
            assert!(outcome.status.success(), "{}: {said}", block.place);
        }
    }
}

/// All blocks of `sh` in these files, and in the files of these directories.
fn blocks(documents: &[&str]) -> Vec<Block> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut blocks = Vec::new();
    for document in documents {
        for file in files(&root.join(document)) {
            let text = std::fs::read_to_string(&file).unwrap();
            let name = file.strip_prefix(&root).unwrap().display().to_string();
            blocks.extend(blocks_of(&name, &text));
        }
    }
    assert!(!blocks.is_empty(), "{documents:?}");
    blocks
}

fn files(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let entries = std::fs::read_dir(path).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|it| it == "md"))
        .collect();
    files.sort();
    files
}

fn blocks_of(name: &str, text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let (mut above, mut inside) = ("", false);
    for (number, line) in text.lines().enumerate() {
        if line == "```sh" {
            let reason = above.strip_prefix("<!-- not run: ");
            blocks.push(Block {
                commands: String::new(),
                place: format!("{name}:{}", number + 2),
                not_run: reason.map(|it| it.trim_end_matches(" -->").to_owned()),
            });
            inside = true;
        } else if line == "```" {
            inside = false;
        } else if inside {
            let commands = &mut blocks.last_mut().unwrap().commands;
            commands.push_str(line);
            commands.push('\n');
        }
        above = line;
    }
    blocks
}
