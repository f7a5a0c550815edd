//! `fan-out`: invalid input is reported in one line.

use std::net::TcpListener;

use crate::support::{Dir, run};

#[test]
fn what_is_for_streams_is_refused_for_a_file() {
    let dir = Dir::new();
    let (file, fifo) = (dir.file("file", b"content"), dir.path("fifo"));
    for option in [
        "--slow=drop",
        "--lag=1MiB",
        "--alone=discard",
        "--await=2",
        "--allow-empty",
        "--clean-end",
        "--route=splice",
    ] {
        let from = |source| ["fan-out", "--listen=127.0.0.1:0", option, "--from", source];
        let name = option.split('=').next().unwrap();
        run(&from(&file)).fails(
            2,
            &[&format!("{name} is for streams, and {file} is a file")],
        );
        // There is nobody to send to, and a stream that cannot begin fails for that reason.
        run(&from(&fifo)).fails(1, &[&fifo, "No such file"]);
    }
}

/// clap's errors take several lines; the first one has the name.
#[test]
fn arguments_that_cannot_be_right_are_named() {
    let on = ["fan-out", "--listen", "127.0.0.1:0"];
    let from = [&on[..], &["--from", "-"]].concat();
    for (args, option, words) in [
        (&on[..], "", "--from <SOURCE>"),
        (&from, "--unknown", "--unknown"),
        (&from, "--slow=never", "possible values: wait, drop"),
        (&from, "--alone=drop", "possible values: wait, discard"),
        (&from, "--lag=much", "--lag"),
        (&from, "--lag=1X", "is not a unit"),
        (&from, "--await=-1", "--await"),
        (
            &from,
            "--route=sendfile",
            "the routes here are splice and read-write",
        ),
        (&from, "--idle-timeout=0", "is not a duration"),
        (&from, "--max-connections=0", "--max-connections"),
        (&from, "--from=tls://host", "names no port"),
        (&from, "--from=tcp://host", "tcp://host"),
    ] {
        let options = if option.is_empty() {
            vec![]
        } else {
            vec![option]
        };
        let mut args = args.to_vec();
        if option.starts_with("--from") {
            args.truncate(on.len());
        }
        let outcome = run(&[args, options].concat());
        assert_eq!(outcome.code, 2, "{option}: {outcome:?}");
        let mut first = outcome.stderr.lines().take(3);
        assert!(
            first.any(|line| line.contains(words)),
            "{option}: {outcome:?}"
        );
    }
}

#[test]
fn what_is_not_there_or_not_free_is_one_line() {
    let dir = Dir::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let tcp = format!("tcp://{address}");
    let unix = format!("unix:{}", dir.path("same"));
    let (missing, file) = (dir.path("missing"), dir.file("file", b"content"));
    let below = format!("unix:{file}/socket");
    let any = "127.0.0.1:0";
    for (code, args, words) in [
        (
            1,
            ["--listen", any, "--from", dir.root()],
            [dir.root(), "is a directory; name a file"],
        ),
        (
            1,
            ["--listen", any, "--from", &missing],
            [&missing, "No such file"],
        ),
        (
            1,
            ["--listen", any, "--from", &address],
            ["--from tcp://", "choose another port"],
        ),
        (
            1,
            ["--listen", any, "--from", &tcp],
            ["--from tcp://", "in use"],
        ),
        (
            1,
            ["--listen", any, "--from", &below],
            ["--from unix:", "Not a directory"],
        ),
        (
            1,
            ["--listen", any, "--from", "tcp://192.0.2.1:80"],
            ["--from tcp://192.0.2.1:80", "assign"],
        ),
        (
            1,
            ["--listen", &address, "--from", &file],
            ["--listen", "stop it, or choose another port"],
        ),
        (
            1,
            ["--listen", &unix, "--from", &unix],
            ["--listen unix:", "in use"],
        ),
        (
            2,
            ["--threads", "1", "--from", &file],
            ["--listen ADDR", "systemd"],
        ),
    ] {
        let outcome = run(&[&["fan-out"], &args[..]].concat());
        outcome.fails(code, &words);
    }
    assert_eq!(dir.names(), ["file"], "nothing is left behind");
}
