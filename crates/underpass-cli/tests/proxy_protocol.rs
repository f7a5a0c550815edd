//! `--accept-proxy`: whom a proxy names by the PROXY protocol, and who is refused.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{Dir, Host, Relay, Running, Secured, Server, Stream, curl, needs, underpass};

/// Nothing in a passing test takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 192.0.2.1 5000 80\r\n";
const UNKNOWN: &[u8] = b"PROXY UNKNOWN\r\n";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x08\xc0\0\x02\x01\x13\x88\0\x50";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// A server of the file `a` that logs to `log`.
fn server(dir: &Dir, options: &[&str]) -> Server {
    dir.file("a", b"content");
    let log = dir.path("log");
    let usual = ["--access-log=json", "--access-log-file", &log];
    Server::start(dir, &[&usual, options].concat())
}

/// Whom the lines of the log name, after the server has ended.
fn clients(dir: &Dir, server: Server) -> Vec<String> {
    server.stop().ok();
    let log = std::fs::read_to_string(dir.path("log")).unwrap();
    let peer = |line: &str| {
        let (_, rest) = line.split_once("\"peer\":")?;
        Some(rest.split(',').next()?.trim_matches('"').to_owned())
    };
    log.lines().filter_map(peer).collect()
}

fn connect(server: &Server) -> TcpStream {
    let address = server.url["http://".len()..].trim_end_matches('/');
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// What comes back until the connection ends, however it does.
fn answer(mut stream: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

fn ask(server: &Server, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(server);
    // It may be refused before all is sent.
    let _ = stream.write_all(bytes);
    answer(stream)
}

#[test]
fn the_log_names_whom_the_proxy_names() {
    let dir = Dir::in_memory();
    let server = server(&dir, &["--accept-proxy", "10.0.0.0/8,127.0.0.1"]);
    for header in [V1, V2, UNKNOWN, LOCAL] {
        let got = ask(&server, &[header, GET].concat());
        assert!(
            got.ends_with(b"\r\n\r\ncontent"),
            "{}",
            header.escape_ascii()
        );
    }
    // Byte by byte, each in a segment of its own.
    let mut slow = connect(&server);
    slow.set_nodelay(true).unwrap();
    for byte in V1.iter().chain(GET) {
        slow.write_all(&[*byte]).unwrap();
    }
    assert!(answer(slow).ends_with(b"content"));
    // Two requests on one connection are of the same client.
    let two = [V2, &GET.replace_close(), GET].concat();
    assert!(ask(&server, &two).ends_with(b"content"));
    let expected = [
        "192.0.2.7",
        "192.0.2.8",
        "127.0.0.1",
        "127.0.0.1",
        "192.0.2.7",
        "192.0.2.8",
        "192.0.2.8",
    ];
    assert_eq!(clients(&dir, server), expected);
}

trait ReplaceClose {
    fn replace_close(&self) -> Vec<u8>;
}

impl ReplaceClose for [u8] {
    /// The same request on a connection that goes on.
    fn replace_close(&self) -> Vec<u8> {
        let text = std::str::from_utf8(self).unwrap();
        text.replace("Connection: close\r\n", "").into_bytes()
    }
}

#[test]
fn connections_without_a_right_header_are_closed() {
    let dir = Dir::in_memory();
    let believing = server(&dir, &["--accept-proxy", "127.0.0.1"]);
    let long = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200], b"\r\n"].concat();
    let huge = [&LOCAL[..14], b"\xff\xff", &[0; 100]].concat();
    for header in [
        &b""[..],
        b"PROXY TCP4 192.0.2.7\r\n",
        b"PROXY TCP9 192.0.2.7 192.0.2.1 5000 80\r\n",
        b"PROXY TCP4 192.0.2.7 192.0.2.1 5000 80\n",
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0",
        &long,
        &huge,
    ] {
        let got = ask(&believing, &[header, GET].concat());
        assert!(got.is_empty(), "{}", header.escape_ascii());
    }
    // A header that never ends is not waited for.
    let mut cut = connect(&believing);
    cut.write_all(&V1[..20]).unwrap();
    cut.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(answer(cut).is_empty());
    assert_eq!(clients(&dir, believing), [""; 0]);
    // A peer that is not believed is not, whatever it says.
    let other = server(&dir, &["--accept-proxy", "10.0.0.0/8,unix:"]);
    assert!(ask(&other, &[V1, GET].concat()).is_empty());
    // Without the option a header is no request.
    let plain = server(&dir, &[]);
    let got = ask(&plain, &[V1, GET].concat());
    assert!(got.starts_with(b"HTTP/1.1 400 "), "{}", got.escape_ascii());
}

#[test]
fn a_header_that_does_not_come_is_waited_for_as_long_as_a_request() {
    let dir = Dir::in_memory();
    let server = server(&dir, &["--accept-proxy=127.0.0.1", "--head-timeout=1s"]);
    for begin in [&b""[..], &V1[..10], &V2[..14]] {
        assert!(ask(&server, begin).is_empty());
    }
    server.stop().ok();
}

#[test]
fn a_proxy_on_a_unix_socket_is_believed_if_that_is_said() {
    let dir = Dir::in_memory();
    dir.file("a", b"content");
    let (socket, log) = (dir.path("socket"), dir.path("log"));
    let listen = format!("unix:{socket}");
    for (option, header, field) in [
        ("--accept-proxy", V1, ""),
        (
            "--trusted-proxy",
            &b""[..],
            "X-Forwarded-For: 10.1.1.1, 192.0.2.7\r\n",
        ),
    ] {
        let args = [
            "serve",
            dir.root(),
            "--listen",
            &listen,
            "--access-log=json",
            "--access-log-file",
            &log,
            option,
            "unix:",
        ];
        let mut running = Running::start(underpass(&args));
        running.line();
        let mut stream = Stream::connect(&listen);
        let request = format!("GET /a HTTP/1.1\r\nHost: a\r\n{field}Connection: close\r\n\r\n");
        stream
            .write_all(&[header, request.as_bytes()].concat())
            .unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        assert!(got.ends_with(b"content"), "{option}");
        running.signal(rustix::process::Signal::TERM);
        running.finish().ok();
        let logged = std::fs::read_to_string(&log).unwrap();
        assert!(logged.contains("\"peer\":\"192.0.2.7\""), "{logged}");
        std::fs::remove_file(&log).unwrap();
    }
}

#[test]
fn a_relay_passes_on_whom_the_proxy_names() {
    for (header, version, expected) in [
        (
            V1,
            "v1",
            &b"PROXY TCP4 192.0.2.7 192.0.2.1 5000 80\r\nhello"[..],
        ),
        (V2, "v1", b"PROXY TCP4 192.0.2.8 192.0.2.1 5000 80\r\nhello"),
        (V1, "none", b"hello"),
    ] {
        let target = Host::tcp();
        let to = target.address();
        let sent = ["--proxy-protocol", version];
        let sent = if version == "none" { &[][..] } else { &sent };
        let relay = Relay::to(
            to.strip_prefix("tcp://").unwrap(),
            &[&["--accept-proxy=127.0.0.1"], sent].concat(),
        );
        let mut client = TcpStream::connect(relay.place()).unwrap();
        client.write_all(&[header, b"hello"].concat()).unwrap();
        let mut far = target.accept();
        assert_eq!(far.read_exactly(expected.len()), expected, "{version}");
        drop((far, client));
        relay.stop().ok();
    }
}

#[test]
fn a_relay_refuses_others() {
    let target = Host::tcp();
    let to = target.address();
    let to = to.strip_prefix("tcp://").unwrap();
    for (trusted, bytes) in [
        ("127.0.0.1", &b"hello, this is no header"[..]),
        ("10.0.0.0/8", V1),
    ] {
        let relay = Relay::to(to, &["--accept-proxy", trusted]);
        let mut client = TcpStream::connect(relay.place()).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(bytes).unwrap();
        assert!(answer(client).is_empty(), "{trusted}");
        relay.stop().ok();
    }
}

/// A proxy in front of `to`: sends one header with the first bytes of its one client, in a single
/// segment, or each byte of the header in a segment of its own. Returns where it listens.
fn proxy(to: &str, header: &'static [u8], in_bytes: bool) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap().to_string();
    let far = TcpStream::connect(to).unwrap();
    std::thread::spawn(move || {
        let (mut near, _) = listener.accept().unwrap();
        near.set_read_timeout(Some(PATIENCE)).unwrap();
        far.set_nodelay(true).unwrap();
        let mut hello = vec![0; 16 << 10];
        let count = near.read(&mut hello).unwrap();
        let (mut far, mut rest) = (far, header);
        if in_bytes {
            for byte in header {
                far.write_all(&[*byte]).unwrap();
            }
            rest = &[];
        }
        far.write_all(&[rest, &hello[..count]].concat()).unwrap();
        let (mut back, mut forth) = (far.try_clone().unwrap(), near.try_clone().unwrap());
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut forth, &mut far);
            let _ = far.shutdown(std::net::Shutdown::Write);
        });
        let _ = std::io::copy(&mut back, &mut near);
        let _ = near.shutdown(std::net::Shutdown::Both);
    });
    at
}

/// The header comes before TLS, and no byte of the handshake behind it is lost. What is no header
/// is refused before a handshake.
#[test]
fn a_relay_with_tls_passes_on_whom_the_proxy_names() {
    if !needs::tool("curl") {
        return;
    }
    let dir = Dir::in_memory();
    let behind = server(&dir, &["--accept-proxy=127.0.0.1"]);
    let to = behind.url["http://".len()..].trim_end_matches('/');
    let options = ["--accept-proxy=127.0.0.0/8", "--proxy-protocol=v2"];
    let relay = Relay::between("tls://127.0.0.1:0", to, &options);
    let place = relay.place().trim_start_matches("tls://");
    let place = place.split('#').next().unwrap();
    let get = |at: &str, options: &[&str]| {
        let url = format!("https://{at}/a");
        let mut command = Command::new("curl");
        command.args(["--insecure", "--silent", "--max-time", "60"]);
        command.args(options).arg(url).output().unwrap().stdout
    };
    for (header, in_bytes) in [
        (V1, false),
        (V2, false),
        (V1, true),
        (V2, true),
        (UNKNOWN, false),
        (LOCAL, false),
    ] {
        let got = get(&proxy(place, header, in_bytes), &[]);
        assert_eq!(got, b"content", "{}, {in_bytes}", header.escape_ascii());
    }
    // As curl sends it, which names itself.
    let of_curl = ["--haproxy-protocol", "--interface", CLIENT];
    assert_eq!(get(place, &of_curl), b"content");
    // A handshake is no header, and neither is a cut one.
    assert_eq!(get(place, &[]), b"");
    assert_eq!(get(&proxy(place, &V2[..20], false), &[]), b"");
    assert_eq!(get(&proxy(place, &V1[..V1.len() - 2], false), &[]), b"");
    relay.stop().ok();
    let expected = [
        "192.0.2.7",
        "192.0.2.8",
        "192.0.2.7",
        "192.0.2.8",
        "127.0.0.1",
        "127.0.0.1",
        CLIENT,
    ];
    assert_eq!(clients(&dir, behind), expected);
}

/// haproxy in front of `backend` (a line of its configuration). Returns the address where it
/// listens: one of this process, so that nobody else has it.
fn haproxy(dir: &Dir, mode: &str, backend: &str) -> (Running, String) {
    let pid = std::process::id();
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let address = format!(
        "127.{}.{}.{number}:8090",
        pid >> 8 & 0x7F | 0x40,
        pid & 0xFF
    );
    let config = format!(
        "global\n maxconn 50\ndefaults\n mode {mode}\n timeout connect 30s\n timeout client 60s\n \
         timeout server 60s\nlisten one\n bind {address}\n {backend}\n"
    );
    let mut command = Command::new("haproxy");
    command
        .args(["-db", "-f", &dir.file("haproxy.cfg", config.as_bytes())])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let running = Running::start(command);
    // No event says that it listens.
    while TcpStream::connect(&address).is_err() {
        assert!(running.is_alive(), "haproxy does not start");
        std::thread::yield_now();
    }
    (running, address)
}

static NUMBER: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(1);

/// The address from which curl comes. haproxy's own is another one.
const CLIENT: &str = "127.9.8.7";

#[test]
fn haproxy_names_its_clients() {
    if !needs::tool("haproxy") || !needs::tool("curl") {
        return;
    }
    for (mode, sends, option) in [
        ("tcp", "send-proxy", "--accept-proxy=127.0.0.1"),
        ("tcp", "send-proxy-v2", "--accept-proxy=127.0.0.1"),
        ("http", "send-proxy-v2-ssl-cn", "--accept-proxy=127.0.0.1"),
        ("http", "", "--trusted-proxy=127.0.0.1"),
    ] {
        let (dir, places) = (Dir::in_memory(), Dir::new());
        let server = server(&dir, &[option]);
        let to = server.url["http://".len()..].trim_end_matches('/');
        let forward = if sends.is_empty() {
            "option forwardfor\n "
        } else {
            ""
        };
        let line = format!("{forward}server one {to} source 127.0.0.1 {sends}");
        let (proxy, address) = haproxy(&places, mode, &line);
        for _ in 0..2 {
            let url = format!("http://{address}/a");
            assert_eq!(curl(&["--interface", CLIENT, &url]).text(), "content");
        }
        drop(proxy);
        let clients = clients(&dir, server);
        let named = clients.iter().filter(|it| *it == CLIENT).count();
        assert_eq!(named, 2, "{sends}: {clients:?}");
    }
}

/// The header comes before TLS.
#[test]
fn haproxy_passes_tls_on() {
    if !needs::tool("haproxy") || !needs::tool("curl") || !needs::tool("openssl") {
        return;
    }
    let (dir, places) = (Dir::in_memory(), Dir::new());
    dir.file("a", b"content");
    let log = dir.path("log");
    let options = [
        "--access-log=json",
        "--access-log-file",
        &log,
        "--accept-proxy=127.0.0.1",
    ];
    let mut it = Secured::start(&dir, &options);
    for sends in ["send-proxy", "send-proxy-v2"] {
        let line = format!("server one {} source 127.0.0.1 {sends}", it.address());
        let (proxy, address) = haproxy(&places, "tcp", &line);
        let port = address.rsplit(':').next().unwrap();
        let host = address.split(':').next().unwrap();
        let to = format!("localhost:{port}:{host}:{port}");
        let url = format!("https://localhost:{port}/a");
        let args = ["--connect-to", &to, "--interface", CLIENT, &url];
        assert_eq!(it.curl(&args).text(), "content", "{sends}");
        drop(proxy);
    }
    // Without a header there is no handshake.
    let mut plain = it.connect();
    plain
        .write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03aaaa")
        .unwrap();
    assert!(answer(plain).is_empty());
    assert_eq!(it.handshakes("1.3", "AES-256-GCM"), 2);
    it.server.stop().ok();
    let logged = std::fs::read_to_string(&log).unwrap();
    let named = logged.matches(&format!("\"peer\":\"{CLIENT}\"")).count();
    assert_eq!(named, 2, "{logged}");
}

#[test]
fn nginx_on_a_unix_socket_names_its_clients() {
    if !needs::tool("nginx") || !needs::tool("curl") {
        return;
    }
    for (header, option) in [
        (
            "X-Forwarded-For $proxy_add_x_forwarded_for",
            "x-forwarded-for",
        ),
        ("Forwarded \"for=$remote_addr\"", "forwarded"),
    ] {
        let (dir, places) = (Dir::in_memory(), Dir::new());
        dir.file("a", b"content");
        let (socket, log) = (dir.path("socket"), dir.path("log"));
        let args = [
            "serve",
            dir.root(),
            "--listen",
            &format!("unix:{socket}"),
            "--access-log=json",
            "--access-log-file",
            &log,
            "--trusted-proxy=unix:",
            "--proxy-header",
            option,
        ];
        let mut running = Running::start(underpass(&args));
        running.line();
        let front = places.path("nginx");
        let config = format!(
            "daemon off; master_process off; pid {0}/pid; error_log stderr notice; events {{}}
             http {{ access_log off; client_body_temp_path {0}/b; proxy_temp_path {0}/p;
             fastcgi_temp_path {0}/f; uwsgi_temp_path {0}/u; scgi_temp_path {0}/s;
             set_real_ip_from unix:; real_ip_header proxy_protocol;
             server {{ listen unix:{front} proxy_protocol;
             location / {{ proxy_pass http://unix:{socket}; proxy_set_header {header}; }} }} }}",
            places.root()
        );
        let config = places.file("nginx.conf", config.as_bytes());
        let mut command = Command::new("/usr/sbin/nginx");
        command
            .args(["-c", &config, "-p", places.root()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let nginx = Running::start(command);
        while std::os::unix::net::UnixStream::connect(&front).is_err() {
            assert!(nginx.is_alive(), "nginx does not start");
            std::thread::yield_now();
        }
        let mut client = Stream::connect(&format!("unix:{front}"));
        client.write_all(&[V1, GET].concat()).unwrap();
        let mut got = Vec::new();
        client.read_to_end(&mut got).unwrap();
        assert!(got.ends_with(b"content"), "{}", got.escape_ascii());
        drop(nginx);
        running.signal(rustix::process::Signal::TERM);
        running.finish().ok();
        let logged = std::fs::read_to_string(&log).unwrap();
        assert!(
            logged.contains("\"peer\":\"192.0.2.7\""),
            "{option}: {logged}"
        );
    }
}
