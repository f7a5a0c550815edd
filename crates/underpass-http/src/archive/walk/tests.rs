use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use super::*;
use crate::file::{Root, Symlinks};

fn tree(root: &Path, path: &str, hidden: bool, symlinks: Symlinks) -> Arc<Tree> {
    Arc::new(Tree {
        root: Arc::new(Root::new(root.to_owned())),
        path: path.into(),
        hidden,
        symlinks,
        rules: None,
        authenticated: false,
    })
}

/// The paths of what is found: directories with a slash, what is left out with its reason.
fn paths(mut walk: Walk) -> Vec<String> {
    let mut paths = Vec::new();
    while let Some(found) = walk.next().unwrap() {
        paths.push(match found {
            Found::Entry(entry) => {
                let slash = if entry.is_directory { "/" } else { "" };
                format!("{}{slash}", entry.path.escape_ascii())
            }
            Found::LeftOut(left_out) => {
                format!("{}: {}", left_out.path.escape_ascii(), left_out.reason)
            }
        });
    }
    paths
}

fn all(tree: &Arc<Tree>) -> Vec<String> {
    paths(Walk::from(Arc::clone(tree), None).unwrap())
}

fn sample() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    for name in ["a/deep/er", "b", "empty"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    for name in [
        "a.txt",
        "a/1",
        "a/2",
        "a/deep/er/x",
        "b/.hidden",
        "b/y",
        "z",
    ] {
        fs::write(root.join(name), name).unwrap();
    }
    symlink("z", root.join("link")).unwrap();
    symlink("../a", root.join("b/circle")).unwrap();
    symlink("..", root.join("a/up")).unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
    symlink("/etc/passwd", root.join("outside")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.join("fifo"),
        FileType::Fifo,
        0o644.into(),
        0,
    )
    .unwrap();
    directory
}

const PLAIN: [&str; 13] = [
    "/",
    "a/",
    "a/1",
    "a/2",
    "a/deep/",
    "a/deep/er/",
    "a/deep/er/x",
    "a.txt",
    "b/",
    "b/y",
    "empty/",
    "z",
    "",
];

#[test]
fn everything_that_is_served_is_listed_in_order() {
    let directory = sample();
    let tree = tree(directory.path(), "", false, Symlinks::Refuse);
    assert_eq!(all(&tree), PLAIN[..12]);
}

#[test]
fn links_and_hidden_files_follow_the_rules_of_the_service() {
    let directory = sample();
    let tree = tree(directory.path(), "", true, Symlinks::Confine);
    let circle = |path: &str| format!("{path}: {CIRCLE}");
    let found = all(&tree);
    for path in ["link", "b/.hidden", "b/circle/", "b/circle/1"] {
        assert!(found.iter().any(|it| it == path), "{path} in {found:?}");
    }
    for path in ["a/up", "b/circle/up"] {
        assert!(found.contains(&circle(path)), "{path} in {found:?}");
    }
    let others = ["dangling", "outside", "fifo"];
    assert!(
        !found
            .iter()
            .any(|it| others.iter().any(|other| it.contains(other)))
    );
}

#[test]
fn a_walk_from_behind_any_entry_finds_the_rest() {
    let directory = sample();
    for (path, symlinks) in [
        ("", Symlinks::Refuse),
        ("", Symlinks::Confine),
        ("a", Symlinks::Refuse),
    ] {
        let tree = tree(directory.path(), path, true, symlinks);
        let whole = all(&tree);
        let mut walk = Walk::from(Arc::clone(&tree), None).unwrap();
        let mut seen = 0;
        while let Some(found) = walk.next().unwrap() {
            seen += 1;
            if let Found::Entry(Entry {
                path, is_directory, ..
            }) = found
            {
                let after = Position { path, is_directory };
                let rest = paths(Walk::from(Arc::clone(&tree), Some(&after)).unwrap());
                assert_eq!(rest, whole[seen..], "{after:?}");
            }
        }
        assert_eq!(seen, whole.len());
    }
}

#[test]
fn what_may_not_be_read_is_left_out_and_told() {
    if rustix::process::geteuid().is_root() {
        println!("root reads everything: tested where the server is a process of another user");
        return;
    }
    let directory = sample();
    let denied = fs::Permissions::from_mode(0o000);
    for name in ["a.txt", "a/deep"] {
        fs::set_permissions(directory.path().join(name), denied.clone()).unwrap();
    }
    let tree = tree(directory.path(), "", false, Symlinks::Refuse);
    let found = all(&tree);
    for name in ["a.txt", "a/deep"] {
        assert!(found.contains(&format!("{name}: {DENIED}")), "{found:?}");
    }
    fs::set_permissions(
        directory.path().join("a/deep"),
        fs::Permissions::from_mode(0o755),
    )
    .unwrap();
}

#[test]
fn paths_that_the_kernel_does_not_take_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let mut at = fs::File::open(directory.path()).unwrap();
    let name = "d".repeat(250);
    for _ in 0..20 {
        rustix::fs::mkdirat(&at, &name, 0o755.into()).unwrap();
        let flags = rustix::fs::OFlags::DIRECTORY;
        at = rustix::fs::openat(&at, &name, flags, rustix::fs::Mode::empty())
            .unwrap()
            .into();
    }
    let tree = tree(directory.path(), "", false, Symlinks::Refuse);
    let found = all(&tree);
    assert_eq!(found.len(), 1 + 16 + 1);
    assert!(found.last().unwrap().ends_with(TOO_LONG));
}
