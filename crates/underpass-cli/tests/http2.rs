//! `serve` and HTTP/2, with the program's own limits and memory: floods, `--max-streams`, TLS
//! records, and nghttp as the client.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Dir, MIB, Secured, Server, bytes, needs};

const PATIENCE: Duration = Duration::from_secs(60);

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;

const REFUSED_STREAM: u32 = 7;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() as u32).to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn settings(key: u16, value: u32) -> Vec<u8> {
    let pair = [&key.to_be_bytes()[..], &value.to_be_bytes()].concat();
    frame(SETTINGS, 0, 0, &pair)
}

/// The fields of a GET, none of them in the table that the peers build.
fn get(path: &str) -> Vec<u8> {
    let literal = |name: u8, value: &str| {
        let head = [name, value.len() as u8];
        [&head[..], value.as_bytes()].concat()
    };
    // `:method GET` and `:scheme http`; then `:path` and `:authority`.
    [
        &[0x82, 0x86],
        &literal(4, path)[..],
        &literal(1, "localhost"),
    ]
    .concat()
}

fn ask(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &get(path))
}

/// A client that has begun with HTTP/2.
struct Client {
    socket: TcpStream,
}

/// Kind, flags, stream and payload.
type Frame = (u8, u8, u32, Vec<u8>);

impl Client {
    fn new(server: &Server) -> Self {
        let address = server.url.strip_prefix("http://").unwrap();
        let socket = TcpStream::connect(address.trim_end_matches('/')).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        let mut this = Self { socket };
        this.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        this
    }

    #[track_caller]
    fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    /// The next frame; `None` at the end of the connection.
    fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.socket.read_exact(&mut head).ok()?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.socket.read_exact(&mut payload).ok()?;
        Some((kind, flags, u32::from_be_bytes(stream), payload))
    }

    #[track_caller]
    fn until(&mut self, is_it: impl Fn(&Frame) -> bool) -> Frame {
        loop {
            let frame = self.next().expect("the connection ended");
            if is_it(&frame) {
                return frame;
            }
        }
    }
}

fn code(payload: &[u8]) -> u32 {
    u32::from_be_bytes(payload[..4].try_into().unwrap())
}

#[test]
fn max_streams_is_told_and_one_more_is_refused() {
    let dir = Dir::in_memory();
    dir.file("file", &bytes(1900, 10_000));
    let server = Server::start(&dir, &["--max-streams", "3"]);
    let mut client = Client::new(&server);
    // Without a window no response can end.
    client.send(&settings(INITIAL_WINDOW_SIZE, 0));
    let (_, _, _, told) = client.until(|(kind, flags, ..)| (*kind, *flags) == (SETTINGS, 0));
    let pairs: Vec<_> = told
        .chunks(6)
        .map(|pair| (u16::from_be_bytes([pair[0], pair[1]]), code(&pair[2..])))
        .collect();
    assert!(pairs.contains(&(MAX_CONCURRENT_STREAMS, 3)), "{pairs:?}");
    for stream in [1, 3, 5, 7] {
        client.send(&ask(stream, "/file"));
    }
    let (_, _, stream, payload) = client.until(|(kind, ..)| *kind == RST_STREAM);
    assert_eq!((stream, code(&payload)), (7, REFUSED_STREAM));
    // The others go on.
    for stream in [1, 3, 5] {
        client.send(&frame(
            WINDOW_UPDATE,
            0,
            stream,
            &1_000_000_u32.to_be_bytes(),
        ));
        client.until(|(kind, flags, of, _)| {
            (*kind, *of) == (DATA, stream) && flags & END_STREAM != 0
        });
    }
    server.stop().ok();
}

/// When the first of four equal downloads on one connection is complete, the others nearly are.
/// A client that never gives its window back has got what the last line says.
#[test]
fn streams_that_are_cut_off_are_told_with_the_bytes_they_were_sent() {
    let dir = Dir::in_memory();
    dir.file("file", &bytes(1901, MIB));
    dir.file("small", b"complete");
    let server = Server::start(&dir, &["--drain", "10ms"]);
    let mut client = Client::new(&server);
    client.send(&settings(INITIAL_WINDOW_SIZE, 40_000));
    for (stream, path) in [(1, "/small"), (3, "/file"), (5, "/file")] {
        client.send(&ask(stream, path));
    }
    // The window of a connection is of 65,535 bytes, whatever those of its streams are.
    let mut got = 0;
    while got < 65_535 {
        let (_, _, _, payload) = client.until(|(kind, ..)| *kind == DATA);
        got += payload.len();
    }
    let words = ["1 connection still busy", "cut off after 65,527 bytes"];
    server.stop().fails(3, &words);
}

/// Both when there is more to be sent, and when all of it was given to hyper.
#[test]
fn a_file_that_gets_shorter_is_told_of_with_the_bytes_that_were_sent() {
    for len in [80_000, 3 * MIB] {
        let dir = Dir::in_memory();
        let path = dir.file("file", &bytes(1902, len));
        let mut server = Server::start(&dir, &[]);
        let mut client = Client::new(&server);
        client.send(&settings(INITIAL_WINDOW_SIZE, 40_000));
        client.send(&ask(1, "/file"));
        let mut got = 0;
        while got < 40_000 {
            let (_, _, _, payload) = client.until(|(kind, ..)| *kind == DATA);
            got += payload.len();
        }
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_len(1).unwrap();
        for stream in [0, 1] {
            client.send(&frame(
                WINDOW_UPDATE,
                0,
                stream,
                &10_000_000_u32.to_be_bytes(),
            ));
        }
        let end = |(kind, ..): &Frame| [DATA, RST_STREAM].contains(kind);
        while let (DATA, _, _, payload) = client.until(end) {
            got += payload.len();
        }
        let line = server.running.line();
        let told = format!(": sent {got} of {len} bytes of /file: the file was truncated");
        assert!(line.contains(&told), "{told}\n{line}");
        let stderr = server.stop().ok().stderr;
        assert!(!stderr.contains("truncated"), "told twice: {stderr}");
    }
}

#[test]
fn streams_of_a_connection_have_equal_shares() {
    let dir = Dir::in_memory();
    let content = bytes(1904, 16 * MIB);
    dir.file("file", &content);
    let server = Server::start(&dir, &["--threads", "1"]);
    let mut client = Client::new(&server);
    let most = u32::MAX >> 1;
    client.send(&settings(INITIAL_WINDOW_SIZE, most));
    client.send(&frame(WINDOW_UPDATE, 0, 0, &(most - 65_535).to_be_bytes()));
    let all: Vec<u8> = (0..4).flat_map(|at| ask(2 * at + 1, "/file")).collect();
    client.send(&all);
    let mut came = [0; 4];
    while !came.contains(&content.len()) {
        let (kind, _, stream, payload) = client.next().expect("the connection ended");
        if kind == DATA {
            came[stream as usize / 2] += payload.len();
        }
    }
    let least = came.into_iter().min().unwrap();
    assert!(least > content.len() / 2, "{came:?}");
    drop(client);
    server.stop().ok();
}

/// Every flood from two connections at once. Each is ended by GOAWAY, others are served meanwhile,
/// and the process keeps little of what it was sent.
#[test]
fn pitfall_50_floods_leave_memory_bounded_and_others_served() {
    if !needs::tool("curl") {
        return;
    }
    let dir = Dir::in_memory();
    let content = bytes(1901, 100_000);
    dir.file("file", &content);
    let server = Server::start(&dir, &["--threads", "1"]);
    let before = peak(&server);
    for flood in &floods() {
        thread::scope(|scope| {
            let ends: Vec<_> = (0..2)
                .map(|_| scope.spawn(|| flood.run(Client::new(&server))))
                .collect();
            // Meanwhile others are served.
            assert!(server.get("file").body == content, "{}", flood.name);
            for end in ends {
                assert!(end.join().unwrap(), "{}: no GOAWAY", flood.name);
            }
        });
    }
    let grown = peak(&server) - before;
    assert!(grown < MOST_GROWTH, "{grown} KiB more at its peak");
    server.stop().ok();
}

/// In KiB; 3 MiB were seen. The floods together send more than 100 MiB.
const MOST_GROWTH: u64 = 16 << 10;

/// The most resident memory so far, in KiB.
fn peak(server: &Server) -> u64 {
    let path = format!("/proc/{}/status", server.running.pid());
    let status = fs::read_to_string(path).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.unwrap().parse().unwrap()
}

/// Frames without end, after a first one.
struct Flood {
    name: &'static str,
    first: Vec<u8>,
    next: fn(u32) -> Vec<u8>,
}

impl Flood {
    /// Floods until the connection ends, or a GOAWAY comes. Whether it came.
    fn run(&self, mut client: Client) -> bool {
        client.send(&settings(INITIAL_WINDOW_SIZE, 0));
        client.send(&self.first);
        let mut reader = Client {
            socket: client.socket.try_clone().unwrap(),
        };
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let reading = scope.spawn(|| {
                let is_goaway = |(kind, ..): Frame| kind == GOAWAY;
                let came = std::iter::from_fn(|| reader.next()).any(is_goaway);
                is_over.store(true, Relaxed);
                came
            });
            // More than any limit, also if a slow machine takes a minute to send it.
            for number in 0..2_000 {
                let some: Vec<u8> = (0..100)
                    .flat_map(|at| (self.next)(number * 100 + at))
                    .collect();
                if client.socket.write_all(&some).is_err() || is_over.load(Relaxed) {
                    break;
                }
            }
            let _ = client.socket.shutdown(Shutdown::Write);
            reading.join().unwrap()
        })
    }
}

fn floods() -> Vec<Flood> {
    let flood = |name, first, next| Flood { name, first, next };
    vec![
        flood("pings", Vec::new(), |_| frame(PING, 0, 0, &[7; 8])),
        flood("settings", Vec::new(), |number| {
            settings(INITIAL_WINDOW_SIZE, number % 1000)
        }),
        flood("windows", Vec::new(), |_| {
            frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])
        }),
        flood("window of a stream", ask(1, "/file"), |_| {
            frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])
        }),
        flood("rapid resets", Vec::new(), |number| {
            let stream = 2 * number + 1;
            let reset = frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
            [ask(stream, "/file"), reset].concat()
        }),
        flood(
            "empty data",
            frame(HEADERS, END_HEADERS, 1, &get("/file")),
            |_| frame(DATA, 0, 1, b""),
        ),
        flood(
            "a head without end",
            frame(HEADERS, 0, 1, &get("/file")),
            |number| {
                let value = format!("{number:0100}");
                let head = [0x40, 1, b'a', value.len() as u8];
                frame(CONTINUATION, 0, 1, &[&head[..], value.as_bytes()].concat())
            },
        ),
        // A field of 4,000 bytes in the table, which each further byte repeats.
        flood("growing heads", Vec::new(), |number| {
            let mut bomb = get("/file");
            bomb.extend([0x40, 1, b'a', 0x7f, 0xa1, 0x1e]);
            bomb.extend([b'x'; 4000]);
            bomb.extend([0xbe; 12_000]);
            frame(HEADERS, END_STREAM | END_HEADERS, 2 * number + 1, &bomb)
        }),
    ]
}

/// What a server sends by HTTP/2 over TLS fills its records: a frame's head does not make a second
/// one.
#[test]
fn pitfall_48_a_frame_over_tls_is_one_record() {
    if !needs::tool("nghttp") {
        return;
    }
    let dir = Dir::in_memory();
    let content = bytes(1902, 64 * MIB);
    dir.file("file", &content);
    let it = Secured::start(&dir, &[]);
    let between = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = between.local_addr().unwrap().port();
    let upstream = it.connect();
    let records = thread::spawn(move || {
        let (client, _) = between.accept().unwrap();
        count_records(&client, &upstream)
    });
    let url = format!("https://localhost:{port}/file");
    // The largest windows, so that it is the server who cuts the frames.
    let windows = ["--window-bits", "30", "--connection-window-bits", "30"];
    let said = nghttp(&[&["--null-out", "--verbose"], &windows[..], &[&url]].concat());
    let lengths = lengths_of_data(&String::from_utf8(said).unwrap());
    let (records, data) = records.join().unwrap();
    assert!(data >= content.len() as u64, "{data}");
    assert_eq!(lengths.iter().sum::<usize>(), content.len());
    // With its head of 9 bytes it fills a record.
    assert_eq!(lengths.iter().max(), Some(&16_375));
    let frames = content.len().div_ceil(16_375);
    assert!(lengths.len() < frames + frames / 20, "{}", lengths.len());
    // One more for each call, which has up to eight frames. One more for each head of a frame would
    // be twice as many.
    assert!(
        (frames..frames + frames / 2).contains(&records),
        "{records} records for {frames} frames"
    );
}

/// The lengths of the frames of data that nghttp says it received.
fn lengths_of_data(said: &str) -> Vec<usize> {
    let received = said.lines().filter(|line| line.contains("recv DATA frame"));
    let lengths = received.map(|line| {
        let length = line.split_once("length=").unwrap().1;
        length.split(',').next().unwrap().parse().unwrap()
    });
    lengths.collect()
}

/// Passes bytes on in both directions. Returns how many records of data came from the server, and
/// the bytes in them.
fn count_records(client: &TcpStream, server: &TcpStream) -> (usize, u64) {
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ = std::io::copy(&mut &*client, &mut &*server);
            let _ = server.shutdown(Shutdown::Write);
        });
        let (mut records, mut data) = (0, 0);
        let mut from = std::io::BufReader::with_capacity(1 << 18, server);
        loop {
            let mut head = [0; 5];
            if from.read_exact(&mut head).is_err() {
                let _ = client.shutdown(Shutdown::Write);
                return (records, data);
            }
            let len = u16::from_be_bytes([head[3], head[4]]);
            let mut body = vec![0; usize::from(len)];
            from.read_exact(&mut body).unwrap();
            if head[0] == 23 {
                records += 1;
                data += u64::from(len);
            }
            let mut to = client;
            if to.write_all(&[&head[..], &body].concat()).is_err() {
                return (records, data);
            }
        }
    })
}

#[test]
fn nghttp_gets_files_with_tls_and_without() {
    if !needs::tool("nghttp") {
        return;
    }
    let dir = Dir::in_memory();
    let content = bytes(1903, 3 * MIB + 7);
    dir.file("file", &content);
    let plain = Server::start(&dir, &[]);
    let mut secured = Secured::start(&dir, &[]);
    for url in [format!("{}file", plain.url), secured.url("file")] {
        assert!(nghttp(&[&url]) == content, "{url}");
        let part = nghttp(&["--header", "range: bytes=1000000-1999999", &url]);
        assert!(part == content[1_000_000..2_000_000], "{url}");
        // Ten times on one connection, at once: it prints what comes as it comes.
        let all = nghttp(&["--multiply", "10", &url]);
        assert_eq!(all.len(), 10 * content.len(), "{url}");
    }
    assert_eq!((secured.sent("sendfile"), secured.sent("write")), (0, 0));
    plain.stop().ok();
    secured.server.stop().ok();
}

/// Runs nghttp, and returns the bodies that it got.
#[track_caller]
fn nghttp(args: &[&str]) -> Vec<u8> {
    let output = Command::new("nghttp")
        .args(["--timeout", "60", "--no-verify-peer"])
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.is_empty(),
        "{args:?}: {said}"
    );
    output.stdout
}

#[test]
fn the_json_log_has_the_version_and_the_stream() {
    if !needs::tool("nghttp") {
        return;
    }
    let dir = Dir::in_memory();
    dir.file("file", b"content");
    let it = Secured::start(&dir, &["--access-log=json"]);
    nghttp(&["--multiply", "3", &it.url("file")]);
    let outcome = it.server.stop().ok();
    let lines = outcome.text().lines();
    let lines: Vec<Value> = lines.map(|it| serde_json::from_str(it).unwrap()).collect();
    let mut streams = Vec::new();
    for line in &lines {
        assert_eq!(
            (&line["version"], &line["status"]),
            (&"HTTP/2.0".into(), &200.into())
        );
        streams.push(line["stream"].as_u64().unwrap());
    }
    streams.dedup();
    assert_eq!(streams.len(), 3, "{lines:?}");
}
