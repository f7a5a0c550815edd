//! Commands as people type them: those of documents, and the examples of `--help`.

use std::path::Path;
use std::process::Output;

use super::{Authority, Dir, bytes, collected, needs};

const SCRIPT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/support/scripts/typed.sh"
);

/// No block takes as many seconds.
const LIMIT: &str = "300";

/// Everything that it printed.
pub(crate) fn said(outcome: &Output) -> String {
    let streams = [&outcome.stdout, &outcome.stderr];
    let texts = streams.map(|stream| String::from_utf8_lossy(stream).into_owned());
    texts.concat()
}

/// Whether this machine has what `run` needs. If not, says so.
pub(crate) fn possible() -> bool {
    let tools = ["unshare", "ip", "curl", "nc", "tar", "cmp"];
    needs::root() && tools.iter().all(|tool| needs::tool(tool))
}

/// Runs it where nothing else listens, and where no other program sees what is mounted.
pub(crate) fn run(commands: &str) -> Output {
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

/// A directory with the files that documents and `--help` name.
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
    let authority = Authority::new("authority");
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
