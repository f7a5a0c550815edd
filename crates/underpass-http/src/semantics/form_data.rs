//! Bodies of `multipart/form-data` (RFC 7578), parsed as they arrive.
//!
//! Data is passed on as it comes; at most the head of a part is held in memory.

use bytes::{Buf as _, Bytes, BytesMut};
use memchr::memmem;

/// The longest head of a part. Names of files have up to 255 bytes, and are sent percent-encoded
/// at worst.
const MAX_HEAD: usize = 8 << 10;

/// RFC 2046 section 5.1.1.
const MAX_BOUNDARY: usize = 70;

/// What comes next in a form.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A part begins.
    Part(PartHead),
    /// Bytes of its content.
    Data(Bytes),
    /// Its content ends.
    PartEnd,
    /// The form ends. What follows has no meaning.
    End,
}

/// The head of a part.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct PartHead {
    /// The name of the form's field.
    pub(crate) name: Vec<u8>,
    /// The name of the file, if the part is one. Empty if none was chosen.
    pub(crate) file_name: Option<Vec<u8>>,
}

/// A body that is no form: why.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the first delimiter.
    Preamble,
    /// Behind a delimiter.
    Delimiter,
    Head,
    Data,
    /// The content of a part was passed on.
    DataEnd,
    End,
}

pub(crate) struct FormData {
    /// The line break that belongs to the delimiter, two hyphens and the boundary.
    delimiter: Vec<u8>,
    buffer: BytesMut,
    state: State,
}

impl FormData {
    /// `content_type` is the value of Content-Type.
    pub(crate) fn new(content_type: &str) -> Result<Self, Malformed> {
        let mut parts = content_type.splitn(2, ';');
        let kind = parts.next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("multipart/form-data") {
            return Err(Malformed(
                "a form for files has the type multipart/form-data",
            ));
        }
        let parameters = parts.next().unwrap_or_default().as_bytes();
        let boundary = parameter(parameters, b"boundary").unwrap_or_default();
        if boundary.is_empty() || boundary.len() > MAX_BOUNDARY {
            return Err(Malformed("the form has no valid boundary"));
        }
        Ok(Self {
            delimiter: [b"\r\n--", &*boundary].concat(),
            // The first delimiter needs no line break before it.
            buffer: BytesMut::from(&b"\r\n"[..]),
            state: State::Preamble,
        })
    }

    /// Adds bytes of the body.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next event; `None` if more of the body is needed.
    pub(crate) fn next(&mut self) -> Result<Option<Event>, Malformed> {
        loop {
            match self.state {
                State::Preamble => {
                    let Some(at) = memmem::find(&self.buffer, &self.delimiter) else {
                        self.buffer.advance(self.surely_before_delimiter());
                        return Ok(None);
                    };
                    self.buffer.advance(at + self.delimiter.len());
                    self.state = State::Delimiter;
                }
                State::Delimiter => match self.buffer.get(..2) {
                    None => return Ok(None),
                    Some(b"--") => self.state = State::End,
                    Some(b"\r\n") => {
                        // The line break stays: a head without fields is an empty line.
                        self.state = State::Head;
                    }
                    Some(_) => {
                        return Err(Malformed("a line of the form is longer than its boundary"));
                    }
                },
                State::Head => return self.head(),
                State::Data => return Ok(self.data()),
                State::DataEnd => {
                    self.state = State::Delimiter;
                    return Ok(Some(Event::PartEnd));
                }
                State::End => {
                    self.buffer.clear();
                    return Ok(Some(Event::End));
                }
            }
        }
    }

    fn head(&mut self) -> Result<Option<Event>, Malformed> {
        let Some(end) = memmem::find(&self.buffer, b"\r\n\r\n") else {
            return match self.buffer.len() {
                ..=MAX_HEAD => Ok(None),
                _ => Err(Malformed("the head of a part of the form is too large")),
            };
        };
        if end > MAX_HEAD {
            return Err(Malformed("the head of a part of the form is too large"));
        }
        let head = self.buffer.split_to(end + 4);
        self.state = State::Data;
        Ok(Some(Event::Part(part_head(&head))))
    }

    fn data(&mut self) -> Option<Event> {
        if let Some(at) = memmem::find(&self.buffer, &self.delimiter) {
            let data = self.buffer.split_to(at).freeze();
            self.buffer.advance(self.delimiter.len());
            if data.is_empty() {
                self.state = State::Delimiter;
                return Some(Event::PartEnd);
            }
            self.state = State::DataEnd;
            return Some(Event::Data(data));
        }
        let count = self.surely_before_delimiter();
        (count > 0).then(|| Event::Data(self.buffer.split_to(count).freeze()))
    }

    /// How many bytes at the beginning of the buffer cannot be part of a delimiter, if it contains
    /// no whole one.
    fn surely_before_delimiter(&self) -> usize {
        self.buffer.len().saturating_sub(self.delimiter.len() - 1)
    }
}

fn part_head(head: &[u8]) -> PartHead {
    let mut found = PartHead::default();
    for line in head.split(|byte| *byte == b'\n') {
        let Some(colon) = memchr::memchr(b':', line) else {
            continue;
        };
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if name.eq_ignore_ascii_case(b"content-disposition") {
            let parameters = memchr::memchr(b';', value).map_or(&b""[..], |at| &value[at + 1..]);
            found.name = parameter(parameters, b"name").unwrap_or_default();
            found.file_name = parameter(parameters, b"filename");
        }
    }
    found
}

/// The value of a parameter in `a=b; c="d"`. In quotes, a backslash escapes a quote only: some
/// clients send paths of Windows.
fn parameter(mut text: &[u8], wanted: &[u8]) -> Option<Vec<u8>> {
    while let Some(equals) = memchr::memchr(b'=', text) {
        let name = text[..equals].trim_ascii();
        let (value, rest) = match text[equals + 1..].trim_ascii_start() {
            [b'"', quoted @ ..] => quoted_string(quoted),
            token => {
                let end = memchr::memchr(b';', token).unwrap_or(token.len());
                (token[..end].trim_ascii().to_vec(), &token[end..])
            }
        };
        if name.eq_ignore_ascii_case(wanted) {
            return Some(unescaped(&value));
        }
        let next = memchr::memchr(b';', rest)?;
        text = &rest[next + 1..];
    }
    None
}

/// The content up to the closing quote, and what follows it.
fn quoted_string(text: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut value = Vec::new();
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match (byte, text.get(at + 1)) {
            (b'"', _) => return (value, &text[at + 1..]),
            (b'\\', Some(b'"')) => {
                value.push(b'"');
                at += 1;
            }
            _ => value.push(byte),
        }
        at += 1;
    }
    (value, &[])
}

/// Browsers escape these three characters, and no others (HTML Standard, multipart/form-data).
fn unescaped(value: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(value.len());
    let mut rest = value;
    while let [byte, after @ ..] = rest {
        let (byte, after) = match rest.get(..3).map(<[u8]>::to_ascii_uppercase).as_deref() {
            Some(b"%22") => (b'"', &rest[3..]),
            Some(b"%0D") => (b'\r', &rest[3..]),
            Some(b"%0A") => (b'\n', &rest[3..]),
            _ => (*byte, after),
        };
        plain.push(byte);
        rest = after;
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TYPE: &str = "multipart/form-data; boundary=b";

    /// A part: its name, its file's name, and its content.
    type Part = (String, Option<String>, Vec<u8>);

    /// Parses `body`, which arrives in pieces of `step` bytes.
    fn parse(body: &[u8], step: usize) -> Result<Vec<Part>, Malformed> {
        let mut form = FormData::new(TYPE)?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let mut parts = Vec::new();
        for piece in body.chunks(step) {
            form.push(piece);
            while let Some(event) = form.next()? {
                match event {
                    Event::Part(head) => {
                        parts.push((text(head.name), head.file_name.map(text), Vec::new()));
                    }
                    Event::Data(bytes) => parts.last_mut().unwrap().2.extend_from_slice(&bytes),
                    Event::PartEnd => {}
                    Event::End => return Ok(parts),
                }
            }
        }
        Err(Malformed("cut"))
    }

    const FORM: &[u8] = b"preamble\r\n--b\r\nContent-Disposition: form-data; name=\"exists\"\r\n\r\nskip\r\n\
        --b\r\ncontent-type: text/plain\r\ncontent-disposition: form-data; filename=\"a \\\"%22;.txt\"; name=file\r\n\r\n\
        one\r\n--\r\n--\r\n--b\r\n\r\n\r\n--b--\r\nepilogue";

    #[test]
    fn a_form_is_parsed_however_it_arrives() {
        for step in [1, 2, 3, 7, 64, FORM.len()] {
            let parts = parse(FORM, step).unwrap();
            assert_eq!(
                parts[0],
                ("exists".into(), None, b"skip".to_vec()),
                "{step}"
            );
            let file = (
                "file".into(),
                Some("a \"\";.txt".into()),
                b"one\r\n--\r\n--".to_vec(),
            );
            assert_eq!(parts[1], file, "{step}");
            assert_eq!(parts[2], (String::new(), None, Vec::new()), "{step}");
            assert_eq!(parts.len(), 3);
        }
    }

    #[test]
    fn what_is_no_form_is_refused() {
        for kind in [
            "text/plain",
            "multipart/form-data",
            "multipart/form-data; boundary=\"\"",
        ] {
            assert!(FormData::new(kind).is_err(), "{kind}");
        }
        assert!(FormData::new("Multipart/Form-Data; charset=x; boundary=\"a b\"").is_ok());
        assert!(parse(b"--b\r\nX: y", 1).is_err());
        assert!(parse(b"--bx\r\n", 1).is_err());
        let long = [b"--b\r\nX: ".to_vec(), vec![b'y'; 2 * MAX_HEAD]].concat();
        let refused = parse(&long, 100).unwrap_err();
        assert!(refused.0.contains("too large"), "{refused:?}");
    }

    proptest! {
        #[test]
        fn any_content_arrives_whole(content: Vec<u8>, step in 1_usize..40) {
            prop_assume!(memmem::find(&content, b"\r\n--b").is_none());
            let head = b"--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"n\"\r\n\r\n";
            let body = [&head[..], &content, b"\r\n--b--"].concat();
            let parts = parse(&body, step).unwrap();
            prop_assert_eq!(&parts[0].2, &content);
        }

        #[test]
        fn no_body_is_a_panic(body: Vec<u8>, step in 1_usize..40) {
            let _ = parse(&body, step);
            let _ = parse(&[b"--b\r\n", &*body].concat(), step);
        }
    }
}
