//! Apache's Combined Log Format: `%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i"`.

use std::borrow::Cow;
use std::io::Write;
use std::net::IpAddr;

use http::HeaderValue;
use underpass_http::Exchange;

use crate::commands::serve::auth;
use crate::values::date;

pub(super) fn line(line: &mut Vec<u8>, exchange: &Exchange, client: Option<IpAddr>, users: bool) {
    let request = exchange.request.as_deref();
    let user = request
        .and_then(|request| request.authorization.as_ref())
        .filter(|_| users)
        .and_then(auth::name_in);
    // Writing to memory does not fail.
    let _ = write!(line, "{} - ", host(client));
    // A space in a user name would shift the fields after it.
    word(line, user.as_deref().unwrap_or_default());
    let _ = write!(line, " [{}] \"", date::common_log(exchange.at));
    escaped(line, &request_line(exchange));
    let _ = match exchange.status {
        Some(status) => write!(line, "\" {} ", status.as_u16()),
        None => write!(line, "\" - "),
    };
    let _ = match exchange.bytes {
        0 => write!(line, "-"),
        bytes => write!(line, "{bytes}"),
    };
    for field in [
        request.and_then(|request| request.referer.as_ref()),
        request.and_then(|request| request.user_agent.as_ref()),
    ] {
        line.extend_from_slice(b" \"");
        escaped(line, field.map_or(b"-", HeaderValue::as_bytes));
        line.push(b'"');
    }
    line.push(b'\n');
}

/// A notice about an exchange that did not complete.
pub(super) fn incomplete(exchange: &Exchange, client: Option<IpAddr>) -> String {
    let mut request = Vec::new();
    escaped(&mut request, &request_line(exchange));
    let (host, request) = (host(client), String::from_utf8_lossy(&request));
    let bytes = exchange.bytes;
    format!("{host}: \"{request}\": the response broke off after {bytes} bytes of its body at most")
}

/// The client's IP address; `-` for a Unix socket.
pub(super) fn host(client: Option<IpAddr>) -> String {
    client.map_or_else(|| "-".to_owned(), |address| address.to_string())
}

/// The request line. For a malformed request, what came in its place.
pub(super) fn request_line(exchange: &Exchange) -> Cow<'_, [u8]> {
    match (&exchange.request, &exchange.malformed) {
        (Some(it), _) => format!("{} {} {:?}", it.method, it.uri, it.version)
            .into_bytes()
            .into(),
        (None, Some(line)) if !line.is_empty() => (&**line).into(),
        _ => b"-"[..].into(),
    }
}

/// Writes a user name as `%u` does: `-` if there is none.
fn word(line: &mut Vec<u8>, text: &str) {
    if text.is_empty() {
        line.push(b'-');
        return;
    }
    for part in text.split_inclusive(' ') {
        escaped(line, part.trim_end_matches(' ').as_bytes());
        if part.ends_with(' ') {
            line.extend_from_slice(b"\\x20");
        }
    }
}

/// Escapes as Apache does: a backslash before quotes and backslashes, C escapes for white space,
/// and `\xhh` for everything else that is not printable ASCII.
pub(super) fn escaped(line: &mut Vec<u8>, text: &[u8]) {
    for &byte in text {
        match byte {
            b'"' | b'\\' => line.extend_from_slice(&[b'\\', byte]),
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            b'\t' => line.extend_from_slice(b"\\t"),
            0x08 => line.extend_from_slice(b"\\b"),
            0x0b => line.extend_from_slice(b"\\v"),
            b' '..=b'~' => line.push(byte),
            _ => _ = write!(line, "\\x{byte:02x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    fn escaped(text: &[u8]) -> String {
        let mut line = Vec::new();
        super::escaped(&mut line, text);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn nothing_raw_gets_through() {
        assert_eq!(escaped(b"plain /a?b=c"), "plain /a?b=c");
        assert_eq!(escaped(b"\" \\"), "\\\" \\\\");
        assert_eq!(escaped(b"\x1b[31m\0\x7f"), "\\x1b[31m\\x00\\x7f");
        assert_eq!(escaped("ä\n".as_bytes()), "\\xc3\\xa4\\n");
        let all: Vec<u8> = (0..=255).collect();
        assert!(
            escaped(&all)
                .bytes()
                .all(|byte| (b' '..=b'~').contains(&byte))
        );
    }

    #[test]
    fn a_name_is_one_word() {
        let word = |text| {
            let mut line = Vec::new();
            super::word(&mut line, text);
            String::from_utf8(line).unwrap()
        };
        assert_eq!(word(""), "-");
        assert_eq!(word("ann b  c"), "ann\\x20b\\x20\\x20c");
    }
}
