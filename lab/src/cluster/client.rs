//! A small HTTP client that says exactly how far a response came.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// A client gives up when nothing comes for this long.
const PATIENCE: Duration = Duration::from_secs(20);
const PIECE: usize = 256 << 10;
const MOST_HEAD: usize = 64 << 10;

/// What came.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) etag: Option<String>,
    /// As the head says.
    pub(super) length: u64,
    /// Where a part begins.
    pub(super) from: u64,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// Whether all of the body came.
    pub(super) fn is_whole(&self) -> bool {
        self.body.len() as u64 == self.length
    }
}

/// Makes a request on a connection of its own. An error says why not even a head came.
pub(super) fn request(
    to: SocketAddr,
    line: &str,
    fields: &str,
    body: &[u8],
) -> Result<Answer, String> {
    let ask = || -> std::io::Result<TcpStream> {
        let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let length = body.len();
        let head = format!(
            "{line} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\nContent-Length: {length}\r\n{fields}\r\n"
        );
        let head = match length {
            0 => head.replace("Content-Length: 0\r\n", ""),
            _ => head,
        };
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        Ok(stream)
    };
    let mut stream = ask().map_err(|error| error.to_string())?;
    let (head, rest) = head(&mut stream)?;
    let mut answer = parse(&head).ok_or_else(|| format!("not HTTP: {head:?}"))?;
    answer.body = rest;
    if line.starts_with("HEAD") || [204, 304].contains(&answer.status) {
        answer.length = 0;
        return Ok(answer);
    }
    let left = answer.length.saturating_sub(answer.body.len() as u64);
    // A body that breaks off is what is there of it.
    let _ = stream.take(left).read_to_end(&mut answer.body);
    Ok(answer)
}

/// Gets an object, or the bytes from and up to these.
pub(super) fn get(to: SocketAddr, path: &str, range: Option<(u64, u64)>) -> Result<Answer, String> {
    let fields = range.map_or(String::new(), |(from, to)| {
        format!("Range: bytes={from}-{to}\r\n")
    });
    request(to, &format!("GET {path}"), &fields, &[])
}

/// Gets an object, or a part of it, without keeping it, and compares every byte. Says when the last
/// one came, since it began to connect.
pub(super) fn compare(
    to: SocketAddr,
    path: &str,
    range: Option<(u64, u64)>,
    expected: &[u8],
) -> Result<Duration, String> {
    Coming::ask(to, path, range, expected.len())?.rest(expected)
}

/// When the first byte of an object came, since the client began to connect. Then the connection
/// is closed.
pub(super) fn first_byte(to: SocketAddr, path: &str, expected: &[u8]) -> Result<Duration, String> {
    Coming::ask(to, path, None, expected.len())?.first_byte(expected)
}

/// A body that comes.
struct Coming {
    stream: TcpStream,
    begun: Instant,
    /// What came last.
    piece: Vec<u8>,
    /// Bytes that came before it, and were compared.
    at: usize,
}

impl Coming {
    fn ask(
        to: SocketAddr,
        path: &str,
        range: Option<(u64, u64)>,
        length: usize,
    ) -> Result<Self, String> {
        let begun = Instant::now();
        let fields = range.map_or(String::new(), |(from, to)| {
            format!("Range: bytes={from}-{to}\r\n")
        });
        let ask = || -> std::io::Result<TcpStream> {
            let mut stream = TcpStream::connect(to)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let head =
                format!("GET {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n{fields}\r\n");
            stream.write_all(head.as_bytes())?;
            Ok(stream)
        };
        let mut stream = ask().map_err(|error| error.to_string())?;
        let (text, piece) = head(&mut stream)?;
        let answer = parse(&text).ok_or_else(|| format!("not HTTP: {text:?}"))?;
        if ![200, 206].contains(&answer.status) || answer.length != length as u64 {
            return Err(format!("{} with {} bytes", answer.status, answer.length));
        }
        Ok(Self {
            stream,
            begun,
            piece,
            at: 0,
        })
    }

    /// Waits for the next piece, unless one is there.
    fn next(&mut self) -> Result<(), String> {
        if self.piece.is_empty() {
            self.piece.resize(PIECE, 0);
            let count = self.stream.read(&mut self.piece);
            let count = count.map_err(|error| error.to_string())?;
            if count == 0 {
                return Err(format!("ended after {} bytes", self.at));
            }
            self.piece.truncate(count);
        }
        Ok(())
    }

    fn first_byte(&mut self, expected: &[u8]) -> Result<Duration, String> {
        self.next()?;
        let first = self.begun.elapsed();
        if expected.starts_with(&self.piece) {
            Ok(first)
        } else {
            Err("other bytes from 0".to_owned())
        }
    }

    fn rest(mut self, expected: &[u8]) -> Result<Duration, String> {
        while self.at < expected.len() {
            self.next()?;
            if !expected[self.at..].starts_with(&self.piece) {
                return Err(format!("other bytes from {}", self.at));
            }
            self.at += self.piece.len();
            self.piece.clear();
        }
        Ok(self.begun.elapsed())
    }
}

fn head(stream: &mut TcpStream) -> Result<(String, Vec<u8>), String> {
    let mut got = Vec::new();
    let mut buffer = [0; 16 << 10];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Err("closed without an answer".to_owned()),
            Ok(count) => got.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Err(format!("no answer within {PATIENCE:?}"));
            }
            Err(error) => return Err(error.to_string()),
        }
        if let Some(end) = memchr::memmem::find(&got, b"\r\n\r\n") {
            let body = got.split_off(end + 4);
            return Ok((String::from_utf8_lossy(&got).into_owned(), body));
        }
        if got.len() > MOST_HEAD {
            return Err("a head without an end".to_owned());
        }
    }
}

fn parse(head: &str) -> Option<Answer> {
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let fields: Vec<_> = lines.filter_map(|line| line.split_once(':')).collect();
    let field = |name: &str| {
        let found = fields.iter().find(|(it, _)| it.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim())
    };
    let from = field("content-range").and_then(|range| {
        let range = range.strip_prefix("bytes ")?;
        range.split_once('-')?.0.parse().ok()
    });
    Some(Answer {
        status,
        etag: field("etag").map(str::to_owned),
        length: field("content-length")
            .and_then(|it| it.parse().ok())
            .unwrap_or(0),
        from: from.unwrap_or(0),
        body: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Answers one request with this.
    fn answering(text: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut got = Vec::new();
            while !got.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                got.push(byte[0]);
            }
            stream.write_all(text.as_bytes()).unwrap();
        });
        address
    }

    #[test]
    fn a_part_is_told_from_where_it_begins() {
        let text = "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 3-5/9\r\n\
                    ETag: \"x\"\r\ncontent-length: 3\r\n\r\nabc";
        let answer = get(answering(text), "/x", Some((3, 5))).unwrap();
        assert_eq!((answer.status, answer.from, answer.length), (206, 3, 3));
        assert_eq!(answer.etag.as_deref(), Some("\"x\""));
        assert!(answer.is_whole() && answer.body == b"abc");
    }

    #[test]
    fn another_byte_is_found_while_it_streams() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
        assert!(compare(answering(text), "/x", None, b"abc").is_ok());
        assert!(compare(answering(text), "/x", None, b"abd").is_err());
        assert!(compare(answering(text), "/x", None, b"abcd").is_err());
    }

    #[test]
    fn a_body_that_breaks_off_is_not_whole() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc";
        let answer = get(answering(text), "/x", None).unwrap();
        assert!(!answer.is_whole() && answer.body == b"abc");
        assert!(get(answering(""), "/x", None).is_err());
    }
}
