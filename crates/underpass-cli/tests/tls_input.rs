//! What is wrong with certificates, keys, addresses and peers is told in one line.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use crate::support::{Certs, Dir, MIB, Running, bytes, openssl, run, unprivileged};

/// Sends to a server with the certificate `name`, and expects one line with `words`.
fn refused(certs: &Certs<'_>, name: &str, host: &str, options: &[&str], words: &[&str]) {
    let (peer, port) = certs.receiver(name, "close");
    let to = format!("tls://{host}:{port}");
    let source = certs.path("ca.pem");
    run(&[&["send", &source, &to], options].concat()).fails(1, words);
    drop(peer);
}

#[test]
fn a_server_that_is_not_believed_is_told_why() {
    let dir = Dir::in_memory();
    let Some(certs) = Certs::new(&dir) else {
        return;
    };
    certs.not_believed();
    let ca = certs.ca();
    let by_ca = ["--tls-ca", &ca[..]];
    refused(
        &certs,
        "elsewhere",
        "localhost",
        &by_ca,
        &["is for elsewhere.example, not for localhost"],
    );
    refused(&certs, "expired", "localhost", &by_ca, &["has expired"]);
    // The authority's own certificate, as `openssl req -x509` makes one.
    refused(
        &certs,
        "ca",
        "localhost",
        &by_ca,
        &["is that of an authority", "CA:FALSE"],
    );
    refused(
        &certs,
        "unknown",
        "localhost",
        &by_ca,
        &["authority", "--tls-ca FILE"],
    );
    // The system's authorities do not know the tests'.
    refused(&certs, "server", "localhost", &[], &["authority"]);
}

#[test]
fn a_key_with_another_fingerprint_is_told() {
    let dir = Dir::in_memory();
    let Some(certs) = Certs::new(&dir) else {
        return;
    };
    let (peer, port) = certs.receiver("server", "close");
    let to = format!("tls://localhost:{port}#sha256-{}", "0".repeat(64));
    let source = certs.ca();
    run(&["send", &source, &to]).fails(1, &["fingerprint"]);
    drop(peer);
    let both = ["send", &source, &to, "--tls-ca", &source];
    run(&both).fails(2, &["--tls-ca", "fingerprint"]);
}

#[test]
fn a_plain_peer_is_told() {
    let dir = Dir::in_memory();
    let source = dir.file("in", &bytes(82, MIB));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("tls://{}", listener.local_addr().unwrap());
    let plain = std::thread::spawn(move || {
        let mut peer = listener.accept().unwrap().0;
        let mut hello = [0; 3];
        peer.read_exact(&mut hello).unwrap();
        peer.write_all(b"220 mail.example ESMTP\r\n").unwrap();
        hello
    });
    run(&["send", &source, &to]).fails(1, &["not TLS", "tcp://"]);
    // Nothing but a handshake was sent.
    assert_eq!(plain.join().unwrap()[..2], [22, 3]);
}

#[test]
fn a_peer_that_says_nothing_is_given_up() {
    let dir = Dir::in_memory();
    let source = dir.file("in", b"content");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("tls://{}", listener.local_addr().unwrap());
    run(&["send", &source, &to, "--timeout", "200ms"]).fails(3, &["handshake", "200ms"]);
}

#[test]
fn certificates_and_keys_that_are_no_good_are_told() {
    let dir = Dir::in_memory();
    let Some(certs) = Certs::new(&dir) else {
        return;
    };
    certs.signed("another", "ca", "DNS:localhost", 30);
    let (cert, key) = (certs.path("server.pem"), certs.path("server.key"));
    let encrypted = certs.path("encrypted.key");
    openssl(&[
        "pkey",
        "-in",
        &key,
        "-aes128",
        "-passout",
        "pass:secret",
        "-out",
        &encrypted,
    ]);
    let (other, missing) = (certs.path("another.key"), certs.path("missing"));
    let garbage = dir.file("garbage", &bytes(83, 1000));
    let sink = dir.path("out");
    let table: [(&str, &str, &[&str]); 6] = [
        (&cert, &missing, &["--tls-key: ", "missing", "No such file"]),
        (
            &cert,
            &encrypted,
            &["--tls-key: ", "encrypted.key", "openssl pkey"],
        ),
        (
            &cert,
            &other,
            &["--tls-key: ", "another.key", "does not belong"],
        ),
        (&key, &cert, &["--tls-cert: ", "server.key", "swapped"]),
        (&garbage, &key, &["--tls-cert: ", "garbage"]),
        (&cert, &garbage, &["--tls-key: ", "garbage"]),
    ];
    for (cert, key, words) in table {
        for args in [
            vec!["recv", "tls://127.0.0.1:0", &sink],
            vec!["relay", "--listen=tls://127.0.0.1:0", "--to=127.0.0.1:9"],
            vec!["fan-out", "--listen=tls://127.0.0.1:0", "--from", &garbage],
        ] {
            let args = [&args[..], &["--tls-cert", cert, "--tls-key", key]].concat();
            run(&args).fails(1, words);
        }
    }
    let empty = dir.file("empty", b"");
    for (file, words) in [
        (&missing, "No such file"),
        (&empty, "is empty"),
        (&key, "no CERTIFICATE"),
    ] {
        for args in [
            &["recv", "tls://127.0.0.1:0", &sink, "--tls-client-ca", file][..],
            &[
                "relay",
                "--listen=tls://127.0.0.1:0",
                "--to=127.0.0.1:9",
                "--tls-client-ca",
                file,
            ],
            &[
                "fan-out",
                "--listen=tls://127.0.0.1:0",
                "--from",
                &garbage,
                "--tls-client-ca",
                file,
            ],
        ] {
            run(args).fails(1, &["--tls-client-ca: ", file, words]);
        }
    }
}

/// The commands that connect.
#[test]
fn files_of_clients_that_are_no_good_are_told() {
    let dir = Dir::in_memory();
    let Some(certs) = Certs::new(&dir) else {
        return;
    };
    certs.signed("another", "ca", "DNS:localhost", 30);
    let (cert, key) = (certs.path("server.pem"), certs.path("server.key"));
    let (other, missing) = (certs.path("another.key"), certs.path("missing"));
    let (empty, sink) = (dir.file("empty", b""), dir.path("out"));
    let at = "tls://localhost:9";
    let commands: [&[&str]; 3] = [
        &["send", &cert, at],
        &["recv", "--connect", at, &sink],
        &["relay", "--listen=127.0.0.1:0", "--to", at],
    ];
    let identities = [
        (
            &cert,
            &missing,
            "--tls-client-key: ",
            &missing,
            "No such file",
        ),
        (
            &cert,
            &other,
            "--tls-client-key: ",
            &other,
            "does not belong",
        ),
        (&empty, &key, "--tls-client-cert: ", &empty, "is empty"),
        (&key, &cert, "--tls-client-cert: ", &key, "swapped"),
    ];
    let authorities = [
        (&missing, "No such file"),
        (&empty, "is empty"),
        (&key, "no CERTIFICATE"),
    ];
    for command in commands {
        for (cert, key, option, file, words) in identities {
            let pair = ["--tls-client-cert", cert, "--tls-client-key", key];
            let ca = ["--tls-ca", &certs.ca()];
            run(&[command, &pair, &ca].concat()).fails(1, &[option, file, words]);
        }
        for (file, words) in authorities {
            let args = [command, &["--tls-ca", file]].concat();
            run(&args).fails(1, &["--tls-ca: ", file, words]);
        }
    }
}

/// As another user, who may not read it.
#[test]
fn a_key_that_may_not_be_read_is_told() {
    let dir = Dir::new();
    let Some(certs) = Certs::new(&dir) else {
        return;
    };
    let (cert, key) = (certs.path("server.pem"), certs.path("server.key"));
    set_mode(dir.root(), 0o755);
    set_mode(&cert, 0o644);
    set_mode(&key, 0o600);
    let commands: [&[&str]; 3] = [
        &["recv", "tls://127.0.0.1:0", "/dev/null"],
        &["relay", "--listen=tls://127.0.0.1:0", "--to=127.0.0.1:9"],
        &["fan-out", "--listen=tls://127.0.0.1:0", "--from=/dev/null"],
    ];
    for command in commands {
        let pair = ["--tls-cert", &cert, "--tls-key", &key];
        if let Some(command) = unprivileged(&[command, &pair].concat())
            && rustix::process::geteuid().is_root()
        {
            let outcome = Running::start(command).finish();
            outcome.fails(
                1,
                &["--tls-key: ", &key, "Permission denied", "LoadCredential"],
            );
        }
    }
}

fn set_mode(path: &str, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Who gives an option of TLS believes to be safe.
#[test]
fn options_of_tls_without_tls_are_refused() {
    let dir = Dir::in_memory();
    let (file, sink) = (dir.file("in", b"content"), dir.path("out"));
    let table: [(&[&str], &str); 5] = [
        (
            &["send", &file, "127.0.0.1:9", "--tls-ca", &file],
            "--tls-ca",
        ),
        (
            &["recv", "127.0.0.1:0", &sink, "--tls-client-ca", &file],
            "--tls-client-ca",
        ),
        (
            &[
                "relay",
                "--listen=127.0.0.1:0",
                "--to=127.0.0.1:9",
                "--tls-ca",
                &file,
            ],
            "--tls-ca",
        ),
        (
            &[
                "relay",
                "--listen=127.0.0.1:0",
                "--to=127.0.0.1:9",
                "--tls-client-ca",
                &file,
            ],
            "--tls-client-ca",
        ),
        (
            &[
                "fan-out",
                "--listen=127.0.0.1:0",
                "--from",
                &file,
                "--tls-client-ca",
                &file,
            ],
            "--tls-client-ca",
        ),
    ];
    for (args, option) in table {
        run(args).fails(2, &[option, "tls://"]);
    }
    for (args, words) in [
        (
            vec!["recv", "tls://127.0.0.1:0", &sink, "--tls-ca", &file],
            ["--tls-ca", "--connect"],
        ),
        (
            vec![
                "recv",
                "--connect",
                "tls://127.0.0.1:9",
                &sink,
                "--tls-client-ca",
                &file,
            ],
            ["--tls-client-ca", "without --connect"],
        ),
    ] {
        run(&args).fails(2, &words);
    }
    let pinned = format!("tls://127.0.0.1:0#sha256-{}", "0".repeat(64));
    run(&["recv", &pinned, &sink]).fails(2, &["fingerprint", "whom to connect to"]);
    run(&["serve", dir.root(), "--listen=tls://127.0.0.1:0"]).fails(2, &["tls://", "relay"]);
    let metrics = [
        "relay",
        "--listen=127.0.0.1:0",
        "--to=127.0.0.1:9",
        "--metrics=tls://:0",
    ];
    run(&metrics).fails(2, &["--metrics", "plain HTTP"]);
}

#[test]
fn a_route_that_cannot_serve_tls_says_why() {
    let dir = Dir::in_memory();
    let Some(certs) = Certs::new(&dir) else {
        return;
    };
    let source = dir.file("in", &bytes(84, MIB));
    let (peer, port) = certs.receiver("server", "close");
    let to = format!("tls://localhost:{port}");
    let ca = certs.ca();
    let args = [
        "send",
        &source,
        &to,
        "--tls-ca",
        &ca,
        "--no-ktls",
        "--route=sendfile",
    ];
    run(&args).fails(
        2,
        &[
            "sendfile cannot serve",
            "this process encrypts",
            "seal, read-write",
        ],
    );
    drop(peer);
}
