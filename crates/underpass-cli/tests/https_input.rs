//! `serve` and HTTPS: invalid input is reported in one line that says what to do.

use std::os::unix::fs::PermissionsExt;

use crate::support::{Authority, Dir, Outcome, Pair, Secured, Server, run, unprivileged};

fn serve(dir: &Dir, options: &[&str]) -> Outcome {
    run(&[&["serve", dir.root(), "--listen", "127.0.0.1:0"], options].concat())
}

fn serve_with(dir: &Dir, certificate: &str, key: &str) -> Outcome {
    serve(dir, &["--tls-cert", certificate, "--tls-key", key])
}

#[test]
fn files_that_are_no_certificate_or_no_key() {
    let (dir, authority) = (Dir::in_memory(), Authority::new("authority"));
    let site = authority.pair("site", &["localhost"]);
    let other = authority.pair("other", &["localhost"]);
    let text = |path: &str| std::fs::read_to_string(path).unwrap();
    let (certificate, key) = (site.certificate.as_str(), site.key.as_str());
    let empty = dir.file("empty", b"");
    let words = dir.file("words", b"no PEM at all\n");
    let broken = dir.file("broken", &text(certificate).as_bytes()[..100]);
    let der = dir.file("der", b"\x30\x82\x01\x02more");
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIGj\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let encrypted = dir.file("encrypted", encrypted.as_bytes());
    // As openssl ec -aes256 writes it.
    let older = "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nMIGj\n\
                 -----END EC PRIVATE KEY-----\n";
    let older = dir.file("older", older.as_bytes());
    let both_keys = dir.file("keys", (text(key) + &text(&other.key)).as_bytes());
    let named = dir.file("named", text(certificate).as_bytes());
    let longer = dir.file("named.key", text(&encrypted).as_bytes());
    let (missing, folder) = (dir.path("missing"), dir.root());
    let endless = "/dev/zero";
    for (certificate, key, wrong, word) in [
        (&*missing, key, &*missing, "No such file"),
        (certificate, &missing, &missing, "No such file"),
        (folder, key, folder, "Is a directory"),
        (certificate, folder, folder, "Is a directory"),
        (&empty, key, &empty, "is empty"),
        (certificate, &empty, &empty, "is empty"),
        (&words, key, &words, "neither a certificate nor a key"),
        (
            certificate,
            &words,
            &words,
            "neither a certificate nor a key",
        ),
        (&broken, key, &broken, "is not PEM"),
        (&der, key, &der, "is DER"),
        (endless, key, endless, "too large"),
        (certificate, &encrypted, &encrypted, "is encrypted"),
        (certificate, &older, &older, "is encrypted"),
        (key, certificate, key, "swapped"),
        (certificate, certificate, certificate, "swapped"),
        (certificate, &other.key, &other.key, "does not belong"),
        (certificate, &both_keys, &both_keys, "has 2 keys"),
        // One name is the beginning of the other.
        (&named, &longer, &longer, "is encrypted"),
    ] {
        let option = if wrong == certificate && certificate != key {
            "--tls-cert: "
        } else {
            "--tls-key: "
        };
        serve_with(&dir, certificate, key).fails(1, &[option, wrong, word]);
    }
    for (file, word) in [
        (&*missing, "No such file"),
        (&empty, "is empty"),
        (&words, "no CERTIFICATE"),
        (key, "no CERTIFICATE"),
        (&der, "is DER"),
        (&broken, "is not PEM"),
    ] {
        let options = [&site.options()[..], &["--tls-client-ca", file]].concat();
        serve(&dir, &options).fails(1, &["--tls-client-ca: ", file, word]);
    }
}

/// Files without an end are not read to it.
#[test]
fn authorities_and_passwords_without_end() {
    let (dir, authority) = (Dir::in_memory(), Authority::new("authority"));
    let site = authority.pair("site", &["localhost"]);
    for option in ["--tls-client-ca", "--auth-file"] {
        let options = [&site.options()[..], &[option, "/dev/zero"]].concat();
        serve(&dir, &options).fails(1, &["/dev/zero", "more than 16777216 bytes"]);
    }
}

/// A certificate and its key may be in one file.
#[test]
fn both_in_one_file_are_right() {
    let (dir, authority) = (Dir::in_memory(), Authority::new("authority"));
    let site = authority.pair("site", &["localhost"]);
    let read = |path: &str| std::fs::read_to_string(path).unwrap();
    let both = read(&site.certificate) + &read(&site.key);
    let both = dir.file("both", both.as_bytes());
    let server = Server::start(&dir, &["--tls-cert", &both, "--tls-key", &both]);
    server.stop().ok();
}

#[test]
fn a_key_that_may_not_be_read() {
    let (dir, authority) = (Dir::new(), Authority::new("authority"));
    let site = authority.pair("site", &["localhost"]);
    let key = dir.file("key", b"secret");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let certificate = dir.file("cert", &std::fs::read(site.certificate).unwrap());
    for path in [dir.root(), &certificate] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let args = ["serve", "/", "--listen", "127.0.0.1:0"];
    let files = ["--tls-cert", &certificate, "--tls-key", &key];
    if let Some(command) = unprivileged(&[&args[..], &files].concat())
        && rustix::process::geteuid().is_root()
    {
        let outcome = crate::support::Running::start(command).finish();
        outcome.fails(
            1,
            &["--tls-key: ", &key, "Permission denied", "LoadCredential"],
        );
    }
}

#[test]
fn certificates_that_clients_refuse_are_named() {
    let (dir, authority) = (Dir::in_memory(), Authority::new("authority"));
    let old = authority.expired_pair("old", &["localhost"]);
    let args = ["serve", dir.root(), "--listen", "127.0.0.1:0"];
    let command = crate::support::underpass(&[&args[..], &old.options()].concat());
    let (complaint, server) = Server::complaining(command);
    for word in [
        "--tls-cert: ",
        &*old.certificate,
        "expired at 2020-01-02",
        "refuse",
    ] {
        assert!(complaint.contains(word), "{complaint}");
    }
    server.stop().ok();
}

#[test]
fn options_that_contradict_each_other() {
    let (dir, authority) = (Dir::in_memory(), Authority::new("authority"));
    let Pair { certificate, key } = &authority.pair("site", &["localhost"]);
    let cert = ["--tls-cert", certificate];
    serve(&dir, &cert).fails(2, &["--tls-cert", "--tls-key"]);
    serve(&dir, &["--tls-key", key]).fails(2, &["--tls-key", "--tls-cert"]);
    let two_and_one = [&cert[..], &cert, &["--tls-key", key]].concat();
    serve(&dir, &two_and_one).fails(2, &["2 --tls-cert and 1 --tls-key"]);
    for option in [
        "--no-ktls",
        "--hsts",
        "--tls-min-version=1.3",
        "--redirect-http=:0",
        "--tls-client-ca=ca.pem",
    ] {
        let name = option.split('=').next().unwrap();
        serve(&dir, &[option]).fails(2, &[name, "--tls-cert", "--tls-self-signed"]);
    }
    let unix = format!("unix:{}", dir.path("socket"));
    let on_unix = [&cert[..], &["--tls-key", key, "--listen", &unix]].concat();
    serve(&dir, &on_unix).fails(2, &["HTTPS", "Unix sockets"]);
    assert!(!dir.names().contains(&"socket".to_owned()));
    let to_unix = ["--tls-self-signed", "--redirect-http", &unix];
    serve(&dir, &to_unix).fails(2, &["--redirect-http", "HOST:PORT"]);
    for (options, word) in [
        (
            &["--tls-self-signed", "--tls-cert", certificate][..],
            "cannot be used with",
        ),
        (&["--tls-self-signed", "--tls-min-version", "1.1"], "1.2"),
        (&["--tls-self-signed", "--hsts=year"], "year"),
    ] {
        let outcome = serve(&dir, options);
        assert_eq!(outcome.code, 2, "{options:?}");
        assert!(
            outcome.stderr.contains(word),
            "{options:?}: {}",
            outcome.stderr
        );
    }
}

#[test]
fn an_address_cannot_be_both() {
    let dir = Dir::in_memory();
    let it = Secured::start(&dir, &[]);
    let taken = it.address();
    let args = ["--tls-self-signed", "--redirect-http", taken];
    serve(&dir, &args).fails(1, &["--redirect-http", taken, "in use"]);
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let free = unused.local_addr().unwrap().to_string();
    drop(unused);
    let args = [
        "serve",
        "--tls-self-signed",
        "--listen",
        &free,
        "--redirect-http",
        &free,
    ];
    run(&args).fails(2, &["--redirect-http", &free, "in use by --listen"]);
    it.server.stop().ok();
}
