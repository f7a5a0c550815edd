//! `send` and `recv` over TLS, with each other and with peers that share no code with them.

use serde_json::Value;

use crate::support::{
    Certs, Dir, MIB, Outcome, REFUSING_TCP_ULP, Running, assert_bytes, bytes, needs, run,
    underpass, underpass_by,
};

const LENGTH: usize = 5 * MIB + 4321;

/// `underpass recv` that listens, and the address that it has announced.
fn receiving(args: &[&str]) -> (Running, String) {
    let mut recv = Running::start(underpass(&[&["recv"], args].concat()));
    let line = recv.line();
    let (_, address) = line.split_once("listening on ").expect(&line);
    (recv, address.trim().to_owned())
}

fn port_of(address: &str) -> &str {
    let place = address.split('#').next().unwrap();
    place.rsplit(':').next().unwrap()
}

fn receipt(outcome: &Outcome) -> Value {
    serde_json::from_str(outcome.text()).unwrap()
}

/// Who encrypts on this kernel is in the receipt; each way has its route.
fn assert_tls(receipt: &Value, end: &str, in_kernel: &str, in_process: &str) {
    let tls = &receipt[end]["tls"];
    assert_eq!(tls["version"], "TLS 1.3", "{receipt}");
    let route = match tls["mode"].as_str().unwrap() {
        "kernel" => in_kernel,
        "user" => {
            assert!(!tls["reason"].as_str().unwrap().is_empty());
            in_process
        }
        other => panic!("{other}"),
    };
    assert_eq!(receipt["route"], route, "{receipt}");
    assert_eq!(receipt["fallbacks"], serde_json::json!([]), "{receipt}");
    assert_eq!(
        receipt["crypto"]["cpu_bytes"], receipt["bytes"],
        "{receipt}"
    );
}

#[test]
fn a_file_arrives_by_the_address_that_recv_prints() {
    let dir = Dir::in_memory();
    let content = bytes(71, LENGTH);
    let (source, sink) = (dir.file("in", &content), dir.path("out"));
    let json = "--receipt=json";
    let (recv, address) = receiving(&["tls://127.0.0.1:0", &sink, json]);
    assert!(address.contains("#sha256-"), "{address}");
    let sent = run(&["send", &source, &address, json]).ok();
    let received = recv.finish().ok();
    assert_bytes(&std::fs::read(&sink).unwrap(), &content);
    let (sent, received) = (receipt(&sent), receipt(&received));
    assert_tls(&sent, "sink", "sendfile", "seal");
    assert_tls(&received, "source", "splice", "read-write");
    assert_eq!(sent["crypto"]["passes"][0]["work"], "encrypt");
    assert_eq!(received["crypto"]["passes"][0]["work"], "decrypt");
    // The fingerprint says whom to believe, not where it is.
    assert_eq!(sent["sink"]["name"], address.split('#').next().unwrap());
    // Pitfall 45: encryption has changed no page of the file.
    assert_bytes(&std::fs::read(&source).unwrap(), &content);
}

/// Without the kernel, whatever it can.
#[test]
fn no_ktls_encrypts_in_this_process() {
    let dir = Dir::in_memory();
    let content = bytes(72, LENGTH);
    let (source, sink) = (dir.file("in", &content), dir.path("out"));
    let json = "--receipt=json";
    let (recv, address) = receiving(&["tls://127.0.0.1:0", &sink, "--no-ktls", json]);
    let sent = run(&["send", &source, &address, "--no-ktls", json]).ok();
    let (sent, received) = (receipt(&sent), receipt(&recv.finish().ok()));
    for (receipt, end, route, copies) in [
        (&sent, "sink", "seal", 1),
        (&received, "source", "read-write", 2),
    ] {
        assert_eq!(receipt[end]["tls"]["mode"], "user", "{receipt}");
        assert_eq!(receipt["route"], route, "{receipt}");
        let pass = &receipt["crypto"]["passes"][0];
        assert_eq!(
            (&pass["place"], &pass["evidence"]),
            (&"user".into(), &"measured".into())
        );
        assert_eq!(
            receipt["copies"]["cpu_bytes"],
            (copies * LENGTH) as u64,
            "{receipt}"
        );
    }
    assert_bytes(&std::fs::read(&sink).unwrap(), &content);
}

#[test]
fn streams_and_ranges_go_through_tls() {
    let dir = Dir::in_memory();
    let content = bytes(73, LENGTH);
    let source = dir.file("in", &content);
    // Standard input is a file here, and `--stable` promises its content.
    for (options, want) in [
        (&["--range=1MiB..3MiB"][..], &content[MIB..3 * MIB]),
        (&["--route=read-write"], &content[..]),
        (&["--stable"], &content[..]),
    ] {
        let sink = dir.path("out");
        let (recv, address) = receiving(&["tls://127.0.0.1:0", &sink, "--force"]);
        run(&[&["send", &source, &address], options].concat()).ok();
        recv.finish().ok();
        assert_bytes(&std::fs::read(&sink).unwrap(), want);
    }
    let sink = dir.path("piped");
    let (recv, address) = receiving(&["tls://127.0.0.1:0", &sink]);
    let mut cat = std::process::Command::new("cat");
    let mut cat = cat
        .arg(&source)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut piped = underpass(&["send", "-", &address]);
    piped.stdin(cat.stdout.take().unwrap());
    Running::start(piped).finish().ok();
    recv.finish().ok();
    cat.wait().unwrap();
    assert_bytes(&std::fs::read(&sink).unwrap(), &content);
}

#[test]
fn other_programs_send_and_receive() {
    let dir = Dir::in_memory();
    let Some(certs) = Certs::new(&dir) else {
        return;
    };
    let content = bytes(74, LENGTH);
    let (source, sink) = (dir.file("in", &content), dir.path("out"));
    for how in ["close", "1.2"] {
        let server = certs.server("server");
        let server: Vec<_> = server.iter().map(String::as_str).collect();
        let args = [&["tls://127.0.0.1:0", &sink, "--force"], &server[..]].concat();
        let (recv, address) = receiving(&args);
        assert!(
            !address.contains('#'),
            "it has a certificate of its own: {address}"
        );
        certs.sender(port_of(&address), &source, how).finish().ok();
        recv.finish().ok();
        assert_bytes(&std::fs::read(&sink).unwrap(), &content);

        let (peer, port) = certs.receiver("server", how);
        let to = format!("tls://localhost:{port}");
        run(&["send", &source, &to, "--tls-ca", &certs.ca()]).ok();
        peer.finish().ok();
        assert_bytes(&certs.received(), &content);
    }
}

/// As people try them out.
#[test]
fn openssl_sends_and_receives() {
    let dir = Dir::in_memory();
    if !needs::tool("openssl") {
        return;
    }
    let content = bytes(75, 200_000);
    let (source, sink) = (dir.file("in", &content), dir.path("out"));
    let (recv, address) = receiving(&["tls://127.0.0.1:0", &sink]);
    let mut client = crate::support::collected("openssl");
    let to = format!("127.0.0.1:{}", port_of(&address));
    client.args(["s_client", "-quiet", "-no_ign_eof", "-connect", &to]);
    client.stdin(std::fs::File::open(&source).unwrap());
    Running::start(client).finish().ok();
    recv.finish().ok();
    assert_bytes(&std::fs::read(&sink).unwrap(), &content);
}

/// Pitfall 2 for streams: a part is never a whole.
#[test]
fn a_stream_that_is_cut_is_never_complete() {
    let dir = Dir::in_memory();
    let Some(certs) = Certs::new(&dir) else {
        return;
    };
    let (source, sink) = (dir.file("in", &bytes(76, MIB)), dir.path("out"));
    let server = certs.server("server");
    let server: Vec<_> = server.iter().map(String::as_str).collect();
    for no_ktls in [&[][..], &["--no-ktls"]] {
        let args = [
            &["tls://127.0.0.1:0", &sink, "--receipt=json"],
            &server[..],
            no_ktls,
        ]
        .concat();
        let (recv, address) = receiving(&args);
        certs.sender(port_of(&address), &source, "cut").finish();
        let outcome = recv.finish();
        let told: Value = serde_json::from_str(outcome.text()).unwrap();
        assert_eq!(told["complete"], false);
        assert_eq!(told["bytes"], MIB as u64, "they are counted all the same");
        outcome.fails(3, &["cut", "close_notify", "1,048,576 bytes"]);
        assert!(!std::fs::exists(&sink).unwrap(), "no part appears");
    }
}

#[test]
fn a_sender_that_is_killed_is_told() {
    let dir = Dir::in_memory();
    let sink = dir.path("out");
    let (recv, address) = receiving(&["tls://127.0.0.1:0", &sink]);
    let mut sender = underpass(&["send", "-", &address]);
    sender.stdin(std::process::Stdio::piped());
    let mut sender = Running::start(sender);
    let mut input = sender.stdin();
    std::io::Write::write_all(&mut input, &bytes(77, MIB)).unwrap();
    sender.await_sleep();
    drop(sender);
    recv.finish().fails(3, &["reset", "bytes"]);
    assert!(!std::fs::exists(&sink).unwrap());
}

/// Its own end says that it has kept everything.
#[test]
fn a_receiver_that_fails_is_told() {
    let dir = Dir::in_memory();
    let source = dir.file("in", &bytes(78, 8 * MIB));
    let (recv, address) = receiving(&["tls://127.0.0.1:0", "/dev/full"]);
    run(&["send", &source, &address]).fails(3, &["tls://127.0.0.1", "acknowledged at most"]);
    recv.finish().fails(1, &["No space left"]);
}

#[test]
fn clients_have_certificates_where_they_are_asked_for() {
    let dir = Dir::in_memory();
    let Some(certs) = Certs::new(&dir) else {
        return;
    };
    certs.authority("other");
    certs.signed("client", "ca", "DNS:client", 30);
    certs.signed("stranger", "other", "DNS:stranger", 30);
    let content = bytes(79, 100_000);
    let (source, sink) = (dir.file("in", &content), dir.path("out"));
    let server = certs.server("server");
    let server: Vec<_> = server.iter().map(String::as_str).collect();
    let (ca, client_ca) = (certs.ca(), certs.ca());
    let args = [
        &["tls://localhost:0", &sink, "--tls-client-ca", &client_ca],
        &server[..],
    ]
    .concat();
    let (mut recv, address) = receiving(&args);
    let to = format!("tls://localhost:{}", port_of(&address));
    let send = |name: Option<&str>| {
        let paths = name.map(|name| {
            [
                certs.path(&format!("{name}.pem")),
                certs.path(&format!("{name}.key")),
            ]
        });
        let mut args = vec!["send", &source, &to, "--tls-ca", &ca];
        if let Some([cert, key]) = &paths {
            args.extend(["--tls-client-cert", cert, "--tls-client-key", key]);
        }
        run(&args)
    };
    // The server's alert comes after the client has finished its handshake (TLS 1.3).
    let without = send(None);
    assert!(without.code == 1 || without.code == 3, "{without:?}");
    assert!(
        without.stderr.contains("certificate_required"),
        "{without:?}"
    );
    assert!(recv.line().contains("still listening"));
    let stranger = send(Some("stranger"));
    assert!(stranger.code == 1 || stranger.code == 3, "{stranger:?}");
    assert!(recv.line().contains("still listening"));
    send(Some("client")).ok();
    recv.finish().ok();
    assert_bytes(&std::fs::read(&sink).unwrap(), &content);
}

/// Scanners shake hands, and leave.
#[test]
fn connections_without_a_byte_are_not_the_file() {
    let dir = Dir::in_memory();
    let Some(certs) = Certs::new(&dir) else {
        return;
    };
    let (nothing, source) = (dir.file("nothing", b""), dir.file("in", b"content"));
    let old = dir.file("out", b"what was there before");
    let server = certs.server("server");
    let server: Vec<_> = server.iter().map(String::as_str).collect();
    let args = [&["tls://127.0.0.1:0", &old, "--in-place"], &server[..]].concat();
    let (mut recv, address) = receiving(&args);
    for how in ["close", "cut"] {
        certs.sender(port_of(&address), &nothing, how).finish();
        let line = recv.line();
        assert!(line.contains("still listening"), "{how}: {line}");
        assert_eq!(std::fs::read(&old).unwrap(), b"what was there before");
    }
    certs
        .sender(port_of(&address), &source, "close")
        .finish()
        .ok();
    recv.finish().ok();
    assert_eq!(std::fs::read(&old).unwrap(), b"content");
    let sink = dir.path("empty");
    let args = [&["tls://127.0.0.1:0", &sink, "--allow-empty"], &server[..]].concat();
    let (recv, address) = receiving(&args);
    certs
        .sender(port_of(&address), &nothing, "close")
        .finish()
        .ok();
    recv.finish().ok();
    assert_eq!(std::fs::read(&sink).unwrap(), b"");
}

#[test]
fn more_or_less_than_was_expected_is_told() {
    let dir = Dir::in_memory();
    let source = dir.file("in", &bytes(80, MIB));
    let sink = dir.path("out");
    for (expect, code, word) in [
        ("1MiB", 0, ""),
        ("1000", 3, "more came"),
        ("2MiB", 3, "after 1,048,576 of 2,097,152 bytes"),
    ] {
        let (recv, address) =
            receiving(&["tls://127.0.0.1:0", &sink, "--expect", expect, "--force"]);
        let sent = run(&["send", &source, &address]);
        let received = recv.finish();
        assert_eq!(received.code, code, "{expect}: {received:?}");
        assert!(received.stderr.contains(word), "{expect}: {received:?}");
        assert_eq!(sent.code == 0, code == 0, "{expect}: {sent:?}");
    }
}

#[test]
fn explain_says_who_would_encrypt() {
    let dir = Dir::in_memory();
    let source = dir.file("in", &bytes(81, MIB));
    let to = "tls://127.0.0.1:9";
    let explained = run(&["explain", &source, to, "--no-ktls"])
        .ok()
        .text()
        .to_owned();
    for words in [
        "tls://127.0.0.1:9: tcp socket, tls: user space (as configured), TLS 1.3",
        "1. seal",
        "2. read-write",
        "each byte encrypted in user space, expected",
        "sendfile        this process encrypts",
    ] {
        assert!(explained.contains(words), "no {words:?} in {explained}");
    }
    let json = run(&["explain", &source, to, "--json"]).ok();
    let json: Value = serde_json::from_str(json.text()).unwrap();
    let first = match json["sink"]["tls"]["mode"].as_str().unwrap() {
        "kernel" => "sendfile",
        _ => "seal",
    };
    assert_eq!(json["routes"][0]["route"], first, "{json}");
    assert_eq!(json["crypto_per_byte"]["cpu_bytes"], 1, "{json}");
}

/// A policy that keeps a process from the kernel's TLS: it encrypts itself, and says why.
#[test]
fn a_policy_against_tcp_ulp_is_told_and_nothing_is_plain() {
    if !needs::tool("python3") {
        return;
    }
    let dir = Dir::in_memory();
    let content = bytes(82, MIB);
    let (source, sink) = (dir.file("in", &content), dir.path("out"));
    let (recv, address) = receiving(&["tls://127.0.0.1:0", &sink, "--receipt", "json"]);
    let args = ["send", &source, &address, "--receipt", "json"];
    let sent = underpass_by("python3", &["-c", REFUSING_TCP_ULP], &args);
    let sent = receipt(&Running::start(sent).finish().ok());
    let tls = &sent["sink"]["tls"];
    assert_eq!(
        (&tls["mode"], &tls["reason"]),
        (&"user".into(), &"the kernel has no TLS: EPERM".into()),
        "{sent}"
    );
    assert_eq!(sent["route"], "seal");
    let received = receipt(&recv.finish().ok());
    assert_eq!(
        received["source"]["tls"]["version"], "TLS 1.3",
        "{received}"
    );
    assert!(std::fs::read(&sink).unwrap() == content);
}
