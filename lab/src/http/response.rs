//! The head of a response, parsed as far as the load needs it.

use memchr::{memchr, memmem};

use crate::error::{Error, Result};

/// Where the body begins, and how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) len: usize,
    pub(super) body: u64,
}

/// Parses a head; `None` until all of it has arrived.
///
/// # Errors
///
/// Anything but a 200 with a length.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Head>> {
    let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    let (head, len) = (&bytes[..end + 2], end + 4);
    if !head.starts_with(b"HTTP/1.1 200") {
        let line = head.split(|&byte| byte == b'\r').next().unwrap_or(head);
        let line = String::from_utf8_lossy(line);
        return Err(Error::new(format!("the server answered \"{line}\"")));
    }
    let body = content_length(head)
        .ok_or_else(|| Error::new("the server answered without a Content-Length"))?;
    Ok(Some(Head { len, body }))
}

fn content_length(mut head: &[u8]) -> Option<u64> {
    const NAME: &[u8] = b"content-length:";
    while let Some(end) = memchr(b'\n', head) {
        let line = &head[..end];
        if line.len() > NAME.len() && line[..NAME.len()].eq_ignore_ascii_case(NAME) {
            return str::from_utf8(&line[NAME.len()..])
                .ok()?
                .trim()
                .parse()
                .ok();
        }
        head = &head[end + 1..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_body_whatever_the_spelling() {
        for name in ["Content-Length", "content-length"] {
            let text = format!("HTTP/1.1 200 OK\r\nServer: x\r\n{name}: 12\r\n\r\nbody");
            let head = Head {
                len: text.len() - 4,
                body: 12,
            };
            assert_eq!(parse(text.as_bytes()), Ok(Some(head)));
            assert_eq!(parse(&text.as_bytes()[..text.len() - 5]), Ok(None));
        }
    }

    #[test]
    fn anything_else_is_an_error() {
        for text in [
            "HTTP/1.1 404 Not Found\r\nContent-Length: 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
