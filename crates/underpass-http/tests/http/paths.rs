//! Which file a path leads to, and which paths lead nowhere.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use underpass_http::{ServeDir, ServeFile, Symlinks, Uploads};

use crate::support::{Client, Server, Settings, Tree, needs, request};

const SECRET: &[u8] = b"the secret that is outside";

/// Files inside the root, and files outside it.
fn tree() -> Tree {
    let tree = Tree::of(&[
        ("file", b"file"),
        ("dir/file", b"in dir"),
        (".env", b"hidden"),
        (".git/config", b"hidden"),
        (".well-known/security.txt", b"contact"),
        (".well-known/.dot", b"hidden"),
        ("..double", b"hidden"),
        ("back\\slash", b"backslash"),
        ("ünï", b"unicode"),
    ]);
    fs::write(tree.around().join("secret"), SECRET).unwrap();
    tree
}

#[test]
fn paths_that_no_file_can_have_are_refused() {
    let tree = tree();
    let server = Server::new(tree.serve().listing(true).hidden(true));
    for path in [
        "/dir%2ffile",
        "/dir%2Ffile",
        "/..%2fsecret",
        "/%2fetc/passwd",
        "/file%00",
        "/file%00.html",
        "/%00",
        "/%",
        "/file%",
        "/file%2",
        "/file%zz",
        "/file%2g",
    ] {
        for method in ["GET", "HEAD"] {
            let reply = Client::ask(&server, method, path, "");
            assert_eq!(reply.status, 400, "{method} {path}");
            let closes = (!crate::TRANSPORT.is_http2()).then_some("close");
            assert_eq!(reply.field("connection"), closes, "{path}");
        }
        Client::get(&server, path, "").expect_error(400);
    }
}

#[test]
fn paths_that_name_nothing_are_not_found() {
    let tree = tree();
    let server = Server::new(tree.serve());
    let long = format!("/{}", "x".repeat(256));
    let longer = format!("/{}", "a/".repeat(3000));
    for path in [
        "/missing",
        "/file/",
        "/file/below",
        "/FILE",
        "/file%20",
        "/%20file",
        "/..%5c..%5csecret",
        "/\\..\\secret",
        "/dir%5cfile",
        "/...",
        "/../secret",
        "/dir/../../secret",
        "/%2E%2E/secret",
        "/dir/.%2e/%2e./secret",
        // Bytes that are not UTF-8: some are overlong forms of '/' and '.', one is half of a
        // surrogate pair.
        "/%ff",
        "/%c3%28",
        "/%c0%af",
        "/%c0%ae%c0%ae/secret",
        "/%e0%80%af",
        "/%ed%a0%80",
        "/%252e%252e/secret",
        "/file;a=b",
        &long,
        &longer,
    ] {
        Client::get(&server, path, "").expect_error(404);
    }
}

#[test]
fn paths_with_another_spelling_lead_to_the_same() {
    let tree = tree();
    let server = Server::new(tree.serve());
    for (path, body) in [
        ("/dir/file", &b"in dir"[..]),
        ("//dir///file", b"in dir"),
        ("/%64ir/f%69le", b"in dir"),
        ("/dir/file?a=/../../secret", b"in dir"),
        ("/back%5Cslash", b"backslash"),
        ("/%C3%BCn%c3%af", b"unicode"),
        // These are not allowed unescaped in a URL, but hyper accepts them, and all parsers agree
        // on them.
        ("/\u{fc}n\u{ef}", b"unicode"),
    ] {
        Client::get(&server, path, "")
            .has_status(200)
            .has_body(body);
    }
}

/// Requests as flat apt repositories (`deb URL ./`) and rclone (names with a colon) send them.
#[test]
fn pitfall_34_dot_segments_are_removed() {
    let tree = tree();
    tree.file("dir/index.html", b"index");
    tree.file("12:30", b"colon");
    let server = Server::new(tree.serve().listing(true).uploads(Uploads::default()));
    for (path, body) in [
        ("/./file", &b"file"[..]),
        ("/././dir/./file", b"in dir"),
        ("/./12:30", b"colon"),
        ("/dir/../file", b"file"),
        ("/nothing/../file", b"file"),
        ("/../../file", b"file"),
        ("/dir/%2e/%2E%2e/dir/%2e%2E/file", b"file"),
        ("/dir/.", b"index"),
        ("/dir/x/..", b"index"),
        ("/.git/../file", b"file"),
    ] {
        Client::get(&server, path, "")
            .has_status(200)
            .has_body(body);
    }
    Client::get(&server, "/dir/..", "").has_status(200);
    Client::get(&server, "/./dir", "")
        .expect_error(301)
        .has("location", "./dir/");
    let put = request("PUT", "/dir/../../new", "Content-Length: 3\r\n") + "new";
    let mut client = Client::new(&server);
    client.send(put.as_bytes());
    client.reply("PUT").has_status(201);
    assert_eq!(fs::read(tree.path("new")).unwrap(), b"new");
    assert_eq!(fs::read_dir(tree.around()).unwrap().count(), 2);
}

#[test]
fn pitfall_34_names_are_bytes() {
    let tree = Tree::new();
    let name = |bytes| tree.root().join(OsStr::from_bytes(bytes));
    fs::write(name(b"caf\xe9.txt"), b"latin 1").unwrap();
    fs::write(name(b"caf\xe9.txt.gz"), b"packed").unwrap();
    fs::create_dir(name(b"\xff")).unwrap();
    fs::write(name(b"\xff/\xfe"), b"below").unwrap();
    let server = Server::new(
        tree.serve()
            .listing(true)
            .precompressed_gzip()
            .uploads(Uploads::default()),
    );
    Client::get(&server, "/caf%E9.txt", "")
        .has_status(200)
        .has("content-type", "text/plain; charset=utf-8")
        .has_body(b"latin 1");
    Client::get(&server, "/caf%e9.txt", "Accept-Encoding: gzip\r\n").has_body(b"packed");
    Client::get(&server, "/%FF/%FE", "").has_body(b"below");
    Client::get(&server, "/%FF", "")
        .expect_error(301)
        .has("location", "./%FF/");
    Client::get(&server, "/caf%C3%A9.txt", "").expect_error(404);

    let page = Client::get(&server, "/", "");
    assert!(
        page.text()
            .contains("href=\"./caf%E9.txt\"><bdi>caf\u{fffd}.txt</bdi>")
    );
    let page = Client::get(&server, "/%FF/", "");
    assert!(page.text().contains(r#"href="./%FE""#), "{page:?}");
    let page = Client::get(&server, "/%FF/?format=json", "");
    let expected = "{\"path\":\"/\u{fffd}/\",\"encoded\":\"/%FF/\",\"entries\":[{\"name\":\"\u{fffd}\",\"encoded\":\"%FE\",";
    assert!(page.text().starts_with(expected), "{}", page.text());

    let put = request("PUT", "/%FF/%E8", "Content-Length: 3\r\n") + "new";
    let mut client = Client::new(&server);
    client.send(put.as_bytes());
    client.reply("PUT").has_status(201);
    assert_eq!(fs::read(name(b"\xff/\xe8")).unwrap(), b"new");
    Client::get(&server, "/%FF/%E8", "").has_body(b"new");
}

/// This is also true for files that options name.
#[test]
fn names_in_options_are_bytes() {
    let tree = Tree::new();
    let file = tree.root().join(OsStr::from_bytes(b"\xe9"));
    fs::write(&file, b"a page").unwrap();
    let name = Path::new(OsStr::from_bytes(b"\xe9"));
    let server = Server::new(tree.serve().not_found_page(name));
    Client::get(&server, "/missing", "")
        .has_status(404)
        .has_body(b"a page");
    let server = Server::of(ServeFile::new(&file), Settings::default());
    Client::get(&server, "/", "")
        .has_status(200)
        .has_body(b"a page");
}

#[test]
fn dot_files_are_hidden() {
    let tree = tree();
    let hidden = [
        "/.env",
        "/.git/config",
        "/.git/",
        "/..double",
        "/.well-known/.dot",
        "/%2eenv",
    ];
    let server = Server::new(tree.serve().listing(true));
    for path in hidden {
        Client::get(&server, path, "").expect_error(404);
    }
    Client::get(&server, "/.well-known/security.txt", "").has_body(b"contact");
    let server = Server::new(tree.serve().listing(true).hidden(true));
    for path in hidden {
        Client::get(&server, path, "").has_status(200);
    }
    // An upload that is not complete is never served, even if hidden files are.
    tree.file(".underpass-upload-1-1", b"half");
    Client::get(&server, "/.underpass-upload-1-1", "").expect_error(404);
    let page = Client::get(&server, "/", "");
    assert!(!page.text().contains("underpass-upload"));
}

/// A tree full of symbolic links, and what they lead to if they are followed.
fn linked() -> (Tree, Vec<(&'static str, &'static [u8])>) {
    let tree = tree();
    let links = [
        ("inside", "file"),
        ("dir/up", "../file"),
        ("dir-link", "dir"),
        ("chain", "inside"),
        ("out", "../secret"),
        ("dir/out", "../../secret"),
        ("dotdot", ".."),
        ("through", "dotdot/root/file"),
        ("loop", "loop"),
        ("loop-a", "loop-b"),
        ("loop-b", "loop-a"),
        ("dangling", "nothing"),
        ("magic", "/proc/self/root"),
    ];
    for (name, target) in links {
        symlink(target, tree.path(name)).unwrap();
    }
    symlink(tree.around().join("secret"), tree.path("absolute")).unwrap();
    symlink(tree.path("file"), tree.path("absolute-inside")).unwrap();
    symlink(tree.path("dir"), tree.path("absolute-dir")).unwrap();
    symlink(tree.path("absolute-dir/up"), tree.path("absolute-chain")).unwrap();
    symlink(tree.path("../secret"), tree.path("absolute-out")).unwrap();
    let followed: Vec<(&str, &[u8])> = vec![
        ("/inside", b"file"),
        ("/chain", b"file"),
        ("/dir/up", b"file"),
        ("/dir-link/file", b"in dir"),
        ("/absolute-inside", b"file"),
        ("/absolute-dir/file", b"in dir"),
        ("/absolute-chain", b"file"),
    ];
    (tree, followed)
}

const NEVER_FOLLOWED: &[&str] = &[
    "/out",
    "/dir/out",
    "/dotdot/",
    "/dotdot/secret",
    "/through",
    "/absolute",
    "/absolute-out",
    "/loop",
    "/loop-a",
    "/dangling",
    "/magic/etc/passwd",
];

#[test]
fn symbolic_links_are_not_there_by_default() {
    let (tree, followed) = linked();
    let server = Server::new(tree.serve().listing(true));
    let links = followed.iter().map(|(path, _)| path);
    for path in links.chain(NEVER_FOLLOWED) {
        Client::get(&server, path, "").expect_error(404);
    }
    let page = Client::get(&server, "/?format=json", "");
    for name in ["inside", "out", "dir-link", "loop"] {
        assert!(!page.text().contains(&format!("\"{name}\"")), "{name}");
    }
}

#[test]
fn symbolic_links_are_followed_below_the_root() {
    let (tree, followed) = linked();
    let server = Server::new(tree.serve().listing(true).symlinks(Symlinks::Confine));
    for (path, body) in followed {
        Client::get(&server, path, "")
            .has_status(200)
            .has_body(body);
    }
    for path in NEVER_FOLLOWED {
        Client::get(&server, path, "").expect_error(404);
    }
    Client::get(&server, "/dir-link", "")
        .expect_error(301)
        .has("location", "./dir-link/");
    let page = Client::get(&server, "/?format=json", "");
    for (name, listed) in [
        ("inside", true),
        ("dir-link", true),
        ("absolute-inside", true),
        ("absolute-dir", true),
        ("absolute-out", false),
        ("out", false),
        ("loop", false),
    ] {
        assert_eq!(
            page.text().contains(&format!("\"{name}\"")),
            listed,
            "{name}"
        );
    }
}

/// While the name is requested, it is replaced by a link to the outside, over and over.
#[test]
fn links_that_come_and_go_lead_nowhere() {
    let tree = tree();
    let server = Server::new(tree.serve_fresh());
    let (path, spare) = (tree.path("swapped"), tree.path("spare"));
    std::thread::scope(|scope| {
        let swapping = scope.spawn(|| {
            for _ in 0..300 {
                symlink("../secret", &spare).unwrap();
                fs::rename(&spare, &path).unwrap();
                fs::write(&spare, b"inside").unwrap();
                fs::rename(&spare, &path).unwrap();
            }
        });
        let mut client = Client::new(&server);
        while !swapping.is_finished() {
            client.send(request("GET", "/swapped", "").as_bytes());
            let reply = client.reply("GET");
            assert!(matches!(reply.status, 200 | 404), "{reply:?}");
            assert!(
                reply.status == 404 || [&b"inside"[..], b""].contains(&&*reply.body),
                "{reply:?}"
            );
        }
    });
}

#[test]
fn what_is_no_regular_file_is_not_there() {
    let tree = tree();
    let mode = Mode::from_raw_mode(0o666);
    mknodat(CWD, tree.path("fifo"), FileType::Fifo, mode, 0).unwrap();
    let _socket = UnixListener::bind(tree.path("socket")).unwrap();
    let mut paths = vec!["/fifo", "/socket", "/fifo/"];
    // Major 1, minor 5: /dev/zero, which never ends.
    let zero = rustix::fs::makedev(1, 5);
    match mknodat(
        CWD,
        tree.path("zero"),
        FileType::CharacterDevice,
        mode,
        zero,
    ) {
        Ok(()) => paths.push("/zero"),
        Err(errno) => drop(needs::lacking(&format!("no device nodes: {errno}"))),
    }
    let server = Server::new(tree.serve().listing(true));
    for path in paths {
        for method in ["GET", "HEAD"] {
            assert_eq!(Client::ask(&server, method, path, "").status, 404, "{path}");
        }
    }
    let page = Client::get(&server, "/?format=json", "");
    for name in ["fifo", "socket", "zero"] {
        assert!(!page.text().contains(name), "{name}");
    }
    // They are not found as an index or a sibling either.
    fs::create_dir(tree.path("sub")).unwrap();
    mknodat(CWD, tree.path("sub/index.html"), FileType::Fifo, mode, 0).unwrap();
    mknodat(CWD, tree.path("file.gz"), FileType::Fifo, mode, 0).unwrap();
    let server = Server::new(tree.serve().precompressed_gzip());
    Client::get(&server, "/sub/", "").expect_error(404);
    Client::get(&server, "/file", "Accept-Encoding: gzip\r\n").has_body(b"file");
}

/// Root can read everything. So as root this runs again without the capabilities for that.
#[test]
fn what_may_not_be_read_is_forbidden() {
    if rustix::process::geteuid().is_root() && std::env::var_os(UNPRIVILEGED).is_none() {
        return without_privileges("paths::what_may_not_be_read_is_forbidden");
    }
    let tree = tree();
    fs::create_dir(tree.path("locked")).unwrap();
    tree.file("locked/file", b"unreachable");
    for name in ["file", "locked"] {
        fs::set_permissions(tree.path(name), fs::Permissions::from_mode(0o0)).unwrap();
    }
    let server = Server::new(tree.serve().listing(true));
    for path in ["/file", "/locked/", "/locked/file"] {
        Client::get(&server, path, "").expect_error(403);
    }
    Client::get(&server, "/dir/file", "").has_status(200);
    fs::set_permissions(tree.path("locked"), fs::Permissions::from_mode(0o700)).unwrap();
}

const UNPRIVILEGED: &str = "UNDERPASS_TESTS_UNPRIVILEGED";

fn without_privileges(test: &str) {
    if !needs::tool("setpriv") {
        return;
    }
    let lost = "-dac_override,-dac_read_search";
    let output = Command::new("setpriv")
        .args(["--inh-caps", lost, "--bounding-set", lost])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(UNPRIVILEGED, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{output:?}"
    );
}

/// Pieces of paths that lead out of a directory, and any other bytes.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    const KNOWN: &[&str] = &[
        "/",
        "//",
        "..",
        ".",
        "/../",
        "%2e",
        "%2E",
        "%2e%2e",
        "%2f",
        "%2F",
        "%5c",
        "\\",
        "%00",
        "%",
        "%25",
        "%252e",
        "%c0%ae",
        "%c0%af",
        "secret",
        "root",
        "out",
        "dotdot",
        "dir",
        "file",
        "absolute",
        "magic",
        "dir-link",
        "inside",
        "?",
        "#",
        ";",
        "%3f",
        ".well-known",
        "etc/passwd",
    ];
    prop_oneof![
        8 => prop::sample::select(KNOWN).prop_map(|it| it.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..4),
        1 => any::<u8>().prop_map(|byte| format!("%{byte:02x}").into_bytes()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1000,
        rng_seed: RngSeed::Fixed(9110),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Whatever bytes are sent as a path, no response contains what is outside.
    #[test]
    fn no_path_leads_outside(pieces in prop::collection::vec(piece(), 0..8)) {
        let (_tree, servers) = shared();
        let path = pieces.concat();
        for server in servers {
            let mut client = Client::new(server);
            client.send(&[b"GET /", &*path, b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"].concat());
            client.no_more();
            let all = client.rest();
            let leaks = |secret: &[u8]| all.windows(secret.len()).any(|it| it == secret);
            prop_assert!(!leaks(SECRET) && !leaks(b"root:x:0"), "{}", path.escape_ascii());
        }
    }

    /// Nothing outside is written, whatever is sent as the path of an upload.
    #[test]
    fn no_upload_leads_outside(pieces in prop::collection::vec(piece(), 1..8)) {
        let (tree, servers) = shared();
        let path = pieces.concat();
        for server in servers {
            let mut client = Client::new(server);
            let head = [b"PUT /", &*path, b" HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nnew"].concat();
            client.send(&head);
            client.no_more();
            client.rest();
            prop_assert_eq!(std::fs::read(tree.around().join("secret")).unwrap(), SECRET);
            let around = std::fs::read_dir(tree.around()).unwrap().count();
            prop_assert_eq!(around, 2, "{}", path.escape_ascii());
        }
    }
}

/// Servers that allow as much as possible, and run as long as the tests.
fn shared() -> &'static (Tree, [Server; 2]) {
    static SHARED: std::sync::OnceLock<(Tree, [Server; 2])> = std::sync::OnceLock::new();
    SHARED.get_or_init(|| {
        let (tree, _) = linked();
        let open = |files: ServeDir| {
            files
                .listing(true)
                .hidden(true)
                .uploads(Uploads::default().max_bytes(100))
        };
        let servers = [
            Server::new(open(tree.serve())),
            Server::new(open(tree.serve()).symlinks(Symlinks::Confine)),
        ];
        (tree, servers)
    })
}
