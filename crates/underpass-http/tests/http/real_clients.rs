//! Programs that people use, as far as they ask for more than curl does.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::{Server, Tree, bytes, needs};

/// The program's output, if it succeeded in time.
#[track_caller]
fn run(program: &str, args: &[&str], inside: &Path) -> Output {
    let output = Command::new("timeout")
        .args(["60", program])
        .args(args)
        .current_dir(inside)
        .env("HOME", inside)
        .env_remove("http_proxy")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let end = said.len().saturating_sub(2000);
    assert!(
        output.status.success(),
        "{program}: {} {}",
        output.status,
        &said[end..]
    );
    output
}

/// zsync looks for the line end before the first boundary. Without it, zsync asks for the same
/// ranges for ever.
#[test]
fn pitfall_34_zsync_fetches_two_changed_blocks() {
    if !needs::tool("zsync") || !needs::tool("zsyncmake") {
        return;
    }
    let new = bytes(7, 1 << 20);
    let mut old = new.clone();
    for at in [300_000, 800_000] {
        old[at] ^= 1;
    }
    let tree = Tree::of(&[("new.bin", &new)]);
    let seed = tree.around().join("old.bin");
    fs::write(&seed, old).unwrap();
    run(
        "zsyncmake",
        &["-b", "2048", "-u", "new.bin", "new.bin"],
        tree.root(),
    );
    let server = Server::new(tree.serve());
    let url = server.url("/new.bin.zsync");
    run(
        "zsync",
        &["-i", "old.bin", "-o", "got.bin", &url],
        tree.around(),
    );
    assert!(fs::read(tree.around().join("got.bin")).unwrap() == new);
    let sent = server.stop().bytes_sendfile.get();
    assert!(sent < 100_000, "all of it was sent: {sent} bytes");
}

/// rclone asks for `./12:30`, so that `12` is not taken for a scheme.
#[test]
fn pitfall_34_rclone_copies_a_listing() {
    if !needs::tool("rclone") {
        return;
    }
    let tree = Tree::of(&[
        ("12:30 a", b"colon"),
        ("sub/a:b", b"below"),
        ("100%", b"percent"),
    ]);
    let latin = OsStr::from_bytes(b"caf\xe9");
    fs::write(tree.root().join(latin), b"latin 1").unwrap();
    let server = Server::new(tree.serve().listing(true));
    let url = server.url("/");
    run(
        "rclone",
        &["copy", "--http-url", &url, ":http:", "copied"],
        tree.around(),
    );
    let copied = tree.around().join("copied");
    for (name, content) in [
        (OsStr::new("12:30 a"), &b"colon"[..]),
        (OsStr::new("sub/a:b"), b"below"),
        (OsStr::new("100%"), b"percent"),
        (latin, b"latin 1"),
    ] {
        assert_eq!(
            fs::read(copied.join(name)).unwrap(),
            content,
            "{}",
            name.display()
        );
    }
}

/// A flat repository: `deb URL ./`.
#[test]
fn pitfall_34_apt_reads_a_flat_repository() {
    if !["apt-get", "dpkg-deb", "sha256sum"]
        .into_iter()
        .all(needs::tool)
    {
        return;
    }
    let tree = Tree::new();
    let control = "Package: under\nVersion: 1:1.0~a+b\nArchitecture: all\nMaintainer: a <a@b.c>\nDescription: none\n";
    let around = tree.around();
    fs::create_dir_all(around.join("package/DEBIAN")).unwrap();
    fs::write(around.join("package/DEBIAN/control"), control).unwrap();
    let name = "under_1:1.0~a+b_all.deb";
    run(
        "dpkg-deb",
        &["-b", "package", &format!("root/{name}")],
        around,
    );
    let sum = run("sha256sum", &[name], tree.root()).stdout;
    let sum = String::from_utf8_lossy(&sum[..64]).into_owned();
    let size = fs::metadata(tree.path(name)).unwrap().len();
    let index = format!("{control}Filename: ./{name}\nSize: {size}\nSHA256: {sum}\n\n");
    tree.file("Packages", index.as_bytes());

    let server = Server::new(tree.serve());
    for directory in [
        "etc/sources.list.d",
        "state/lists/partial",
        "cache/archives/partial",
    ] {
        fs::create_dir_all(around.join(directory)).unwrap();
    }
    let source = format!("deb [trusted=yes] {} ./\n", server.url("/"));
    fs::write(around.join("etc/sources.list"), source).unwrap();
    let at = |name: &str| around.join(name).display().to_string();
    let options = format!(
        "Dir::Etc \"{}\"; Dir::State \"{}\"; Dir::State::status \"/dev/null\"; Dir::Cache \"{}\";
         APT::Sandbox::User \"\"; Acquire::http::Proxy \"DIRECT\"; Dir::Log \"{}\";",
        at("etc"),
        at("state"),
        at("cache"),
        at("cache"),
    );
    fs::write(around.join("apt.conf"), options).unwrap();
    run("apt-get", &["-c", "apt.conf", "update"], around);
    run("apt-get", &["-c", "apt.conf", "download", "under"], around);
    let got = fs::read(around.join("under_1%3a1.0~a+b_all.deb")).unwrap();
    assert_eq!(got, fs::read(tree.path(name)).unwrap());
}
