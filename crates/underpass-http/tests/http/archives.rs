//! Directories as archives: `GET /directory/?archive=tar` and `zip`.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use underpass_http::{Archives, ServeDir, Symlinks};

use crate::support::{Client, IN_MEMORY, Server, Tree, bytes, needs};
use crate::support::{curl, request, set_modified};

const FORMATS: [(&str, &str); 2] = [("tar", "application/x-tar"), ("zip", "application/zip")];

/// Files of at least this size are not read into a buffer.
const UNREAD: usize = 64 << 10;

fn archived(tree: &Tree) -> ServeDir {
    tree.serve().listing(true).archives(Archives::default())
}

/// A directory `photos` with what is special somewhere: sizes, names, permissions, depth.
fn photos() -> Tree {
    let tree = Tree::of(&[
        ("photos/empty.txt", b""),
        ("photos/one", b"1"),
        ("photos/mappable", &bytes(1, IN_MEMORY + 1)),
        ("photos/large.jpg", &bytes(2, UNREAD)),
        ("photos/larger.jpg", &bytes(3, 300_000)),
        ("photos/with space/#?%41&\"'", b"odd"),
        ("photos/línea 🦀/e\u{301}", b"text"),
        ("photos/.hidden", b"hidden"),
        ("photos/sub/index.html", b"an index"),
        ("photos/sub/unlisted", b"beside an index"),
        ("outside", b"outside"),
    ]);
    fs::create_dir(tree.path("photos/nothing here")).unwrap();
    let deep = "d/".repeat(200);
    tree.file(&format!("photos/{deep}deep"), b"deep");
    let long = format!("photos/{}/{}", "n".repeat(255), "m".repeat(255));
    tree.file(&long, b"long names");
    let runs = tree.file("photos/run.sh", b"#!/bin/sh\n");
    fs::set_permissions(&runs, fs::Permissions::from_mode(0o750)).unwrap();
    let old = SystemTime::UNIX_EPOCH + Duration::new(1_234_567_890, 123_456_789);
    set_modified(&tree.path("photos/one"), old);
    symlink("one", tree.path("photos/link")).unwrap();
    symlink("../outside", tree.path("photos/out")).unwrap();
    tree
}

/// The path of a file or directory, the content of a file, and the permissions.
type Found = (Vec<u8>, Option<Vec<u8>>, u32);

/// What is below a directory.
fn contents(root: &Path) -> Vec<Found> {
    let mut contents = Vec::new();
    let mut to_do = vec![root.to_owned()];
    while let Some(directory) = to_do.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let entry = entry.unwrap();
            let path = entry.path();
            let relative = path
                .strip_prefix(root)
                .unwrap()
                .as_os_str()
                .as_bytes()
                .to_vec();
            let metadata = entry.metadata().unwrap();
            let mode = metadata.permissions().mode() & 0o777;
            if metadata.is_dir() {
                contents.push((relative, None, mode));
                to_do.push(path);
            } else if metadata.is_file() {
                contents.push((relative, Some(fs::read(path).unwrap()), mode));
            }
        }
    }
    contents.sort();
    contents
}

/// What an archive of `photos` has in it.
fn expected(tree: &Tree) -> Vec<Found> {
    let mut expected = contents(&tree.path("photos"));
    expected.retain(|(path, ..)| path != b".hidden");
    expected
}

#[test]
fn an_archive_is_one_file_of_known_length() {
    let tree = photos();
    let server = Server::new(archived(&tree));
    for (format, media_type) in FORMATS {
        let path = format!("/photos/?archive={format}");
        let reply = Client::get(&server, &path, "")
            .has_status(200)
            .has("content-type", media_type)
            .has("accept-ranges", "bytes")
            .has("cache-control", "no-cache")
            .has(
                "content-disposition",
                &format!("attachment; filename=\"photos.{format}\""),
            );
        let length = reply.field("content-length").unwrap().to_owned();
        assert_eq!(length, reply.body.len().to_string());
        assert!(reply.etag().starts_with('"'), "strong: {}", reply.etag());
        let head = Client::ask(&server, "HEAD", &path, "").has_status(200);
        assert_eq!(head.undated(), reply.undated());
        assert!(head.body.is_empty());
        let tag = reply.etag().to_owned();
        Client::get(&server, &path, &format!("If-None-Match: {tag}\r\n")).has_status(304);
        Client::get(&server, &path, "If-Match: \"other\"\r\n").expect_error(412);
        assert_eq!(Client::get(&server, &path, "").body, reply.body);
    }
    let sent = (UNREAD + 300_000) as u64;
    server.stop_uncopied(4 * sent);
}

#[test]
fn ranges_are_slices_of_the_whole() {
    let tree = photos();
    let server = Server::new(archived(&tree));
    for (format, media_type) in FORMATS {
        let path = format!("/photos/?archive={format}");
        let whole = Client::get(&server, &path, "").has_status(200);
        let (tag, whole) = (whole.etag().to_owned(), whole.body);
        let len = whole.len();
        for (start, end) in [
            (0, 1),
            (0, len),
            (len - 1, len),
            (700, 90_000),
            (len / 2, len),
        ] {
            let fields = format!("Range: bytes={start}-{}\r\nIf-Range: {tag}\r\n", end - 1);
            Client::get(&server, &path, &fields)
                .has_status(206)
                .has("etag", &tag)
                .has("content-type", media_type)
                .has("content-range", &format!("bytes {start}-{}/{len}", end - 1))
                .has_body(&whole[start..end]);
        }
        let many =
            Client::get(&server, &path, "Range: bytes=0-99,5000-80000,-7\r\n").has_status(206);
        let content_type = many.field("content-type").unwrap();
        assert!(
            content_type.starts_with("multipart/byteranges"),
            "{content_type}"
        );
        for slice in [&whole[..100], &whole[5000..=80_000], &whole[len - 7..]] {
            assert!(many.body.windows(slice.len()).any(|it| it == slice));
        }
        Client::get(&server, &path, &format!("Range: bytes={len}-\r\n"))
            .expect_error(416)
            .has("content-range", &format!("bytes */{len}"));
        Client::get(&server, &path, "Range: bytes=0-9\r\nIf-Range: \"old\"\r\n")
            .has_status(200)
            .has_body(&whole);
    }
}

/// A client that has the beginning of an earlier version gets the whole new one.
#[test]
fn pitfall_33_a_tree_that_changed_is_sent_from_its_beginning() {
    let tree = photos();
    let server = Server::new(archived(&tree));
    for (format, _) in FORMATS {
        let path = format!("/photos/?archive={format}");
        let tag = Client::get(&server, &path, "").etag().to_owned();
        tree.file(&format!("photos/added for {format}"), b"added");
        let reply = Client::get(
            &server,
            &path,
            &format!("Range: bytes=100-\r\nIf-Range: {tag}\r\n"),
        )
        .has_status(200);
        assert_ne!(reply.etag(), tag);
    }
}

/// A file changes after the head was sent: the response ends short, and is not completed.
#[test]
fn pitfall_33_a_file_that_changes_ends_the_response() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 4] = [
        ("shorter", |file| fs::write(file, bytes(9, 1000)).unwrap()),
        ("as long", |file| {
            fs::write(file, bytes(9, 100_000)).unwrap();
            set_modified(file, SystemTime::UNIX_EPOCH + Duration::from_secs(5000));
        }),
        ("gone", |file| fs::remove_file(file).unwrap()),
        ("a directory", |file| {
            fs::remove_file(file).unwrap();
            fs::create_dir(file).unwrap();
        }),
    ];
    for (what, change) in changes {
        for (format, _) in FORMATS {
            // What does not fit into buffers is sent when it is read.
            let first = bytes(1, crate::support::MORE_THAN_BUFFERS);
            let tree = Tree::of(&[("d/1", &first), ("d/2", &bytes(2, 100_000))]);
            let server = Server::new(archived(&tree));
            let path = format!("/d/?archive={format}");
            let whole = Client::get(&server, &path, "").body;
            let mut client = Client::new(&server);
            client.send(request("GET", &path, "").as_bytes());
            client.head();
            // The directory was compared with its list when its first bytes are sent.
            let mut came = client.take(1000);
            change(&tree.path("d/2"));
            came.extend_from_slice(&client.rest());
            let (came, len) = (&came[..], whole.len());
            assert!(
                came.len() < len,
                "{format}, {what}: {} of {len}",
                came.len()
            );
            assert!(whole.starts_with(came), "{format}, {what}");
            let stats = server.stop();
            assert_eq!(
                stats.changed.get() + stats.truncated.get(),
                1,
                "{format}, {what}"
            );
        }
    }
}

#[test]
fn only_what_is_listed_is_archived() {
    let tree = photos();
    let path = "/photos/?archive=tar";
    let off = Server::new(tree.serve().listing(true));
    Client::get(&off, path, "").expect_error(404);
    assert!(
        !Client::get(&off, "/photos/", "")
            .text()
            .contains("archive=")
    );
    let unlisted = Server::new(tree.serve().archives(Archives::default()));
    Client::get(&unlisted, path, "").expect_error(404);
    let on = Server::new(archived(&tree));
    let page = Client::get(&on, "/photos/", "").has_status(200);
    for (format, _) in FORMATS {
        assert!(page.text().contains(&format!("href=\"?archive={format}\"")));
    }
    Client::get(&on, "/photos/?archive=rar", "").expect_error(400);
    Client::get(&on, "/photos?archive=tar", "")
        .expect_error(301)
        .has("location", "./photos/?archive=tar");
    Client::get(&on, "/photos/sub/?archive=tar", "").has_body(b"an index");
    Client::get(&on, "/photos/one?archive=tar", "").has_body(b"1");
    Client::get(&on, "/none/?archive=tar", "").expect_error(404);
}

#[test]
fn limits_are_told() {
    let tree = photos();
    let limited = |limits| Server::new(tree.serve().listing(true).archives(limits));
    let few = limited(Archives::default().max_entries(10));
    Client::get(&few, "/photos/?archive=tar", "").expect_error(403);
    let small = limited(Archives::default().max_bytes(100_000));
    Client::get(&small, "/photos/?archive=zip", "").expect_error(403);
    let hasty = limited(Archives::default().max_listing_time(Duration::ZERO));
    let reply = Client::get(&hasty, "/photos/?archive=tar", "").expect_error(503);
    assert!(reply.field("retry-after").is_some());
}

/// The archive of `photos`, or of another directory, in a file.
fn saved(tree: &Tree, server: &Server, directory: &str, format: &str) -> String {
    let reply = Client::get(server, &format!("/{directory}?archive={format}"), "").has_status(200);
    let name = tree.around().join(format!("saved.{format}"));
    fs::write(&name, reply.body).unwrap();
    name.display().to_string()
}

/// Runs a program that unpacks into an empty directory, and returns that.
#[track_caller]
fn unpack(tree: &Tree, program: &str, args: &[&str]) -> std::path::PathBuf {
    let into = tree.around().join(format!("by-{program}"));
    fs::create_dir(&into).unwrap();
    let output = Command::new("timeout")
        .args(["60", program])
        .args(args)
        .current_dir(&into)
        .stdin(Stdio::null())
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {args:?}: {} {said}",
        output.status
    );
    // Standard error has no warnings either.
    assert_eq!(said, "", "{program} {args:?}");
    into
}

const TARFILE: &str = "import sys, tarfile
with tarfile.open(sys.argv[1]) as archive: archive.extractall('.')";

const ZIPFILE: &str = "import sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as archive:
    assert archive.testzip() is None
    archive.extractall('.')";

#[test]
fn programs_unpack_what_is_sent() {
    let tree = photos();
    let server = Server::new(archived(&tree));
    let expected = expected(&tree);
    let tar = saved(&tree, &server, "photos/", "tar");
    let zip = saved(&tree, &server, "photos/", "zip");
    let cases: [(&str, &[&str]); 7] = [
        ("tar", &["-xpf", &tar]),
        ("bsdtar", &["-xpf", &tar]),
        ("busybox", &["tar", "-xpf", &tar]),
        ("python3", &["-W", "ignore", "-c", TARFILE, &tar]),
        ("unzip", &["-q", &zip]),
        ("7zz", &["x", "-bso0", "-bsp0", &zip]),
        ("python3", &["-c", ZIPFILE, &zip]),
    ];
    for (at, (program, args)) in cases.into_iter().enumerate() {
        if !needs::tool(program) {
            continue;
        }
        let into = unpack(&tree, program, args);
        let mut found = contents(&into.join("photos"));
        let mut expected = expected.clone();
        let keeps_modes = !args.contains(&ZIPFILE);
        if !keeps_modes {
            found
                .iter_mut()
                .chain(&mut expected)
                .for_each(|it| it.2 = 0);
        }
        let names = |them: &[Found]| {
            let names = them
                .iter()
                .map(|it| format!("{} {:o}", it.0.escape_ascii(), it.2));
            names.collect::<Vec<_>>()
        };
        assert_eq!(names(&found), names(&expected), "{program} {at}");
        assert!(found == expected, "{program} {at}: contents");
        let one = fs::metadata(into.join("photos/one"))
            .unwrap()
            .modified()
            .unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_234_567_890);
        assert!(!keeps_modes || one == time, "{program}: {one:?}");
        fs::remove_dir_all(into).unwrap();
    }
}

#[test]
fn names_are_bytes() {
    let tree = Tree::of(&[("d/a", b"a")]);
    let latin = OsStr::from_bytes(b"caf\xe9");
    let long = [&b"\xe9"[..]; 150].concat();
    fs::write(tree.path("d").join(latin), b"latin").unwrap();
    fs::create_dir(tree.path("d").join(OsStr::from_bytes(&long))).unwrap();
    fs::write(
        tree.path("d").join(OsStr::from_bytes(&long)).join("in"),
        b"in",
    )
    .unwrap();
    let server = Server::new(archived(&tree));
    let expected = contents(&tree.path("d"));
    let tar = saved(&tree, &server, "d/", "tar");
    // GNU tar tells that it does not know the record that marks such names.
    let quietly: [(&str, &[&str]); 2] = [
        ("tar", &["--warning=no-unknown-keyword", "-xpf", &tar]),
        ("bsdtar", &["-xpf", &tar]),
    ];
    for (program, args) in quietly {
        if needs::tool(program) {
            let into = unpack(&tree, program, args);
            assert!(contents(&into.join("d")) == expected, "{program}");
        }
    }
    let zip = saved(&tree, &server, "d/", "zip");
    if needs::tool("python3") {
        let raw = "import sys, zipfile
names = [each.orig_filename.encode('cp437') for each in zipfile.ZipFile(sys.argv[1]).infolist()]
assert b'd/caf\\xe9' in names, names";
        unpack(&tree, "python3", &["-c", raw, &zip]);
    }
}

#[test]
fn the_root_and_odd_names_have_names_for_saving() {
    let tree = Tree::of(&[("ü \"x\"/a", b"a"), ("b", b"b")]);
    let server = Server::new(archived(&tree));
    let disposition = |path: &str| {
        let reply = Client::get(&server, path, "").has_status(200);
        reply.field("content-disposition").unwrap().to_owned()
    };
    assert_eq!(
        disposition("/?archive=tar"),
        "attachment; filename=\"files.tar\""
    );
    assert_eq!(
        disposition("/%C3%BC%20%22x%22/?archive=zip"),
        "attachment; filename=\"_ _x_.zip\"; filename*=UTF-8''%C3%BC%20%22x%22%2Ezip"
    );
    let tar = saved(&tree, &server, "", "tar");
    if needs::tool("tar") {
        let into = unpack(&tree, "tar", &["-xf", &tar]);
        assert_eq!(fs::read(into.join("files/b")).unwrap(), b"b");
    }
}

#[test]
fn links_and_hidden_files_follow_the_rules_of_the_service() {
    let tree = photos();
    let server = Server::new(archived(&tree).hidden(true).symlinks(Symlinks::Confine));
    let tar = saved(&tree, &server, "photos/", "tar");
    if !needs::tool("tar") {
        return;
    }
    let into = unpack(&tree, "tar", &["-xf", &tar]).join("photos");
    assert_eq!(fs::read(into.join(".hidden")).unwrap(), b"hidden");
    for (name, content) in [("link", b"1".as_slice()), ("out", b"outside")] {
        assert!(fs::symlink_metadata(into.join(name)).unwrap().is_file());
        assert_eq!(fs::read(into.join(name)).unwrap(), content);
    }
}

#[test]
fn an_empty_directory_is_an_archive_of_itself() {
    let tree = Tree::new();
    fs::create_dir(tree.path("d")).unwrap();
    let server = Server::new(archived(&tree));
    for (format, program, args) in [("tar", "tar", ["-xf"]), ("zip", "unzip", ["-q"])] {
        let archive = saved(&tree, &server, "d/", format);
        if needs::tool(program) {
            let into = unpack(&tree, program, &[args[0], &archive]);
            assert_eq!(contents(&into).len(), 1);
        }
    }
}

/// A download that was cut goes on where it ended.
#[test]
fn curl_resumes_an_archive() {
    if !needs::tool("curl") {
        return;
    }
    let tree = photos();
    let server = Server::new(archived(&tree));
    for (format, _) in FORMATS {
        let path = format!("/photos/?archive={format}");
        let whole = Client::get(&server, &path, "").has_status(200).body;
        for cut in [1, 5000, whole.len() - 1] {
            let file = tree.around().join(format!("cut.{format}"));
            fs::write(&file, &whole[..cut]).unwrap();
            let name = file.display().to_string();
            let fetched = curl::run(&server, &path, &["-C", "-", "-o", &name]);
            assert_eq!(fetched.statuses(), [206]);
            assert!(fs::read(&file).unwrap() == whole, "{format} from {cut}");
        }
    }
}
