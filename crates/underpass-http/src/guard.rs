//! Refuses requests whose framing two parsers could read differently (RFC 9112 sections 2.2, 5.2, 6.3 and 11.2): hyper is
//! lenient about some of it, as the RFC allows, and a server behind a proxy had better not be.
//!
//! The guard looks at the bytes before hyper does, follows heads and bodies just far enough to know which is which, and
//! breaks what must be refused by putting a NUL in it. hyper then answers 400 in its turn and closes.

use memchr::{memchr, memmem};

use crate::account::Upgrade;

/// Longest part of a line that is remembered when a read ends in its middle: enough for the fields that matter. One of
/// those that is longer is refused, wherever reads end: what is not known to its end cannot be followed.
const REMEMBERED: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Guard {
    state: State,
    /// The beginning of a line whose end has not come yet.
    line: Vec<u8>,
    /// The last byte looked at.
    last: u8,
    length: Option<u64>,
    chunked: bool,
    /// The request would have the connection speak another protocol.
    offers_upgrade: bool,
    unseen: bool,
    refused: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before a request line, where empty lines are skipped (RFC 9112 section 2.2).
    #[default]
    Between,
    Head,
    Body(u64),
    /// Behind a request to upgrade: what comes next is HTTP, or not. That is known when it is answered.
    Offered,
    /// A chunked body: hyper reads it, and the connection ends after its response. Or no HTTP.
    Passing,
}

impl Guard {
    /// Looks at the next bytes of the stream.
    pub(crate) fn look(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let seen = match self.state {
                State::Offered => {
                    self.unseen = true;
                    self.state = State::Passing;
                    return;
                }
                State::Passing => return,
                State::Body(left) => self.skip(bytes.len(), left),
                State::Between | State::Head => self.line(bytes),
            };
            bytes = &mut bytes[seen..];
        }
    }

    /// Takes in what is known of the answer to a request to upgrade, before more bytes are looked at.
    pub(crate) fn decide(&mut self, upgrade: Upgrade) {
        if self.state == State::Offered {
            match upgrade {
                Upgrade::Undecided => {}
                Upgrade::Declined => self.state = State::Between,
                Upgrade::Accepted => self.state = State::Passing,
            }
        }
    }

    /// Bytes that may be another request have passed without a look: they came behind a request to upgrade, before its answer.
    pub(crate) fn has_passed_unseen(&self) -> bool {
        self.unseen
    }

    /// A head has begun and is not complete.
    pub(crate) fn is_in_head(&self) -> bool {
        self.state == State::Head || !self.line.is_empty()
    }

    /// Something was broken.
    pub(crate) fn has_refused(&self) -> bool {
        self.refused
    }

    /// All of every request has come, as far as is known: the next byte begins one.
    pub(crate) fn is_between(&self) -> bool {
        matches!(self.state, State::Between | State::Offered) && self.line.is_empty()
    }

    fn skip(&mut self, available: usize, left: u64) -> usize {
        let skipped = left.min(available as u64);
        self.state = match left - skipped {
            0 => self.end_of_request(),
            left => State::Body(left),
        };
        skipped as usize
    }

    /// Takes a line, or the part of it that is there.
    fn line(&mut self, bytes: &mut [u8]) -> usize {
        let Some(end) = memchr(b'\n', bytes) else {
            self.remember(bytes);
            return bytes.len();
        };
        let before = if end == 0 { self.last } else { bytes[end - 1] };
        let passes = if before != b'\r' {
            false
        } else if self.line.is_empty() {
            self.field(&bytes[..end.saturating_sub(1)])
        } else {
            self.remember(&bytes[..end]);
            let line = std::mem::take(&mut self.line);
            self.field(line.strip_suffix(b"\r").unwrap_or(&line))
        };
        self.last = b'\n';
        if !passes {
            bytes[end] = 0;
            self.refused = true;
        }
        end + 1
    }

    fn remember(&mut self, bytes: &[u8]) {
        let room = REMEMBERED - self.line.len().min(REMEMBERED);
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.last = bytes.last().copied().unwrap_or(self.last);
    }

    /// One whole line without its end. False if the request must be refused.
    fn field(&mut self, line: &[u8]) -> bool {
        if line.is_empty() {
            self.end_of_head();
            return true;
        }
        if self.state == State::Between {
            self.state = State::Head;
            // HTTP/2 unasked, which hyper would close on without a word (RFC 9113 section 3.4).
            // Another protocol: hyper would wait for the end of a head that never comes. A longer line is not known whole.
            let is_http = line.len() >= REMEMBERED || memmem::find(line, b" HTTP/").is_some();
            return is_http && !line.starts_with(b"PRI * ");
        }
        match line[0] {
            b'c' | b'C' => {
                if let Some(value) = value_of(line, b"content-length") {
                    self.length = std::str::from_utf8(value)
                        .ok()
                        .and_then(|value| value.trim().parse().ok());
                    return !self.chunked && line.len() < REMEMBERED;
                }
            }
            b't' | b'T' => {
                if let Some(value) = value_of(line, b"transfer-encoding") {
                    let again = std::mem::replace(&mut self.chunked, true);
                    return self.length.is_none()
                        && !again
                        && line.len() < REMEMBERED
                        && value.trim_ascii().eq_ignore_ascii_case(b"chunked");
                }
            }
            b'u' | b'U' if value_of(line, b"upgrade").is_some() => self.offers_upgrade = true,
            _ => {}
        }
        true
    }

    fn end_of_head(&mut self) {
        self.state = match (self.state, self.chunked, self.length.take()) {
            (State::Between, ..) => State::Between,
            (_, true, _) => State::Passing,
            (_, _, Some(length)) if length > 0 => State::Body(length),
            _ => self.end_of_request(),
        };
        self.chunked = false;
    }

    fn end_of_request(&mut self) -> State {
        if std::mem::take(&mut self.offers_upgrade) {
            State::Offered
        } else {
            State::Between
        }
    }
}

fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = line.split_at_checked(name.len())?;
    let value = rest.strip_prefix(b":")?;
    start.eq_ignore_ascii_case(name).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the guard makes of a stream that comes in pieces of this size.
    fn looked_at(stream: &[u8], piece: usize) -> Vec<u8> {
        let mut guard = Guard::default();
        let mut stream = stream.to_vec();
        for piece in stream.chunks_mut(piece) {
            guard.look(piece);
        }
        stream
    }

    fn is_refused(stream: &[u8]) -> bool {
        let refused: Vec<bool> = (1..=stream.len())
            .map(|piece| looked_at(stream, piece) != stream)
            .collect();
        assert!(
            refused.iter().all(|one| *one == refused[0]),
            "depends on how it is cut: {}",
            stream.escape_ascii()
        );
        refused[0]
    }

    #[test]
    fn what_everybody_reads_alike_passes() {
        for stream in [
            &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
            b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
            b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\na\nb\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"PUT / HTTP/1.1\r\nTransfer-Encoding: Chunked \r\nHost: a\r\n\r\n5\r\na\nb\n\n\r\n0\r\n\r\n",
            b"GET / HTTP/1.1\r\nContent-Length: 0\r\n\r\nGET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            assert!(!is_refused(stream), "{}", stream.escape_ascii());
        }
    }

    #[test]
    fn what_two_parsers_could_read_differently_is_refused() {
        let spaces = " ".repeat(REMEMBERED);
        let long_length = format!("PUT / HTTP/1.1\r\nContent-Length:{spaces}5\r\n\r\na\nb\n\n");
        let long_coding = format!("PUT / HTTP/1.1\r\nTransfer-Encoding:{spaces}chunked\r\n\r\n");
        for stream in [
            long_length.as_bytes(),
            long_coding.as_bytes(),
            b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            &b"GET / HTTP/1.1\nHost: a\r\n\r\n"[..],
            b"GET / HTTP/1.1\r\nHost: a\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n\n",
            b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"PUT / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n",
            b"PUT / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
            b"GET / HTTP/1.1\r\nContent-Length: 2\r\n\r\nabGET / HTTP/1.1\nHost: a\r\n\r\n",
        ] {
            assert!(is_refused(stream), "{}", stream.escape_ascii());
        }
    }

    /// Of another protocol, as far as the guard is concerned.
    const FOREIGN: &[u8] = b"\x81\n\n\r\nGET\n";

    #[test]
    fn what_follows_an_upgrade_is_not_touched() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n";
        let with_body = b"PUT / HTTP/1.1\r\nUpgrade: a\r\nContent-Length: 2\r\n\r\nok";
        for request in [&head[..], with_body] {
            for upgrade in [Upgrade::Undecided, Upgrade::Accepted] {
                let mut guard = Guard::default();
                guard.look(&mut request.to_vec());
                guard.decide(upgrade);
                let mut foreign = FOREIGN.to_vec();
                guard.look(&mut foreign);
                assert_eq!(foreign, FOREIGN);
                assert_eq!(guard.has_passed_unseen(), upgrade == Upgrade::Undecided);
            }
            assert!(!is_refused(&[request, FOREIGN].concat()));
        }
    }

    #[test]
    fn what_follows_a_declined_upgrade_is_looked_at() {
        let mut guard = Guard::default();
        guard.look(&mut b"GET / HTTP/1.1\r\nUpgrade: h2c\r\nHost: a\r\n\r\n".to_vec());
        assert!(guard.is_between());
        guard.decide(Upgrade::Declined);
        guard.look(&mut b"GET / HTTP/1.1\nHost: a\n\n".to_vec());
        assert!(guard.has_refused() && !guard.has_passed_unseen());
    }

    #[test]
    fn after_a_chunked_body_nothing_is_looked_at() {
        let mut guard = Guard::default();
        let mut head = *b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        guard.look(&mut head);
        assert_eq!(guard.state, State::Passing);
    }
}
