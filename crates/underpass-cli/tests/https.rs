//! `serve --tls-cert`: files over HTTPS, to the clients that people use.

use std::fs::File;
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{
    Authority, Dir, MIB, Running, Secured, Server, assert_same, bytes, curl, needs, run,
};

#[test]
fn files_are_sent_encrypted() {
    if !needs::tool("curl") {
        return;
    }
    let dir = Dir::in_memory();
    let content = bytes(1600, 3 * MIB + 1);
    dir.file("big", &content);
    let mut it = Secured::start(&dir, &[]);
    assert!(it.server.url.starts_with("https://127.0.0.1:"));
    assert!(
        it.server.line.contains("TLS 1.2 and 1.3"),
        "{}",
        it.server.line
    );
    let big = it.url("big");
    assert!(it.curl(&[&big]).body == content);
    // Straight from the file's mapping, with the head and, in HTTP/2, the heads of frames.
    assert!((content.len() as u64..content.len() as u64 + 4000).contains(&it.sent("encrypt")));
    assert_eq!((it.sent("sendfile"), it.sent("write")), (0, 0));
    let part = it.curl(&["--range", "1000000-1000999", &big]);
    assert_eq!(part.status, 206);
    assert!(part.body == content[1_000_000..1_001_000]);
    let head = it.curl(&["--head", &big]);
    assert_eq!(head.field("content-length"), Some("3145729"));
    assert_eq!(head.field("strict-transport-security"), None);
    it.server.stop().ok();
}

#[test]
fn versions_and_ciphers_are_counted() {
    if !needs::tool("curl") {
        return;
    }
    let dir = Dir::in_memory();
    dir.file("a", b"content");
    let mut it = Secured::start(&dir, &[]);
    let a = it.url("a");
    for (option, suite, version, cipher) in [
        (
            "--tls13-ciphers",
            "TLS_AES_128_GCM_SHA256",
            "1.3",
            "AES-128-GCM",
        ),
        (
            "--tls13-ciphers",
            "TLS_AES_256_GCM_SHA384",
            "1.3",
            "AES-256-GCM",
        ),
        (
            "--tls13-ciphers",
            "TLS_CHACHA20_POLY1305_SHA256",
            "1.3",
            "ChaCha20-Poly1305",
        ),
        (
            "--ciphers",
            "ECDHE-ECDSA-AES128-GCM-SHA256",
            "1.2",
            "AES-128-GCM",
        ),
        (
            "--ciphers",
            "ECDHE-ECDSA-AES256-GCM-SHA384",
            "1.2",
            "AES-256-GCM",
        ),
        (
            "--ciphers",
            "ECDHE-ECDSA-CHACHA20-POLY1305",
            "1.2",
            "ChaCha20-Poly1305",
        ),
    ] {
        let args = [option, suite, "--tlsv1.2", "--tls-max", version, &a];
        assert_eq!(it.curl(&args).text(), "content", "{suite}");
        assert_eq!(it.handshakes(version, cipher), 1, "{suite}");
    }
    it.server.stop().ok();
}

/// The SHA-256 of what `command` prints to its standard output.
fn hash_of(command: &str) -> String {
    let hashing = format!("set -o pipefail; {command} | sha256sum");
    let outcome = Command::new("bash")
        .args(["-c", &hashing])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&outcome.stderr);
    assert!(outcome.status.success(), "{command}: {said}");
    String::from_utf8(outcome.stdout).unwrap()
}

const GIB: u64 = 1 << 30;

#[test]
fn a_gibibyte_arrives_whole() {
    if !["curl", "bash", "sha256sum"].into_iter().all(needs::tool) {
        return;
    }
    let dir = Dir::in_memory();
    let path = dir.file("sparse", &bytes(1601, MIB));
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(GIB).unwrap();
    let before = hash_of(&format!("cat {path}"));
    let mut it = Secured::start(&dir, &[]);
    let (ca, url) = (&it.authority.file, it.url("sparse"));
    let get = format!("curl --silent --show-error --fail --cacert {ca} {url}");
    assert_eq!(hash_of(&get), before);
    assert!(it.sent("encrypt") >= GIB);
    assert_eq!(it.sent("sendfile"), 0);
    // Pitfall 45: nothing was encrypted in place.
    assert_eq!(hash_of(&format!("cat {path}")), before);
    it.server.stop().ok();
}

/// Where the kernel has TLS, the file leaves by sendfile(2); where it has not, it is encrypted
/// here. No byte leaves any other way.
#[test]
fn without_options_the_kernel_encrypts_if_it_can() {
    if !needs::tool("curl") {
        return;
    }
    let dir = Dir::in_memory();
    let content = bytes(1602, 2 * MIB);
    dir.file("big", &content);
    let authority = Authority::new("authority");
    let pair = authority.pair("site", &["127.0.0.1"]);
    let options = [&pair.options()[..], &["--metrics=127.0.0.1:0"]].concat();
    let mut server = Server::start(&dir, &options);
    let metrics = server.metrics();
    let url = format!("{}big", server.url);
    assert!(curl(&["--cacert", &authority.file, &url]).body == content);
    let page = curl(&[&format!("{metrics}metrics")]);
    let in_kernel = page.text().contains("mode=\"kernel\"");
    let route = if in_kernel { "sendfile" } else { "encrypt" };
    let name = format!("underpass_http_response_bytes_total{{route=\"{route}\"}} ");
    let mut lines = page.text().lines();
    let sent = lines.find_map(|line| line.strip_prefix(&name)).unwrap();
    assert!(
        sent.parse::<usize>().unwrap() >= content.len(),
        "{route}: {sent}"
    );
    server.stop().ok();
}

#[test]
fn uploads_arrive() {
    if !needs::tool("curl") {
        return;
    }
    let (dir, from) = (Dir::in_memory(), Dir::in_memory());
    let path = from.file("new", &bytes(1603, 9 * MIB + 7));
    let it = Secured::start(&dir, &["--insecure-upload"]);
    let reply = it.curl(&["--upload-file", &path, &it.server.url]);
    assert_eq!(reply.status, 201);
    assert_same(&path, &dir.path("new"));
    it.server.stop().ok();
}

#[test]
fn wget_gets_files() {
    if !needs::tool("wget") {
        return;
    }
    let dir = Dir::in_memory();
    let content = bytes(1604, MIB);
    dir.file("big", &content);
    let it = Secured::start(&dir, &[]);
    let mut wget = Command::new("wget");
    wget.arg(format!("--ca-certificate={}", it.authority.file))
        .args(["--quiet", "--output-document=-", &it.url("big")]);
    let outcome = wget.output().unwrap();
    assert!(outcome.status.success() && outcome.stdout == content);
    it.server.stop().ok();
}

#[test]
fn socat_gets_a_file() {
    if !needs::tool("socat") {
        return;
    }
    let dir = Dir::in_memory();
    dir.file("a", b"content");
    let it = Secured::start(&dir, &[]);
    let to = format!("OPENSSL:{},cafile={}", it.address(), it.authority.file);
    let mut socat = Command::new("socat");
    // -t is how long it waits for more input after the server has ended.
    socat.args(["-t0.5", "-T60", "-", &to]);
    socat.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut socat = socat.spawn().unwrap();
    let mut input = socat.stdin.take().unwrap();
    input
        .write_all(b"GET /a HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n")
        .unwrap();
    let outcome = socat.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&outcome.stdout);
    assert!(
        outcome.status.success() && said.ends_with("\r\n\r\ncontent"),
        "{said}"
    );
    drop(input);
    it.server.stop().ok();
}

/// nginx in front of it, which verifies the certificate and keeps connections.
#[test]
fn nginx_is_a_client() {
    if !needs::tool("nginx") || !needs::tool("curl") {
        return;
    }
    let dir = Dir::in_memory();
    let content = bytes(1605, 2 * MIB + 3);
    dir.file("big", &content);
    let mut it = Secured::start(&dir, &[]);
    let places = Dir::new();
    let socket = places.path("nginx");
    let config = format!(
        "daemon off; master_process off; pid {0}/pid; error_log stderr notice; events {{}}
         http {{ access_log off; client_body_temp_path {0}/b; proxy_temp_path {0}/p; fastcgi_temp_path {0}/f;
         uwsgi_temp_path {0}/u; scgi_temp_path {0}/s;
         upstream it {{ server {1}; keepalive 4; }}
         server {{ listen unix:{socket}; location / {{ proxy_pass https://it; proxy_http_version 1.1;
         proxy_set_header Connection \"\"; proxy_ssl_verify on; proxy_ssl_trusted_certificate {2};
         proxy_ssl_name localhost; proxy_ssl_server_name on; proxy_ssl_protocols TLSv1.3; }} }} }}",
        places.root(),
        it.address(),
        it.authority.file,
    );
    let mut command = Command::new("/usr/sbin/nginx");
    command
        .args(["-p", places.root(), "-c"])
        .arg(places.file("nginx.conf", config.as_bytes()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut nginx = Running::start(command);
    while !nginx.line().contains("start worker process") && !std::path::Path::new(&socket).exists()
    {
    }
    for _ in 0..3 {
        let reply = curl(&["--unix-socket", &socket, "http://it/big"]);
        assert!(reply.status == 200 && reply.body == content);
    }
    let connections = it.handshakes("1.3", "AES-256-GCM");
    assert_eq!(connections, 1, "for three requests");
    drop(nginx);
    it.server.stop().ok();
}

/// Several requests on a connection, then a session that is resumed, then a clean end: both sides
/// say it (`unwrap` fails otherwise).
const PYTHON: &str = "
import http.client, socket, ssl, sys
ca, port = sys.argv[1], int(sys.argv[2])
context = ssl.create_default_context(cafile=ca)
client = http.client.HTTPSConnection('localhost', port, context=context)
for _ in range(3):
    client.request('GET', '/a')
    assert client.getresponse().read() == b'content'
assert client.sock.version() == 'TLSv1.3', client.sock.version()
client.close()
context.maximum_version = ssl.TLSVersion.TLSv1_2
session = None
for resumed in [False, True]:
    plain = socket.create_connection(('localhost', port))
    tls = context.wrap_socket(plain, server_hostname='localhost', session=session)
    assert tls.session_reused == resumed, resumed
    tls.sendall(b'GET /a HTTP/1.1\\r\\nHost: it\\r\\nConnection: close\\r\\n\\r\\n')
    got = b''
    while more := tls.recv(1000):
        got += more
    assert got.endswith(b'content'), got
    session = tls.session
    tls.unwrap()
";

#[test]
fn python_resumes_and_ends_cleanly() {
    if !needs::tool("python3") {
        return;
    }
    let dir = Dir::in_memory();
    dir.file("a", b"content");
    let mut it = Secured::start(&dir, &[]);
    let (_, port) = it.address().rsplit_once(':').unwrap();
    let args = ["-c", PYTHON, &it.authority.file, port];
    let outcome = Command::new("python3").args(args).output().unwrap();
    let said = String::from_utf8_lossy(&outcome.stderr);
    assert!(outcome.status.success(), "{said}");
    assert_eq!(it.metrics.sample("underpass_tls_resumed_total"), 1);
    it.server.stop().ok();
}

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n";

#[test]
fn sessions_are_resumed() {
    if !needs::tool("openssl") {
        return;
    }
    let dir = Dir::in_memory();
    dir.file("a", b"content");
    let mut it = Secured::start(&dir, &["--access-log=json"]);
    for (count, version) in ["-tls1_3", "-tls1_2"].into_iter().enumerate() {
        let session = dir.path(version);
        let args = [version, "-servername", "localhost", "-ign_eof"];
        let first = it.openssl(&[&args[..], &["-sess_out", &session]].concat(), GET);
        assert!(
            first.contains("New, TLSv1") && first.contains("content"),
            "{first}"
        );
        let second = it.openssl(&[&args[..], &["-sess_in", &session]].concat(), GET);
        assert!(
            second.contains("Reused, TLSv1") && second.contains("content"),
            "{second}"
        );
        let resumed = it.metrics.sample("underpass_tls_resumed_total");
        assert_eq!(resumed, count as u64 + 1);
    }
    let outcome = it.server.stop().ok();
    let lines = outcome.text().lines();
    let logged: Vec<Value> = lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let resumed = logged.iter().map(|line| line["tls"]["resumed"].as_bool());
    assert!(
        resumed.eq([false, true, false, true].map(Some)),
        "{logged:?}"
    );
    let tls = &logged[0]["tls"];
    assert_eq!(tls["version"], "TLS 1.3");
    assert_eq!(tls["cipher"], "AES-256-GCM");
    assert_eq!(
        (&tls["mode"], &tls["server_name"]),
        (&"user".into(), &"localhost".into())
    );
    assert_eq!(tls["client"], Value::Null);
}

/// The combined format has no field for TLS, and stays what programs that read it expect.
#[test]
fn combined_lines_say_nothing_of_tls() {
    if !needs::tool("curl") {
        return;
    }
    let dir = Dir::in_memory();
    dir.file("a", b"content");
    let it = Secured::start(&dir, &["--access-log=combined"]);
    it.curl(&["--http1.1", "--user-agent", "me", &it.url("a")]);
    let outcome = it.server.stop().ok();
    let line = outcome.text().trim_end();
    assert!(
        line.ends_with("\"GET /a HTTP/1.1\" 200 7 \"-\" \"me\""),
        "{line}"
    );
}

#[test]
fn a_certificate_for_this_run() {
    if !needs::tool("curl") || !needs::tool("openssl") || !needs::tool("sh") {
        return;
    }
    let dir = Dir::in_memory();
    dir.file("a", b"content");
    let mut server = Server::start(&dir, &["--tls-self-signed"]);
    let note = server.running.line();
    let (_, fingerprint) = note.split_once("its key: sha256-").unwrap();
    let url = format!("{}a", server.url);
    let address = server
        .url
        .strip_prefix("https://")
        .unwrap()
        .trim_end_matches('/');
    // What a careful client computes.
    let script = format!(
        "openssl s_client -connect {address} </dev/null 2>/dev/null | openssl x509 -pubkey -noout | openssl pkey \
         -pubin -outform DER | openssl dgst -sha256 -r"
    );
    let computed = Command::new("sh").args(["-c", &script]).output().unwrap();
    let computed = String::from_utf8(computed.stdout).unwrap();
    assert_eq!(computed.split(' ').next(), Some(fingerprint));
    assert_eq!(curl(&["--insecure", &url]).text(), "content");
    server.stop().ok();
}

#[test]
fn plain_http_is_redirected() {
    if !needs::tool("curl") {
        return;
    }
    let dir = Dir::in_memory();
    dir.file("a", b"content");
    let options = ["--redirect-http=127.0.0.1:0", "--hsts", "--access-log=json"];
    let authority = Authority::new("authority");
    let pair = authority.pair("site", &["localhost", "127.0.0.1"]);
    let mut server = Server::start(&dir, &[&pair.options()[..], &options].concat());
    let line = server.running.line();
    let plain = line.strip_prefix("underpass: redirecting ").unwrap();
    let plain = plain.strip_suffix(" to HTTPS").unwrap();
    let moved = curl(&[&format!("{plain}a?b=c")]);
    assert_eq!(moved.status, 301);
    assert_eq!(
        moved.field("location"),
        Some(&*format!("{}a?b=c", server.url))
    );
    assert_eq!(moved.field("strict-transport-security"), None);
    let put = curl(&["--request", "PUT", "--data", "x", &format!("{plain}b")]);
    assert_eq!(put.status, 308);
    assert_eq!(curl(&["--http1.0", "--header", "Host:", plain]).status, 400);
    // A client that follows arrives.
    let args = [
        "--location",
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_code}",
    ];
    let followed = Command::new("curl")
        .args(["--silent", "--cacert", &authority.file])
        .args(args)
        .arg(format!("{plain}a"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(followed.stdout, b"200");
    let args = ["--cacert", &authority.file];
    for (path, status) in [("a", 200), ("a", 200), ("missing", 404), ("", 200)] {
        let url = format!("{}{path}", server.url);
        let reply = curl(&[&args[..], &[&url]].concat());
        assert_eq!(reply.status, status);
        let hsts = reply.field("strict-transport-security");
        assert_eq!(hsts, Some("max-age=31536000"), "{path}");
    }
    let outcome = server.stop().ok();
    let redirects = outcome
        .text()
        .lines()
        .filter(|line| line.contains("\"status\":301"));
    assert_eq!(redirects.count(), 2, "{}", outcome.text());
}

#[test]
fn only_one_version_if_told_so() {
    if !needs::tool("openssl") {
        return;
    }
    let dir = Dir::in_memory();
    let mut it = Secured::start(&dir, &["--tls-min-version=1.3", "--hsts=60"]);
    let said = it.openssl(&["-tls1_2"], b"");
    assert!(said.contains("protocol version"), "{said}");
    it.await_failed("incompatible", 1);
    let said = it.openssl(&["-tls1_3", "-ign_eof"], GET);
    assert!(said.contains("max-age=60"), "{said}");
    it.server.stop().ok();
}

#[test]
fn the_default_address_is_another_one() {
    let dir = Dir::in_memory();
    let taken = std::net::TcpListener::bind("127.0.0.1:8443");
    let outcome = run(&["serve", dir.root(), "--tls-self-signed"]);
    outcome.fails(1, &["127.0.0.1:8443", "in use"]);
    drop(taken);
}
