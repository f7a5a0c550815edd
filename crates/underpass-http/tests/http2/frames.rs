//! A client that sends exactly the given frames, and reads whole ones.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::Server;

/// Nothing in a passing test takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;
pub(crate) const WITH_PRIORITY: u8 = 32;

/// A whole request in one frame.
pub(crate) const WHOLE: u8 = END_STREAM | END_HEADERS;

/// `:method GET`, `:scheme http` and `:path /` of the static table.
pub(crate) const GET: u8 = 0x82;
pub(crate) const HTTP: u8 = 0x86;
pub(crate) const ROOT: u8 = 0x84;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn is(&self, kind: u8, stream: u32) -> bool {
        (self.kind, self.stream) == (kind, stream)
    }

    pub(crate) fn ends_stream(&self, stream: u32) -> bool {
        self.stream == stream && matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }

    /// The error code of RST_STREAM or GOAWAY.
    pub(crate) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    framed(payload.len(), kind, flags, stream, payload)
}

/// A frame with a length of its own.
pub(crate) fn framed(len: usize, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (len as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A literal field that is not indexed.
pub(crate) fn field(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        let len = u8::try_from(text.len()).unwrap();
        assert!(len < 127);
        bytes.push(len);
        bytes.extend(text.as_bytes());
    }
    bytes
}

/// The head of a GET.
pub(crate) fn get(path: &str) -> Vec<u8> {
    let path = field(":path", path);
    [&[GET, HTTP][..], &path, &field(":authority", "localhost")].concat()
}

/// A whole GET on a stream.
pub(crate) fn ask(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, WHOLE, stream, &get(path))
}

pub(crate) fn settings(pairs: &[(u16, u32)]) -> Vec<u8> {
    let pairs = pairs.iter().map(|(key, value)| {
        let bytes = [&key.to_be_bytes()[..], &value.to_be_bytes()[..]];
        bytes.concat()
    });
    frame(SETTINGS, 0, 0, &pairs.collect::<Vec<_>>().concat())
}

pub(crate) struct Frames {
    pub(crate) socket: TcpStream,
}

impl Frames {
    /// A connection that has sent nothing.
    pub(crate) fn silent(server: &Server) -> Self {
        let socket = TcpStream::connect(server.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        socket.set_nodelay(true).unwrap();
        Self { socket }
    }

    /// A connection whose settings are known on both sides.
    pub(crate) fn new(server: &Server, pairs: &[(u16, u32)]) -> Self {
        let mut this = Self::silent(server);
        this.send(PREFACE);
        this.send(&settings(pairs));
        this.until(|frame| frame.kind == SETTINGS && frame.flags & ACK == 0);
        this.send(&frame(SETTINGS, ACK, 0, b""));
        this.until(|frame| frame.kind == SETTINGS && frame.flags & ACK != 0);
        this
    }

    #[track_caller]
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    /// Sends what the server may refuse in the middle. Returns false if it did.
    pub(crate) fn offer(&mut self, bytes: &[u8]) -> bool {
        self.socket.write_all(bytes).is_ok()
    }

    /// The next frame; `None` at the end of the connection.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        match self.socket.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if is_end(error.kind()) => return None,
            Err(error) => panic!("the server neither answers nor closes: {error}"),
        }
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.socket.read_exact(&mut payload).ok()?;
        Some(Frame {
            kind,
            flags,
            stream: u32::from_be_bytes(stream),
            payload,
        })
    }

    /// Reads up to a frame, and returns all.
    #[track_caller]
    pub(crate) fn until(&mut self, is_last: impl Fn(&Frame) -> bool) -> Vec<Frame> {
        let mut frames = Vec::new();
        loop {
            let Some(frame) = self.next() else {
                panic!("the connection ended after {frames:?}");
            };
            frames.push(frame);
            if is_last(&frames[frames.len() - 1]) {
                return frames;
            }
        }
    }

    /// All frames up to the end of the connection.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> Vec<Frame> {
        std::iter::from_fn(|| self.next()).collect()
    }

    /// Reads the rest of a response. Returns its body.
    #[track_caller]
    pub(crate) fn body(&mut self, stream: u32) -> Vec<u8> {
        let frames = self.until(|frame| frame.ends_stream(stream));
        let data = frames.iter().filter(|frame| frame.is(DATA, stream));
        data.flat_map(|frame| frame.payload.clone()).collect()
    }

    /// Everything that the server has to say about what was sent so far.
    #[track_caller]
    pub(crate) fn answers(&mut self) -> Vec<Frame> {
        let mut answers = Vec::new();
        // What it has queued is sent before it answers the second one.
        for number in [1, 2] {
            let ping = [number; 8];
            self.offer(&frame(PING, 0, 0, &ping));
            loop {
                let Some(frame) = self.next() else {
                    return answers;
                };
                if frame.kind == PING && frame.payload == ping {
                    break;
                }
                answers.push(frame);
            }
        }
        answers
    }
}

fn is_end(kind: std::io::ErrorKind) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(kind, BrokenPipe | ConnectionReset | UnexpectedEof)
}
