//! A client that sends exactly the given bytes, and reads strictly.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use super::{Reply, Server, http2};

/// Nothing in a passing test takes this long.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Client {
    pub(crate) stream: crate::wire::Stream,
    /// Bytes that arrived and were not taken yet.
    buffer: Vec<u8>,
    /// TLS ended without saying so.
    is_cut: bool,
}

impl Client {
    pub(crate) fn new(server: &Server) -> Self {
        Self::at(server.address)
    }

    fn at(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream: crate::wire::stream(stream),
            buffer: Vec::new(),
            is_cut: false,
        }
    }

    /// Makes one request on a new connection. `fields` are whole lines with their line ends.
    #[track_caller]
    pub(crate) fn ask(server: &Server, method: &str, path: &str, fields: &str) -> Reply {
        Self::ask_at(server.address, method, path, fields)
    }

    /// The same, for threads that do not hold the server.
    #[track_caller]
    pub(crate) fn ask_at(address: SocketAddr, method: &str, path: &str, fields: &str) -> Reply {
        if crate::TRANSPORT.is_http2() {
            return http2::ask(address, method, path, fields, b"");
        }
        let mut client = Self::at(address);
        client.send(request(method, path, &format!("Connection: close\r\n{fields}")).as_bytes());
        let reply = client.reply(method);
        client.is_ended();
        reply
    }

    #[track_caller]
    pub(crate) fn get(server: &Server, path: &str, fields: &str) -> Reply {
        Self::ask(server, "GET", path, fields)
    }

    /// Uploads `content` on a new connection.
    #[track_caller]
    pub(crate) fn put(server: &Server, path: &str, fields: &str, content: &[u8]) -> Reply {
        if crate::TRANSPORT.is_http2() {
            return http2::ask(server.address, "PUT", path, fields, content);
        }
        let mut client = Self::new(server);
        let length = content.len();
        let fields = format!("Connection: close\r\nContent-Length: {length}\r\n{fields}");
        client.send(request("PUT", path, &fields).as_bytes());
        client.offer(content);
        let reply = client.reply("PUT");
        client.is_ended();
        reply
    }

    #[track_caller]
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends bytes that the server may refuse in the middle. Returns false if it did.
    #[track_caller]
    pub(crate) fn offer(&mut self, bytes: &[u8]) -> bool {
        match self.stream.write_all(bytes) {
            Ok(()) => true,
            Err(error) if is_closed(error.kind()) => false,
            Err(error) => panic!("the server takes nothing: {error}"),
        }
    }

    pub(crate) fn no_more(&mut self) {
        // The connection may be closed already.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Reads more from the connection. Returns false at its end.
    #[track_caller]
    fn fill(&mut self) -> bool {
        let mut piece = vec![0; 64 << 10];
        match self.stream.read(&mut piece) {
            Ok(count) => {
                self.buffer.extend_from_slice(&piece[..count]);
                count > 0
            }
            Err(error) if is_closed(error.kind()) => false,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                self.is_cut = true;
                false
            }
            Err(error) => panic!(
                "the server neither answers nor closes ({error}) after {}",
                self.buffer.escape_ascii()
            ),
        }
    }

    /// The next response; `None` if the connection ends before it begins.
    #[track_caller]
    pub(crate) fn next(&mut self, method: &str) -> Option<Reply> {
        let head = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
                break head;
            }
            if !self.fill() {
                let left = &self.buffer;
                assert!(left.is_empty(), "half a head: {}", left.escape_ascii());
                return None;
            }
        };
        let mut reply = Reply::of_head(&head[..head.len() - 4]);
        let bodiless = method == "HEAD" || matches!(reply.status, 100..200 | 204 | 304);
        if !bodiless {
            reply.body = self.body(&reply);
        }
        Some(reply)
    }

    #[track_caller]
    pub(crate) fn reply(&mut self, method: &str) -> Reply {
        self.next(method)
            .expect("the connection ended without a response")
    }

    #[track_caller]
    fn body(&mut self, reply: &Reply) -> Vec<u8> {
        assert_eq!(reply.field("transfer-encoding"), None, "{reply:?}");
        let Some(length) = reply.field("content-length") else {
            while self.fill() {}
            return std::mem::take(&mut self.buffer);
        };
        let length: usize = length.parse().unwrap();
        self.take(length)
    }

    /// Reads this many bytes as they are.
    #[track_caller]
    pub(crate) fn take(&mut self, length: usize) -> Vec<u8> {
        while self.buffer.len() < length {
            let went_on = self.fill();
            let came = self.buffer.len();
            assert!(went_on, "the body ended after {came} of {length} bytes");
        }
        self.buffer.drain(..length).collect()
    }

    /// Takes only the head of a response; its body stays in the buffer.
    #[track_caller]
    pub(crate) fn head(&mut self) -> Reply {
        self.reply("HEAD")
    }

    /// Reads everything up to the end of the connection.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while self.fill() {}
        std::mem::take(&mut self.buffer)
    }

    /// Checks that the connection ends without any more bytes.
    #[track_caller]
    pub(crate) fn is_ended(&mut self) {
        let rest = self.rest();
        assert!(rest.is_empty(), "more comes: {}", rest.escape_ascii());
        assert!(!self.is_cut, "it was cut off");
    }
}

/// A request's head.
pub(crate) fn request(method: &str, path: &str, fields: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n")
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

fn is_closed(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}
