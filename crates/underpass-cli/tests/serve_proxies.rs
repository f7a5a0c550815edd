//! `serve` behind proxies: whom the access log names.

use std::process::Stdio;

use crate::support::{Dir, Server, curl, needs, run, underpass};

/// Sends a request with each of `fields`, and returns the lines of the access log.
fn log_of(form: &str, options: &[&str], fields: &[&str]) -> Vec<String> {
    let dir = Dir::in_memory();
    dir.file("a", b"content");
    let log = dir.path("log");
    let args = [
        &[
            "serve",
            dir.root(),
            "--listen",
            "127.0.0.1:0",
            "--access-log",
            form,
            "--access-log-file",
            &log,
        ],
        options,
    ]
    .concat();
    let mut command = underpass(&args);
    command.stdout(Stdio::null());
    let server = Server::of(command);
    for field in fields {
        let url = format!("{}a", server.url);
        assert_eq!(curl(&["--header", field, &url]).text(), "content");
    }
    server.stop().ok();
    let log = std::fs::read_to_string(log).unwrap();
    log.lines().map(str::to_owned).collect()
}

#[test]
fn a_trusted_proxy_is_believed_and_nobody_else() {
    if !needs::tool("curl") {
        return;
    }
    let spoofed = "X-Forwarded-For: 127.0.0.1, 198.51.100.7";
    let trusted = ["--trusted-proxy", "10.0.0.0/8,127.0.0.1"];
    let lines = log_of(
        "combined",
        &trusted,
        &[spoofed, "Forwarded: for=198.51.100.8"],
    );
    assert!(lines[0].starts_with("198.51.100.7 - "), "{lines:?}");
    assert!(lines[1].starts_with("127.0.0.1 - "), "{lines:?}");
    for options in [&["--trusted-proxy", "10.0.0.0/8"][..], &[]] {
        let lines = log_of("combined", options, &[spoofed]);
        assert!(
            lines[0].starts_with("127.0.0.1 - "),
            "{options:?}: {lines:?}"
        );
    }
}

#[test]
fn the_other_header_is_believed_if_it_is_chosen() {
    if !needs::tool("curl") {
        return;
    }
    let options = [
        "--trusted-proxy",
        "127.0.0.1",
        "--proxy-header",
        "forwarded",
    ];
    let fields = [
        "Forwarded: for=\"[2001:db8::7]:80\"",
        "X-Forwarded-For: 198.51.100.7",
    ];
    let lines = log_of("json", &options, &fields);
    assert!(
        lines[0].contains(r#""peer":"2001:db8::7","proxy":"127.0.0.1""#),
        "{lines:?}"
    );
    assert!(
        lines[1].contains(r#""peer":"127.0.0.1","user""#),
        "{lines:?}"
    );
}

#[test]
fn networks_that_cannot_be() {
    for (args, word) in [
        (&["--trusted-proxy", "proxy.example"][..], "not a network"),
        (&["--trusted-proxy", "10.0.0.1/8"], "write 10.0.0.0/8"),
        (&["--trusted-proxy", "10.0.0.0/40"], "32 bits"),
        (&["--proxy-header", "forwarded"], "--trusted-proxy"),
        (
            &["--trusted-proxy", "::1", "--proxy-header", "via"],
            "x-forwarded-for",
        ),
    ] {
        let outcome = run(&[&["serve"], args].concat());
        assert_eq!(outcome.code, 2, "{args:?}");
        assert!(
            outcome.stderr.contains(word),
            "{args:?}: {}",
            outcome.stderr
        );
    }
}
