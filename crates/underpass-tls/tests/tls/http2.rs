//! HTTP/2 over TLS: `serve_dir` on a `TlsListener`, by a client that reads frames.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::net::TcpStream;

use rustls::SupportedCipherSuite;
use underpass_http::ServerStats;

use crate::http::Server;
use crate::support::{
    Peer, Tap, bytes, is_kernel_required, one_of_each_version, peer_client_config,
};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const INITIAL_WINDOW_SIZE: u16 = 4;

/// The window that every connection begins with.
const WINDOW: usize = 65_535;

/// No window is larger.
const LARGEST_WINDOW: u32 = u32::MAX >> 1;

/// The most data in a frame: with its head it fills a record.
const FULL: usize = 16_375;

const MIB: usize = 1 << 20;

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

/// A client that has begun with HTTP/2.
struct Client(Peer);

impl Client {
    /// `window` is what each stream may be sent at first. The connection's window is the largest.
    fn new(socket: TcpStream, window: u32) -> Self {
        Self::with(socket, window, None)
    }

    fn with(socket: TcpStream, window: u32, suite: Option<SupportedCipherSuite>) -> Self {
        let mut config = peer_client_config(suite);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let peer = Peer::with(socket, config, "localhost").unwrap();
        assert_eq!(peer.connection.alpn_protocol(), Some(&b"h2"[..]));
        let mut this = Self(peer);
        let setting = [
            &INITIAL_WINDOW_SIZE.to_be_bytes()[..],
            &window.to_be_bytes(),
        ];
        this.0.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        this.send(SETTINGS, 0, 0, &setting.concat());
        this.grant(0, LARGEST_WINDOW - WINDOW as u32);
        this
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let len = (payload.len() as u32).to_be_bytes();
        let head = [&len[1..], &[kind, flags], &stream.to_be_bytes()];
        self.0.send(&[&head.concat()[..], payload].concat());
    }

    fn grant(&mut self, stream: u32, bytes: u32) {
        self.send(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes());
    }

    fn get(&mut self, stream: u32, path: &str) {
        let literal =
            |name: u8, value: &str| [&[name, value.len() as u8], value.as_bytes()].concat();
        // `:method GET` and `:scheme https` of the static table, `:path` and `:authority`.
        let fields = [
            &[0x82, 0x87][..],
            &literal(4, path),
            &literal(1, "localhost"),
        ];
        self.send(HEADERS, END_STREAM | END_HEADERS, stream, &fields.concat());
    }

    fn next(&mut self) -> Frame {
        let mut head = [0; 9];
        self.fill(&mut head);
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.fill(&mut payload);
        if (kind, flags & ACK) == (SETTINGS, 0) {
            self.send(SETTINGS, ACK, 0, &[]);
        }
        Frame {
            kind,
            flags,
            stream: u32::from_be_bytes(stream),
            payload,
        }
    }

    fn fill(&mut self, out: &mut [u8]) {
        let mut filled = 0;
        while filled < out.len() {
            let count = self.0.receive(&mut out[filled..]).unwrap();
            assert!(count > 0, "the connection ended");
            filled += count;
        }
    }

    /// The bodies of these streams, to their ends. No frame has more than fits into a record.
    fn bodies(&mut self, streams: &[u32]) -> BTreeMap<u32, Vec<u8>> {
        let mut open: BTreeSet<u32> = streams.iter().copied().collect();
        let mut bodies = BTreeMap::<u32, Vec<u8>>::new();
        while !open.is_empty() {
            let frame = self.next();
            assert_ne!(frame.kind, RST_STREAM, "stream {}", frame.stream);
            if frame.kind != DATA {
                continue;
            }
            assert!(frame.payload.len() <= FULL, "{}", frame.payload.len());
            bodies
                .entry(frame.stream)
                .or_default()
                .extend(frame.payload);
            if frame.flags & END_STREAM != 0 {
                open.remove(&frame.stream);
            }
        }
        bodies
    }
}

/// Checks that this many bytes of files left by the route of the mode.
fn check_route(stats: &ServerStats, files: usize) {
    let files = files as u64;
    let (mapped, encrypted) = (stats.bytes_mapped.get(), stats.bytes_encrypted.get());
    assert_eq!(
        (stats.bytes_sendfile.get(), stats.fallbacks_refused.get()),
        (0, 0)
    );
    if is_kernel_required() {
        // h2 copies the first 247 bytes of a frame.
        assert_eq!(encrypted, 0);
        let least = files * 19 / 20;
        assert!((least..=files).contains(&mapped), "{mapped} of {files}");
    } else if encrypted > 0 {
        assert_eq!((mapped, stats.bytes_written.get()), (0, 0));
        assert!(encrypted >= files, "{encrypted} of {files}");
    }
}

#[test]
fn several_streams_of_large_files_arrive_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (bytes(11, 3 * MIB + 7), bytes(12, 2 * MIB));
    fs::write(dir.path().join("first"), &first).unwrap();
    fs::write(dir.path().join("second"), &second).unwrap();
    for suite in one_of_each_version() {
        let server = Server::new(dir.path());
        let mut client = Client::with(server.connect(), LARGEST_WINDOW, Some(suite));
        for (stream, path) in [(1, "/first"), (3, "/second"), (5, "/first"), (7, "/second")] {
            client.get(stream, path);
        }
        let bodies = client.bodies(&[1, 3, 5, 7]);
        for (stream, content) in [(1, &first), (3, &second), (5, &first), (7, &second)] {
            assert!(bodies[&stream] == *content, "stream {stream}");
        }
        check_route(&server.stats, 2 * (first.len() + second.len()));
    }
}

/// Full frames fill records: a record for each, and one more for each call, which has up to eight.
#[test]
fn pitfall_48_there_are_as_many_records_as_frames() {
    let dir = tempfile::tempdir().unwrap();
    let content = bytes(13, 4 * MIB);
    fs::write(dir.path().join("file"), &content).unwrap();
    let server = Server::new(dir.path());
    let (near, tap) = Tap::before(server.connect());
    let mut client = Client::new(near, LARGEST_WINDOW);
    client.get(1, "/file");
    assert!(client.bodies(&[1])[&1] == content);
    drop(client);
    let records = records_of_data(&tap.far_sent());
    let full = records.iter().filter(|len| **len >= FULL).count();
    let frames = content.len() / FULL;
    assert!(full >= frames / 2, "{full} of {frames}");
    assert!(
        records.len() < frames + frames / 2,
        "{} for {frames}",
        records.len()
    );
    check_route(&server.stats, content.len());
}

/// The lengths of the records of data in a stream of records.
fn records_of_data(mut stream: &[u8]) -> Vec<usize> {
    let mut lengths = Vec::new();
    while let [kind, _, _, high, low, rest @ ..] = stream {
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        if *kind == 23 {
            lengths.push(len);
        }
        stream = rest.get(len..).unwrap_or_default();
    }
    lengths
}

#[test]
fn a_truncated_file_resets_its_stream_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let (path, other) = (dir.path().join("file"), bytes(14, MIB));
    fs::write(&path, vec![9; 3 * MIB]).unwrap();
    fs::write(dir.path().join("other"), &other).unwrap();
    let server = Server::new(dir.path());
    let mut client = Client::new(server.connect(), WINDOW as u32);
    client.get(1, "/file");
    let mut came = 0;
    while came < WINDOW {
        let frame = client.next();
        came += if frame.kind == DATA {
            frame.payload.len()
        } else {
            0
        };
    }
    OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(5000)
        .unwrap();
    client.grant(1, 3 << 20);
    loop {
        let frame = client.next();
        match (frame.kind, frame.stream) {
            (RST_STREAM, 1) => break,
            (DATA, 1) => assert!(!frame.payload.contains(&0), "zeros were sent"),
            _ => {}
        }
    }
    client.get(3, "/other");
    client.grant(3, 1 << 20);
    assert!(client.bodies(&[3])[&3] == other);
    client.send(PING, 0, 0, &[1; 8]);
    while client.next().kind != PING {}
    assert!(server.stats.truncated.get() > 0);
}
