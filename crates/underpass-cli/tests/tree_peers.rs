//! Archives of ours in other tar programs, and theirs in ours.

use std::fs;
use std::process::{Command, Stdio};

use crate::support::{Dir, Running, needs, run};
use crate::trees::{listing, planted};

/// A tar program: its name, how it makes an archive of `tree`, and how it unpacks one.
struct Tar {
    name: &'static str,
    create: &'static [&'static str],
    extract: &'static [&'static str],
}

const PYTHON_CREATE: &str = "import sys, tarfile
with tarfile.open(sys.argv[1], 'w') as archive: archive.add('tree')";
const PYTHON_EXTRACT: &str = "import sys, tarfile
with tarfile.open(sys.argv[1]) as archive: archive.extractall(filter='fully_trusted')";

const GNU: Tar = Tar {
    name: "tar",
    create: &["--format=gnu", "-S", "-cf", "{}", "tree"],
    extract: &["-xpf", "{}"],
};
const GNU_PAX: Tar = Tar {
    name: "tar",
    create: &["--format=posix", "-S", "-cf", "{}", "tree"],
    extract: &["-xpf", "{}"],
};
const GNU_PAX_OLD_SPARSE: Tar = Tar {
    name: "tar",
    create: &[
        "--format=posix",
        "--sparse-version=0.1",
        "-S",
        "-cf",
        "{}",
        "tree",
    ],
    extract: &["-xpf", "{}"],
};
const GNU_PAX_FIRST_SPARSE: Tar = Tar {
    name: "tar",
    create: &[
        "--format=posix",
        "--sparse-version=0.0",
        "-S",
        "-cf",
        "{}",
        "tree",
    ],
    extract: &["-xpf", "{}"],
};
const BSD: Tar = Tar {
    name: "bsdtar",
    create: &["-cf", "{}", "tree"],
    extract: &["-xpf", "{}"],
};
const BUSYBOX: Tar = Tar {
    name: "busybox",
    create: &["tar", "-cf", "{}", "tree"],
    extract: &["tar", "-xpf", "{}"],
};
const PYTHON: Tar = Tar {
    name: "python3",
    create: &["-c", PYTHON_CREATE, "{}"],
    extract: &["-c", PYTHON_EXTRACT, "{}"],
};

fn call(tar: &Tar, args: &[&str], archive: &str, within: &str) {
    let mut command = Command::new(tar.name);
    command.args(args.iter().map(|arg| arg.replace("{}", archive)));
    // bsdtar refuses names that the locale cannot show.
    command
        .current_dir(within)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null());
    let done = command.output().unwrap();
    assert!(
        done.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
}

/// The listing without what a program does not keep: the nanoseconds of times.
fn rounded(root: &str) -> Vec<String> {
    let cut = |line: String| match (line.find('('), line.find(')')) {
        (Some(start), Some(end)) if start < end => {
            let (seconds, _) = line[start..end].split_once(',').unwrap();
            format!("{}{seconds}{}", &line[..start], &line[end..])
        }
        _ => line,
    };
    listing(root).into_iter().map(cut).collect()
}

fn reads_ours(tar: &Tar) {
    let dir = Dir::in_memory();
    let tree = planted(&dir);
    let archive = dir.path("ours.tar");
    let (receiver, address) = Running::recv(&["tcp://127.0.0.1:0", &archive]);
    run(&["send", &tree, &address]).ok();
    receiver.finish().ok();
    let into = dir.path("into");
    fs::create_dir(&into).unwrap();
    call(tar, tar.extract, &archive, &into);
    let found = format!("{into}/tree");
    if tar.name == "busybox" {
        // It sets the time of a directory before it fills it, and cannot read files with holes.
        let without = |root: &str| -> Vec<_> {
            let lines = rounded(root).into_iter();
            let odd =
                |line: &String| line.to_lowercase().contains("sparse") || line.starts_with("a ");
            lines.filter(|line| !odd(line)).collect()
        };
        fs::remove_dir_all(format!("{into}/tree/GNUSparseFile.0")).unwrap();
        assert_eq!(without(&found), without(&tree));
    } else {
        // Python's times are floating-point numbers.
        assert_eq!(rounded(&found), rounded(&tree), "{}", tar.name);
    }
}

fn writes_for_us(tar: &Tar) {
    let dir = Dir::in_memory();
    let tree = planted(&dir);
    let archive = dir.path("theirs.tar");
    call(tar, tar.create, &archive, dir.root());
    let into = dir.path("into/");
    let (receiver, address) = Running::recv(&["tcp://127.0.0.1:0", &into]);
    run(&["send", &archive, &address]).ok();
    receiver.finish().ok();
    let found = format!("{into}tree");
    assert_eq!(
        rounded(&found),
        rounded(&tree),
        "{} {:?}",
        tar.name,
        tar.create
    );
}

fn both_ways(tars: &[Tar]) {
    for tar in tars {
        if needs::tool(tar.name) {
            reads_ours(tar);
            writes_for_us(tar);
        }
    }
}

#[test]
fn gnu_tar_understands_us_and_we_gnu_tar() {
    both_ways(&[GNU, GNU_PAX, GNU_PAX_OLD_SPARSE, GNU_PAX_FIRST_SPARSE]);
}

#[test]
fn bsdtar_understands_us_and_we_bsdtar() {
    both_ways(&[BSD]);
}

#[test]
fn busybox_tar_understands_us_and_we_busybox_tar() {
    both_ways(&[BUSYBOX]);
}

#[test]
fn python_understands_us_and_we_python() {
    both_ways(&[PYTHON]);
}
