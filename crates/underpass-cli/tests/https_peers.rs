//! HTTPS and peers that do not do what clients do: each gets the right answer, none hangs the
//! server, and every failure is counted by its reason.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use serde_json::Value;

use crate::support::{
    Authority, Dir, MIB, Metrics, REFUSING_TCP_ULP, Secured, Server, bytes, curl, needs,
    underpass_by,
};

/// The beginning of a record that a ClientHello of 512 bytes would be in.
const HALF_A_RECORD: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

fn a_directory() -> Dir {
    let dir = Dir::in_memory();
    dir.file("a", b"content");
    dir
}

/// The server serves on.
fn still_serves(it: &Secured) {
    assert_eq!(it.curl(&[&it.url("a")]).text(), "content");
}

fn rest_of(mut stream: TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    // A reset ends it, too.
    let _ = stream.read_to_end(&mut rest);
    rest
}

#[test]
fn plain_http_is_told_to_use_https() {
    if !needs::tool("curl") {
        return;
    }
    let dir = a_directory();
    let mut it = Secured::start(&dir, &[]);
    let reply = curl(&[&format!("http://{}/a", it.address())]);
    assert_eq!(reply.status, 400);
    assert!(reply.text().contains("https://"), "{}", reply.text());
    let uploaded = dir.file("upload", &bytes(1610, MIB / 32));
    let plain = format!("http://{}/b", it.address());
    assert_eq!(curl(&["--upload-file", &uploaded, &plain]).status, 400);
    it.await_failed("plain-http", 2);
    still_serves(&it);
    it.server.stop().ok();
}

#[test]
fn garbage_and_early_ends() {
    if !needs::tool("curl") {
        return;
    }
    let dir = a_directory();
    let mut it = Secured::start(&dir, &[]);
    let mut garbage = it.connect();
    garbage.write_all(b"\0garbage\xff\xff\xff\xff").unwrap();
    assert!(!rest_of(garbage).starts_with(b"HTTP"));
    it.await_failed("not-tls", 1);
    for (count, sent) in [&b""[..], b"\x16", HALF_A_RECORD].into_iter().enumerate() {
        let mut early = it.connect();
        early.write_all(sent).unwrap();
        early.shutdown(Shutdown::Write).unwrap();
        rest_of(early);
        it.await_failed("closed", count as u64 + 1);
    }
    // A whole record of type handshake that is no ClientHello.
    let mut nonsense = it.connect();
    nonsense
        .write_all(b"\x16\x03\x01\x00\x04\x02\x00\x00\x00")
        .unwrap();
    let alert = rest_of(nonsense);
    assert_eq!(alert.first(), Some(&21), "an alert: {alert:?}");
    it.await_failed("protocol", 1);
    still_serves(&it);
    it.server.stop().ok();
}

/// A reset would take the alert away from a client that is still sending.
#[test]
fn an_alert_is_followed_by_an_end_and_no_reset() {
    let dir = a_directory();
    let mut it = Secured::start(&dir, &[]);
    let mut nonsense = b"\x16\x03\x01\x00\x04\x02\x00\x00\x00".to_vec();
    nonsense.resize(50_000, 0);
    let mut client = it.connect();
    client.write_all(&nonsense).unwrap();
    let mut alert = Vec::new();
    client.read_to_end(&mut alert).expect("an end, no reset");
    assert_eq!(alert.first(), Some(&21), "an alert: {alert:?}");
    // It is counted before the client has gone.
    it.await_failed("protocol", 1);
    drop(client);
    it.server.stop().ok();
}

/// A ClientHello of TLS 1.3 whose key share is a valid point that nobody has the key of.
fn client_hello() -> Vec<u8> {
    let mut point = [0; 32];
    point[0] = 9;
    let extensions = [
        // supported_versions: 1.3; supported_groups: x25519; signature_algorithms: ECDSA, P-256
        &b"\0\x2b\0\x03\x02\x03\x04\0\x0a\0\x04\0\x02\0\x1d\0\x0d\0\x04\0\x02\x04\x03"[..],
        b"\0\x33\0\x26\0\x24\0\x1d\0\x20",
        &point,
    ];
    let extensions = extensions.concat();
    // The version, a random number, no session, TLS_AES_128_GCM_SHA256, no compression.
    let mut body = [&b"\x03\x03"[..], &[7; 32], b"\0\0\x02\x13\x01\x01\0"].concat();
    body.extend((extensions.len() as u16).to_be_bytes());
    body.extend(extensions);
    let length = body.len() as u16;
    let record = [&b"\x16\x03\x01"[..], &(length + 4).to_be_bytes(), b"\x01\0"];
    [&record.concat()[..], &length.to_be_bytes(), &body].concat()
}

/// What cannot be decrypted is one error with one alert.
#[test]
fn a_record_that_cannot_be_decrypted_ends_the_handshake() {
    if !needs::tool("curl") {
        return;
    }
    let dir = a_directory();
    let mut it = Secured::start(&dir, &[]);
    let mut wrong = it.connect();
    let record = [&b"\x17\x03\x03\0\x20"[..], &[0xaa; 32]].concat();
    wrong.write_all(&client_hello()).unwrap();
    wrong.write_all(&record).unwrap();
    let answer = rest_of(wrong);
    assert_eq!(answer.first(), Some(&22), "ServerHello: {answer:?}");
    it.await_failed("protocol", 1);
    let panicked = "underpass_http_connections_panicked_total";
    assert_eq!(it.metrics.sample(panicked), 0);
    still_serves(&it);
    assert_eq!(it.server.stop().ok().stderr, "");
}

#[test]
fn a_record_in_pieces_is_read() {
    if !needs::tool("openssl") {
        return;
    }
    let dir = a_directory();
    let it = Secured::start(&dir, &[]);
    // Each record has at most 512 bytes, and each write 1 to 3 of them.
    let request = b"GET /a HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n";
    let said = it.openssl(
        &[
            "-ign_eof",
            "-max_send_frag",
            "512",
            "-split_send_frag",
            "512",
        ],
        request,
    );
    assert!(said.contains("content"), "{said}");
    it.server.stop().ok();
}

#[test]
fn a_slow_handshake_ends() {
    if !needs::tool("curl") {
        return;
    }
    let dir = a_directory();
    let mut it = Secured::start(&dir, &["--head-timeout=500ms", "--verbose"]);
    let mut slow = it.connect();
    slow.write_all(HALF_A_RECORD).unwrap();
    rest_of(slow);
    it.await_failed("timed-out", 1);
    let line = it.server.running.line();
    assert!(
        line.contains("127.0.0.1:") && line.contains("it took too long"),
        "{line}"
    );
    still_serves(&it);
    it.server.stop().ok();
}

const FLOOD: u64 = 50;

/// Half-open handshakes have few places, and the oldest makes room: they keep no client out, and
/// take no more than their share.
#[test]
fn a_flood_of_half_open_handshakes_keeps_nobody_out() {
    if !needs::tool("curl") {
        return;
    }
    let dir = a_directory();
    // Half of these are for handshakes.
    let mut it = Secured::start(&dir, &["--max-connections=8", "--head-timeout=1h"]);
    let half_open: Vec<_> = (0..FLOOD)
        .map(|_| {
            let mut stream = it.connect();
            stream.write_all(HALF_A_RECORD).unwrap();
            stream
        })
        .collect();
    it.await_failed("displaced", FLOOD - 4);
    still_serves(&it);
    it.await_failed("displaced", FLOOD - 3);
    drop(half_open);
    it.server.stop().ok();
}

#[test]
fn names_choose_certificates() {
    if !needs::tool("openssl") {
        return;
    }
    let dir = a_directory();
    let authority = Authority::new("authority");
    let one = authority.pair("one", &["one.test", "www.one.test"]);
    let any = authority.pair("any", &["*.any.test"]);
    let more = [one.options(), any.options()].concat();
    let it = Secured::of(authority, &dir, &more);
    for (name, subject) in [
        ("one.test", "one"),
        ("WWW.ONE.TEST", "one"),
        ("some.any.test", "any"),
        ("localhost", "site"),
        // A wrong name: the first certificate, for the client to judge.
        ("nobody.test", "site"),
        ("a.b.any.test", "site"),
    ] {
        assert_eq!(it.subject(name), subject, "{name}");
    }
    let refused = it.openssl(
        &["-verify_hostname", "nobody.test", "-verify_return_error"],
        b"",
    );
    assert!(refused.contains("hostname mismatch"), "{refused}");
    it.server.stop().ok();
}

#[test]
fn clients_show_certificates() {
    if !needs::tool("curl") {
        return;
    }
    let dir = a_directory();
    let (authority, stranger) = (Authority::new("authority"), Authority::new("stranger"));
    let [known, unknown] = [&authority, &stranger].map(|it| it.pair("client", &["client"]));
    let ca = authority.file.clone();
    let options = ["--tls-client-ca", &ca, "--access-log=json"];
    let mut it = Secured::of(authority, &dir, &options);
    assert!(it.server.line.contains("with client certificates"));
    let shown = [
        "--cert",
        &known.certificate,
        "--key",
        &known.key,
        &it.url("a"),
    ];
    assert_eq!(it.curl(&shown).text(), "content");
    let shown = ["-cert", &unknown.certificate, "-key", &unknown.key];
    if needs::tool("openssl") {
        let said = it.openssl(&[], b"");
        assert!(
            said.contains("certificate required") || !said.contains("200 OK"),
            "{said}"
        );
        it.await_failed("certificate-missing", 1);
        it.openssl(&shown, b"");
        it.await_failed("certificate-rejected", 1);
    }
    let outcome = it.server.stop().ok();
    let logged: Value = serde_json::from_str(outcome.text().trim_end()).unwrap();
    let client = logged["tls"]["client"].as_str().unwrap();
    assert!(
        client.starts_with("sha256-") && client.len() == 71,
        "{client}"
    );
}

#[test]
fn other_protocols_are_refused() {
    if !needs::tool("openssl") {
        return;
    }
    let dir = a_directory();
    let mut it = Secured::start(&dir, &["--no-http2"]);
    let said = it.openssl(&["-alpn", "h2"], b"");
    assert!(said.contains("no application protocol"), "{said}");
    it.await_failed("incompatible", 1);
    let said = it.openssl(&["-alpn", "h2,http/1.1"], b"");
    assert!(said.contains("ALPN protocol: http/1.1"), "{said}");
    // An old version, by a client that would speak it.
    let said = it.openssl(&["-tls1_1", "-cipher", "ALL@SECLEVEL=0"], b"");
    assert!(said.contains("alert handshake failure"), "{said}");
    it.await_failed("incompatible", 2);
    it.server.stop().ok();
}

/// A policy that keeps the server from the kernel's TLS: it encrypts itself, and counts why.
#[test]
fn a_policy_against_tcp_ulp_keeps_no_server_from_tls() {
    if !needs::tool("curl") || !needs::tool("python3") {
        return;
    }
    let dir = a_directory();
    let authority = Authority::new("authority");
    let pair = authority.pair("site", &["127.0.0.1"]);
    let args = [
        "serve",
        dir.root(),
        "--listen=127.0.0.1:0",
        "--metrics=127.0.0.1:0",
    ];
    let args = [&args[..], &pair.options()].concat();
    let command = underpass_by("python3", &["-c", REFUSING_TCP_ULP], &args);
    let mut server = Server::of(command);
    let mut metrics = Metrics::of(&server.running.line());
    let url = format!("{}a", server.url);
    assert_eq!(curl(&["--cacert", &authority.file, &url]).text(), "content");
    let count = |reason: &str| format!("underpass_tls_user_space_total{{reason=\"{reason}\"}}");
    assert_eq!(metrics.sample(&count("no-kernel-tls")), 1);
    assert_eq!(metrics.sample(&count("configured")), 0);
    server.stop().ok();
}
