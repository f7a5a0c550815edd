//! Refuses requests whose framing two parsers could understand differently (RFC 9112 sections 2.2,
//! 5.2, 6.3 and 11.2), which is how requests are smuggled past a proxy. hyper is lenient in some of
//! these cases, as the RFC allows.
//!
//! The check reads the bytes before hyper does, and hyper sees only complete heads. It follows
//! bodies just far enough to know where the next head begins. In place of a head that is refused,
//! hyper gets the head of a special request. So the refusal is answered in order, and logged like
//! any other request.

use http::{Method, StatusCode};
use memchr::{memchr, memmem};

use crate::server::refusal::{Refusal, TOO_LARGE, bad};
use crate::server::state::UpgradeAnswer;
use chunked_body::ChunkedBody;

mod chunked_body;

/// What hyper reads in place of a refused head. Clients cannot send this method, because the check
/// refuses it.
pub(crate) const REFUSED_HEAD: &[u8] =
    b"UNDERPASS-REFUSED * HTTP/1.1\r\nhost:\r\nconnection: close\r\n\r\n";

/// The method of [`REFUSED_HEAD`].
pub(crate) const REFUSED: &str = "UNDERPASS-REFUSED";

const UNKNOWN_CODING: Refusal = Refusal {
    status: StatusCode::NOT_IMPLEMENTED,
    reason: "the request's transfer coding is not known: only chunked is\n",
};

#[derive(Debug)]
pub(crate) struct FramingCheck {
    state: State,
    head_limits: HeadLimits,
    /// The bytes that were checked last end in an incomplete head.
    in_head: bool,
    /// The number of complete heads.
    heads: u64,
    /// The request has an Upgrade field.
    offers_upgrade: bool,
    passed_unchecked: bool,
    refusal: Option<Refusal>,
}

/// The largest head that is accepted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadLimits {
    pub(crate) bytes: usize,
    pub(crate) fields: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before a head, or in empty lines before it (RFC 9112 section 2.2).
    #[default]
    BetweenRequests,
    Body(u64),
    Chunked(ChunkedBody),
    /// After a request to upgrade. Whether HTTP follows is known when it is answered.
    UpgradeOffered,
    /// Nothing more is checked: after a chunked body, because the connection is closed after its
    /// response; or after an upgrade.
    Ended,
}

impl FramingCheck {
    pub(crate) fn new(head_limits: HeadLimits) -> Self {
        Self {
            state: State::default(),
            head_limits,
            in_head: false,
            heads: 0,
            offers_upgrade: false,
            passed_unchecked: false,
            refusal: None,
        }
    }

    /// Checks the next bytes of the stream, and returns how many of them hyper may see. The
    /// remaining bytes are the beginning of a head, and have to be passed again together with the
    /// bytes that follow.
    pub(crate) fn check(&mut self, bytes: &mut [u8]) -> usize {
        let mut seen = 0;
        self.in_head = false;
        while seen < bytes.len() && self.refusal.is_none() {
            let rest = &mut bytes[seen..];
            seen += match self.state {
                State::Ended => rest.len(),
                State::UpgradeOffered => {
                    self.passed_unchecked = true;
                    self.state = State::Ended;
                    rest.len()
                }
                State::Body(left) => self.skip(rest.len(), left),
                State::Chunked(chunks) => self.parse(chunks, rest),
                State::BetweenRequests => match self.head(rest) {
                    Some(length) => length,
                    None => break,
                },
            };
        }
        seen
    }

    /// Says how a request to upgrade was answered. To be called before more bytes are checked.
    pub(crate) fn decide(&mut self, upgrade: UpgradeAnswer) {
        if self.state == State::UpgradeOffered {
            match upgrade {
                UpgradeAnswer::Undecided => {}
                UpgradeAnswer::Declined => self.state = State::BetweenRequests,
                UpgradeAnswer::Accepted => self.state = State::Ended,
            }
        }
    }

    /// Whether bytes that may be another request were passed on unchecked: they came after a
    /// request to upgrade, before it was answered.
    pub(crate) fn has_passed_unchecked(&self) -> bool {
        self.passed_unchecked
    }

    /// Whether a head has begun and is not complete.
    pub(crate) fn is_in_head(&self) -> bool {
        self.in_head
    }

    /// The number, counted from 1, of the request whose body is not complete.
    pub(crate) fn in_body_of(&self) -> Option<u64> {
        matches!(self.state, State::Body(_) | State::Chunked(_)).then_some(self.heads)
    }

    /// Why the connection was refused; nothing more is passed on then.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        self.refusal
    }

    /// Whether all requests are complete, so that the next byte begins another one.
    pub(crate) fn is_between_requests(&self) -> bool {
        matches!(self.state, State::BetweenRequests | State::UpgradeOffered) && !self.in_head
    }

    /// Whether nothing more of a request is to come, as far as is known.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_between_requests() || self.state == State::Ended
    }

    fn skip(&mut self, available: usize, left: u64) -> usize {
        let skipped = left.min(available as u64);
        self.state = match left - skipped {
            0 => self.after_request(),
            left => State::Body(left),
        };
        skipped as usize
    }

    fn parse(&mut self, mut chunks: ChunkedBody, bytes: &[u8]) -> usize {
        let followed = chunks.parse(bytes);
        self.state = State::Chunked(chunks);
        match followed {
            Ok(count) => {
                if chunks.is_ended() {
                    self.state = State::Ended;
                }
                count
            }
            Err(refusal) => {
                self.refusal = Some(refusal);
                0
            }
        }
    }

    /// The length of the head at the beginning of the bytes, if it is complete and accepted.
    fn head(&mut self, bytes: &mut [u8]) -> Option<usize> {
        let mut empty_lines = 0;
        while bytes[empty_lines..].starts_with(b"\r\n") {
            empty_lines += 2;
        }
        if empty_lines == bytes.len() {
            return Some(empty_lines);
        }
        match self.read_head(&mut bytes[empty_lines..]) {
            Ok(Some(length)) => {
                self.heads += 1;
                return Some(empty_lines + length);
            }
            Ok(None) if bytes.len() > self.head_limits.bytes => self.refusal = Some(TOO_LARGE),
            Ok(None) => {}
            Err(refusal) => self.refusal = Some(refusal),
        }
        self.in_head = true;
        None
    }

    fn read_head(&mut self, bytes: &mut [u8]) -> Result<Option<usize>, Refusal> {
        let mut lines = Lines { bytes, at: 0 };
        let Some(line) = lines.next()? else {
            return begins_as_method(bytes).map(|()| None);
        };
        let newer = is_newer(check_request_line(line)?);
        let end_of_line = lines.at - 2;
        let mut framing = Framing::default();
        let mut fields = 0;
        loop {
            match lines.next()? {
                None => return Ok(None),
                Some([]) => break,
                Some(field) => framing.field(field)?,
            }
            fields += 1;
            if fields > self.head_limits.fields {
                return Err(TOO_LARGE);
            }
        }
        let length = lines.at;
        if length > self.head_limits.bytes {
            return Err(TOO_LARGE);
        }
        if newer {
            // A higher minor version is treated as 1.1, the highest that is supported (RFC 9110
            // section 6.2). hyper would refuse it.
            bytes[end_of_line - 1] = b'1';
        }
        self.offers_upgrade = framing.offers_upgrade;
        self.state = match (framing.chunked, framing.length) {
            (true, _) => State::Chunked(ChunkedBody::default()),
            (_, Some(length)) if length > 0 => State::Body(length),
            _ => self.after_request(),
        };
        Ok(Some(length))
    }

    fn after_request(&mut self) -> State {
        if std::mem::take(&mut self.offers_upgrade) {
            State::UpgradeOffered
        } else {
            State::BetweenRequests
        }
    }
}

/// Iterates over the lines of a head, without their line ends.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Lines<'a> {
    /// The next line; `None` if its end has not come.
    fn next(&mut self) -> Result<Option<&'a [u8]>, Refusal> {
        let rest = &self.bytes[self.at..];
        let Some(end) = memchr(b'\n', rest) else {
            return Ok(None);
        };
        self.at += end + 1;
        match rest[..end].split_last() {
            Some((b'\r', line)) => Ok(Some(line)),
            _ => Err(bad("a line of the request's head ends in a bare LF\n")),
        }
    }
}

/// TLS and other protocols may never send a line end. Without this check the server would wait for
/// one.
fn begins_as_method(bytes: &[u8]) -> Result<(), Refusal> {
    let method = bytes.split(|byte| *byte == b' ').next().unwrap_or_default();
    if Method::from_bytes(method).is_ok() || bytes == b"\r" {
        Ok(())
    } else {
        Err(bad("this is not an HTTP request\n"))
    }
}

fn check_request_line(line: &[u8]) -> Result<&[u8], Refusal> {
    if memmem::find(line, b" HTTP/").is_none() {
        Err(bad("this is not an HTTP request\n"))
    } else if line.starts_with(b"PRI * ") {
        // HTTP/2 with prior knowledge. hyper would close the connection without a response (RFC
        // 9113 section 3.4).
        Err(bad("HTTP/2 is not spoken here\n"))
    } else if line.starts_with(REFUSED.as_bytes()) {
        Err(bad("this method is reserved\n"))
    } else {
        Ok(line)
    }
}

/// Whether a request line ends in HTTP/1.2 or later.
fn is_newer(line: &[u8]) -> bool {
    line.split_last()
        .is_some_and(|(minor, line)| (b'2'..=b'9').contains(minor) && line.ends_with(b" HTTP/1."))
}

/// What the fields of a head say about where the request ends, and what follows it.
#[derive(Default)]
struct Framing {
    offers_upgrade: bool,
    length: Option<u64>,
    chunked: bool,
}

impl Framing {
    fn field(&mut self, line: &[u8]) -> Result<(), Refusal> {
        match line[0] {
            b'c' | b'C' => {
                if let Some(value) = value_of(line, b"content-length") {
                    // If hyper would read a value differently, it refuses the value.
                    let value = std::str::from_utf8(value).ok();
                    self.length = value.and_then(|value| value.trim().parse().ok());
                    return self.is_clear();
                }
            }
            b't' | b'T' => {
                if let Some(value) = value_of(line, b"transfer-encoding") {
                    check_codings(value)?;
                    if std::mem::replace(&mut self.chunked, true) {
                        return Err(bad("the request has more than one Transfer-Encoding\n"));
                    }
                    return self.is_clear();
                }
            }
            b'u' | b'U' if value_of(line, b"upgrade").is_some() => self.offers_upgrade = true,
            _ => {}
        }
        Ok(())
    }

    fn is_clear(&self) -> Result<(), Refusal> {
        if self.chunked && self.length.is_some() {
            let reason = "the request has both Content-Length and Transfer-Encoding\n";
            return Err(bad(reason));
        }
        Ok(())
    }
}

/// RFC 9112 sections 6.1 and 7: an unknown coding is 501; chunked anywhere but last is 400.
fn check_codings(value: &[u8]) -> Result<(), Refusal> {
    let chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let value = value.trim_ascii();
    if chunked(value) {
        return Ok(());
    }
    let codings: Vec<_> = value
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .collect();
    let (_, others) = codings.split_last().unwrap_or((&&b""[..], &[]));
    let is_coding = |coding: &&[u8]| {
        let name = coding
            .split(|byte| *byte == b';')
            .next()
            .unwrap_or_default();
        // A method is a token, too.
        Method::from_bytes(name.trim_ascii()).is_ok()
    };
    if others.iter().any(|it| chunked(it)) || !codings.iter().all(is_coding) {
        return Err(bad(
            "the request's Transfer-Encoding is not a list of codings that ends in chunked\n",
        ));
    }
    Err(UNKNOWN_CODING)
}

fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = line.split_at_checked(name.len())?;
    let value = rest.strip_prefix(b":")?;
    start.eq_ignore_ascii_case(name).then_some(value)
}

#[cfg(test)]
mod tests;
