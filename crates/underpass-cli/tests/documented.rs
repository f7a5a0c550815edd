//! The commands in README, README.zh-CN and the book, as their readers run them.
//!
//! Each block of `sh` is run in a directory and a network of its own. A block that cannot be run
//! says so in the line above it: `<!-- not run: REASON -->`.

use std::path::{Path, PathBuf};
use std::process::Output;

use crate::support::{Authority, Dir, bytes, collected, needs};

const SCRIPT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/support/scripts/documented.sh"
);

/// How many blocks of all documents are run, at least, and how many are not, at most. Translations
/// count as well.
const RUN: usize = 38;
const NOT_RUN: usize = 20;

/// No block takes as many seconds.
const LIMIT: &str = "300";

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
    assert!(not_run.len() <= NOT_RUN, "not run: {places:?}");
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
    if !possible() {
        return;
    }
    for wrong in [
        "underpass copy missing.bin backup/",
        "underpass serve missing/",
        "underpass recv 127.0.0.1:9000 missing/out.bin &",
        "underpass send --no-such-option in.bin 127.0.0.1:9000 &",
    ] {
        let commands = format!("underpass --version\n{wrong}\n");
        let outcome = run_block(&commands);
        let named = said(&outcome).contains(wrong.trim_end_matches(" &"));
        let code = outcome.status.code();
        assert!(code == Some(1) && named, "{wrong}: {}", said(&outcome));
    }
}

fn run_all(documents: &[&str]) {
    if !possible() {
        return;
    }
    for block in blocks(documents) {
        if block.not_run.is_none() {
            let outcome = run_block(&block.commands);
            let said = said(&outcome);
            assert!(outcome.status.success(), "{}: {said}", block.place);
        }
    }
}

fn said(outcome: &Output) -> String {
    let streams = [&outcome.stdout, &outcome.stderr];
    let texts = streams.map(|stream| String::from_utf8_lossy(stream).into_owned());
    texts.concat()
}

fn possible() -> bool {
    let tools = ["unshare", "ip", "curl", "nc", "tar", "cmp"];
    needs::root() && tools.iter().all(|tool| needs::tool(tool))
}

/// Runs it where nothing else listens, and where no other program sees what is mounted.
fn run_block(commands: &str) -> Output {
    let dir = with_files();
    let block = dir.file("block.sh", commands.as_bytes());
    let mut command = collected("timeout");
    command.args(["--kill-after=10", LIMIT, "unshare", "--net", "--mount"]);
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]);
    command
        .args(["bash", SCRIPT, &block])
        .current_dir(dir.root());
    let program = Path::new(env!("CARGO_BIN_EXE_underpass"));
    let path = std::env::var("PATH").unwrap();
    let own = program.parent().unwrap().display();
    command.env("PATH", format!("{own}:{path}:/usr/sbin:/sbin"));
    command.output().unwrap()
}

/// A directory with the files that documents name.
fn with_files() -> Dir {
    let dir = Dir::new();
    for name in ["photos", "dist", "inbox", "backup", "home/Videos/2026"] {
        std::fs::create_dir_all(dir.path(name)).unwrap();
    }
    let content = bytes(19, 300_000);
    for name in [
        "in.bin",
        "disk.img",
        "report.pdf",
        "dist/index.html",
        "photos/large.jpg",
        "home/Videos/2026/film.mp4",
    ] {
        dir.file(name, &content);
    }
    dir.file("photos/small.jpg", b"small");
    let authority = Authority::new("documents");
    let pair = authority.pair("documents", &["backup.example"]);
    for (from, to) in [
        (&authority.file, "ca.pem"),
        (&pair.certificate, "chain.pem"),
        (&pair.key, "key.pem"),
    ] {
        std::fs::copy(from, dir.path(to)).unwrap();
    }
    dir
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
