//! `serve --config FILE`: options from a file, what is wrong with one, and what SIGHUP changes.

use rustix::process::Signal;

use crate::support::{Dir, Outcome, Running, Server, curl, nobody, run, underpass};

/// Checks a configuration of these bytes, with `more` on the command line.
fn check(text: &[u8], more: &[&str]) -> (Outcome, String) {
    let dir = Dir::in_memory();
    let path = dir.file("underpass.toml", text);
    let args = ["serve", dir.root(), "--config", &path, "--check-config"];
    (run(&[&args, more].concat()), path)
}

/// Every mistake is reported in one line that begins with the place of the mistake.
#[test]
fn mistakes_are_named_with_their_place() {
    for (text, place, words) in [
        ("listn = ':1'\n", "1:1", &["listn", "write listen"][..]),
        ("\n  max_streams = 5\n", "2:3", &["write max-streams"]),
        ("frobnicate = 1\n", "1:1", &["frobnicate", "--help"]),
        ("config = 'a'\n", "1:1", &["there is no option \"config\""]),
        (
            "drain = 30\ndrain = 40\n",
            "2:1",
            &["not TOML", "duplicate"],
        ),
        ("rate = \n", "1:8", &["not TOML"]),
        ("a = [1,\n", "1:8", &["not TOML"]),
        ("rate = '5 parsecs'\n", "1:8", &["rate", "5 parsecs"]),
        ("hidden = 'yes'\n", "1:10", &["hidden", "true or false"]),
        ("drain = true\n", "1:9", &["drain", "in quotes"]),
        ("drain = [1, 2]\n", "1:9", &["drain", "one value"]),
        ("max-streams = 0\n", "1:15", &["max-streams", "0"]),
        ("listen = [':1', 5.5, {}]\n", "1:22", &["listen"]),
        ("access-log = 'tsv'\n", "1:14", &["access-log", "combined"]),
        ("drain = 1979-05-27\n", "1:9", &["drain", "in quotes"]),
        (
            "spa = 'a'\nnot-found = 'b'\n",
            "2:13",
            &["not-found", "together with", "--spa"],
        ),
        ("[serve]\ndrain = 1\n", "1:2", &["serve"]),
        ("path = 5\n", "1:8", &["[[path]]"]),
        ("[path]\nglob = 'a'\n", "1:1", &["[[path]]"]),
        ("drain = 5\n[[path]]\naccess = 'deny'\n", "2:1", &["glob"]),
        (
            "[[path]]\nglob = 'a'\nacess = 'deny'\n",
            "3:1",
            &["acess", "write access"],
        ),
        (
            "[[path]]\nglob = 'a'\nnix = 1\n",
            "3:1",
            &["nix", "cache-control"],
        ),
        ("[[path]]\nglob = 'a['\n", "2:8", &["not a pattern"]),
        ("[[path]]\nglob = ''\n", "2:8", &["empty"]),
        ("[[path]]\nglob = 5\n", "2:8", &["in quotes"]),
        (
            "[[path]]\nglob = 'a'\naccess = 'none'\n",
            "3:10",
            &["none", "deny"],
        ),
        (
            "[[path]]\nglob = 'a'\narchive = 'no'\n",
            "3:11",
            &["true or false"],
        ),
        (
            "[[path]]\nglob = 'a'\ntype = 'text'\n",
            "3:8",
            &["media type"],
        ),
        (
            "[[path]]\nglob = 'a'\nheaders = 'X: y'\n",
            "3:11",
            &["headers = {"],
        ),
        (
            "[[path]]\nglob = 'a'\nheaders = { 'a b' = 'c' }\n",
            "3:13",
            &["a b"],
        ),
        (
            "[[path]]\nglob = 'a'\nheaders = { A = \"\\u0000\" }\n",
            "3:17",
            &["header field"],
        ),
        (
            "[[path]]\nglob = 'a'\nheaders = { Content-Length = '5' }\n",
            "3:11",
            &["content-length"],
        ),
    ] {
        let (outcome, path) = check(text.as_bytes(), &[]);
        let place = format!("underpass: {path}:{place}: ");
        let outcome = outcome.fails(2, words);
        assert!(outcome.stderr.starts_with(&place), "{text}: {outcome:?}");
    }
}

#[test]
fn a_file_may_come_from_any_editor() {
    for text in [
        &b""[..],
        b"\n# nothing\n",
        b"\xef\xbb\xbfdrain = 5\r\nhidden = true\r\n",
        b"drain = '5s'\nmax-streams = 7\nlisten = [':1', 'unix:/a']\nindex = true",
    ] {
        let (outcome, path) = check(text, &[]);
        let said = outcome.ok().stderr;
        assert_eq!(said, format!("underpass: {path}: nothing is wrong\n"));
    }
    let (outcome, path) = check(b"hidden = true\ndrain = '\xff'\n", &[]);
    outcome.fails(2, &[&path, ":2:10: ", "UTF-8"]);
}

#[test]
fn what_cannot_be_read_is_named() {
    let dir = Dir::in_memory();
    let huge = dir.file("huge", &vec![b'#'; (1 << 20) + 1]);
    let secret = dir.file("secret", b"drain = 5\n");
    std::os::unix::fs::chown(&secret, None, None).unwrap();
    rustix::fs::chmod(&secret, rustix::fs::Mode::empty()).unwrap();
    for (path, word) in [
        (dir.path("missing"), "No such file"),
        (dir.root().to_owned(), "directory"),
        (huge, "more than 1048576 bytes"),
    ] {
        run(&["serve", "--config", &path]).fails(1, &["--config", &path, word]);
    }
    let command = nobody(
        underpass(&["serve", "--config", &secret]),
        &Dir::in_memory(),
    );
    Running::start(command)
        .finish()
        .fails(1, &["--config", &secret, "Permission denied"]);
}

/// What the command line and the environment say is not read from the file.
#[test]
fn the_command_line_wins_and_then_the_environment() {
    let text = b"port = 1\nlisten = 'wrong'\nmax-streams = 0\nspa = 'a'\n";
    let typed = [
        "--listen=:0",
        "--max-streams=1",
        "--not-found=underpass.toml",
    ];
    check(text, &typed).0.ok();
    let dir = Dir::in_memory();
    let path = dir.file("a.toml", b"max-streams = 0\ndir = '/nowhere'\n");
    let mut command = underpass(&["serve", "--check-config"]);
    command
        .env("UNDERPASS_CONFIG", &path)
        .env("UNDERPASS_MAX_STREAMS", "5")
        .env("UNDERPASS_DIR", dir.root());
    Running::start(command).finish().ok();
}

/// Not only the text is checked, but also the files that it names.
#[test]
fn the_files_that_it_names_are_checked() {
    let dir = Dir::in_memory();
    let users = dir.file("users", b"no colon\n");
    for (text, word) in [
        (format!("auth-file = '{users}'\n"), "no colon"),
        ("spa = 'app.html'\n".to_owned(), "app.html"),
        ("tls-cert = '/no'\ntls-key = '/no'\n".to_owned(), "/no"),
        ("hsts = 5\n".to_owned(), "--hsts is for HTTPS"),
        (
            "[[path]]\nglob = 'a'\naccess = 'auth'\n".to_owned(),
            "needs --auth",
        ),
        ("upload = true\n".to_owned(), "--auth"),
    ] {
        let stderr = check(text.as_bytes(), &[]).0.stderr;
        assert!(stderr.contains(word), "{text}: {stderr}");
    }
}

/// A server of `dir`, configured by the file `config` in it.
fn configured(dir: &Dir, text: &str) -> (Server, String) {
    let path = dir.file("config", text.as_bytes());
    let options = ["--config", &path];
    (Server::start(dir, &options), path)
}

fn status(server: &Server, user: &str) -> u16 {
    curl(&["--user", user, &server.url]).status
}

#[test]
fn a_hangup_changes_what_can_be_changed() {
    let dir = Dir::in_memory();
    let (mut server, path) = configured(&dir, "auth = 'a:1'\n");
    assert_eq!((status(&server, "a:1"), status(&server, "b:2")), (200, 401));
    std::fs::write(&path, "auth = ['b:2']\ndrain = 5\nhidden = true\n").unwrap();
    server.running.signal(Signal::HUP);
    let line = server.running.line();
    assert!(
        line.contains(&path) && line.contains("drain, hidden needs a restart"),
        "{line}"
    );
    assert_eq!((status(&server, "a:1"), status(&server, "b:2")), (401, 200));
    for wrong in ["auth = 'c\n", "auth = 'c'\n", "hiden = true\n"] {
        std::fs::write(&path, wrong).unwrap();
        server.running.signal(Signal::HUP);
        let line = server.running.line();
        assert!(line.contains("before stays in use"), "{wrong}: {line}");
        assert_eq!((status(&server, "a:1"), status(&server, "b:2")), (401, 200));
    }
    // To let everybody in takes more than a line that was removed.
    std::fs::write(&path, "").unwrap();
    server.running.signal(Signal::HUP);
    assert!(server.running.line().contains("auth needs a restart"));
    assert_eq!((status(&server, "x:y"), status(&server, "b:2")), (401, 200));
    server.stop().ok();
}

#[test]
fn names_and_passwords_are_read_again_when_their_file_changes() {
    let dir = Dir::in_memory();
    let users = dir.file("users", b"a:1\n");
    let mut server = Server::start(&dir, &["--auth-file", &users]);
    assert_eq!((status(&server, "a:1"), status(&server, "b:2")), (200, 401));
    std::fs::write(dir.path("new"), "b:2\n").unwrap();
    std::fs::rename(dir.path("new"), &users).unwrap();
    let line = server.running.line();
    assert!(
        line.contains(&users) && line.contains("read again"),
        "{line}"
    );
    assert_eq!((status(&server, "a:1"), status(&server, "b:2")), (401, 200));
    std::fs::write(&users, "nothing\n").unwrap();
    let line = server.running.line();
    assert!(line.contains("stay in use"), "{line}");
    assert_eq!(status(&server, "b:2"), 200);
    server.stop().ok();
}

/// The path tables of the test below, and what is sent for them.
const PATHS: &str = "
auth = 'a:1'

[[path]]
glob = 'public'
access = 'allow'
headers = { X-Robots-Tag = 'none' }

[[path]]
glob = 'public/members'
access = 'auth'

[[path]]
glob = '*.key'
access = 'deny'

[[path]]
glob = '*.log'
type = 'text/x-log'
cache-control = 'no-store'
";

#[test]
fn rules_for_paths_are_used_and_changed() {
    let dir = Dir::in_memory();
    std::fs::create_dir_all(dir.path("public/members")).unwrap();
    for name in ["public/a.log", "public/members/b", "public/c.key", "d"] {
        dir.file(name, b"content");
    }
    let (mut server, path) = configured(&dir, PATHS);
    let get = |server: &Server, path: &str, more: &[&str]| {
        let url = format!("{}{path}", server.url);
        curl(&[more, &[url.as_str()]].concat())
    };
    let known = ["--user", "a:1"];
    for _ in 0..2 {
        let log = get(&server, "public/a.log", &[]);
        assert_eq!((log.status, log.field("x-robots-tag")), (200, Some("none")));
        assert_eq!(log.field("content-type"), Some("text/x-log"));
        assert_eq!(log.field("cache-control"), Some("no-store"));
        for (path, stranger, user) in [
            ("public/members/b", 401, 200),
            ("public/members/", 401, 200),
            ("public/%6dembers/b", 401, 200),
            ("public/", 200, 200),
            ("d", 401, 200),
            ("public/c.key", 401, 404),
            ("public/C.KEY", 401, 404),
        ] {
            let asked = get(&server, path, &[]);
            // Nothing that is denied is for everybody, too.
            assert_eq!(asked.status, stranger, "{path}");
            assert_eq!(asked.field("www-authenticate").is_some(), stranger == 401);
            assert_eq!(get(&server, path, &known).status, user, "{path}");
        }
        let archive = get(&server, "public/?archive=tar", &[]).body;
        let has = |word: &[u8]| archive.windows(word.len()).any(|it| it == word);
        assert!(has(b"a.log") && !has(b"members/b") && !has(b"c.key"));
    }
    let changed = PATHS.replace("*.key", "*.log");
    std::fs::write(&path, changed).unwrap();
    server.running.signal(Signal::HUP);
    let line = server.running.line();
    assert!(line.ends_with("is read again"), "{line}");
    assert_eq!(get(&server, "public/a.log", &known).status, 404);
    assert_eq!(get(&server, "public/c.key", &[]).status, 200);
    server.stop().ok();
}

/// Rules are replaced while clients download; each gets its whole file.
#[test]
fn a_hangup_breaks_no_download() {
    const CLIENTS: usize = 100;
    const LENGTH: usize = 4 << 20;
    let dir = Dir::in_memory();
    let content: Vec<u8> = (0..LENGTH).map(|at| (at / 7) as u8).collect();
    dir.file("large", &content);
    let text = |value| format!("[[path]]\nglob = '*'\nheaders = {{ X-Number = '{value}' }}\n");
    let (mut server, path) = configured(&dir, &text(0));
    let address = server.url["http://".len()..]
        .trim_end_matches('/')
        .to_owned();
    let request = b"GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut client = std::net::TcpStream::connect(&address).unwrap();
            client
                .set_read_timeout(Some(std::time::Duration::from_secs(60)))
                .unwrap();
            std::io::Write::write_all(&mut client, request).unwrap();
            // It has begun, and more than the buffers hold is still to come.
            let mut first = [0; 9];
            std::io::Read::read_exact(&mut client, &mut first).unwrap();
            client
        })
        .collect();
    for number in 1..=3 {
        std::fs::write(&path, text(number)).unwrap();
        server.running.signal(Signal::HUP);
        assert!(server.running.line().ends_with("is read again"));
    }
    for client in &mut clients {
        let mut rest = Vec::new();
        std::io::Read::read_to_end(client, &mut rest).unwrap();
        assert!(rest.ends_with(&content));
    }
    let now = curl(&[&format!("{}large", server.url)]);
    assert_eq!(now.field("x-number"), Some("3"));
    server.stop().ok();
}
