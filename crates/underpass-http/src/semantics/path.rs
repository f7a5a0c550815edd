//! Request paths to names below a root, and back (RFC 3986 section 2.1, RFC 9112 section 3.2.1).

use std::borrow::Cow;
use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What RFC 3986 section 3.3 does not allow in a path: everything but pchar and `/`.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    // unreserved
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    // sub-delims
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    // the rest of a path
    .remove(b':')
    .remove(b'@')
    .remove(b'/');

/// Made to be served, dot or not (RFC 8615).
const WELL_KNOWN: &str = ".well-known";

/// A request path that names something below a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decoded<'a> {
    /// Its components, joined by `/`; empty for the root. None is empty, `.` or `..`, and there is no NUL.
    pub relative: Cow<'a, str>,
    /// It ended in `/`: a directory is asked for.
    pub trailing_slash: bool,
    /// A component starts with `.` and is not `.well-known`.
    pub hidden: bool,
}

/// Why a path names nothing; the answer is 400 (Bad Request).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadPath {
    /// It is no absolute path: `*`, or an authority.
    NoSlash,
    /// `%` without two hexadecimal digits.
    Escape,
    /// A NUL, which no file name has.
    Nul,
    /// `%2F`: no file name has a slash, and to take it for a separator would let it past those who look before us.
    Slash,
    /// The bytes are not UTF-8.
    Utf8,
    /// A component is `.` or `..`. Clients resolve these before they send (RFC 3986 section 5.2.4).
    Dots,
}

impl fmt::Display for BadPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSlash => "the path does not begin with '/'",
            Self::Escape => "the path has a '%' that two hexadecimal digits do not follow",
            Self::Nul => "the path has a NUL byte",
            Self::Slash => "the path has an encoded '/'",
            Self::Utf8 => "the path is not UTF-8",
            Self::Dots => "the path has a '.' or '..' component",
        })
    }
}

impl std::error::Error for BadPath {}

/// Reads the path of a request target as it was sent, not yet decoded. Empty segments (`//`) are dropped.
///
/// A path without escapes and empty segments is borrowed.
pub(crate) fn decode(raw: &str) -> Result<Decoded<'_>, BadPath> {
    if !raw.starts_with('/') {
        return Err(BadPath::NoSlash);
    }
    let path = raw.trim_matches('/');
    let relative = if path.contains('%') || path.contains("//") {
        Cow::Owned(unescape(path)?)
    } else {
        Cow::Borrowed(path)
    };
    if relative.contains('\0') {
        return Err(BadPath::Nul);
    }
    let mut hidden = false;
    for component in relative.split('/') {
        if matches!(component, "." | "..") {
            return Err(BadPath::Dots);
        }
        hidden |= component.starts_with('.') && component != WELL_KNOWN;
    }
    Ok(Decoded {
        relative,
        trailing_slash: raw.ends_with('/'),
        hidden,
    })
}

/// Decodes escapes and drops empty segments. No escape becomes a `/`, so components stay apart.
fn unescape(path: &str) -> Result<String, BadPath> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => match octet(bytes.next(), bytes.next())? {
                b'/' => return Err(BadPath::Slash),
                byte => decoded.push(byte),
            },
            b'/' if decoded.last() == Some(&b'/') => {}
            byte => decoded.push(byte),
        }
    }
    String::from_utf8(decoded).map_err(|_| BadPath::Utf8)
}

fn octet(high: Option<u8>, low: Option<u8>) -> Result<u8, BadPath> {
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
    match (digit(high), digit(low)) {
        (Some(high), Some(low)) => Ok((high << 4 | low) as u8),
        _ => Err(BadPath::Escape),
    }
}

/// The absolute path that [`decode`] reads as `relative`, for `Location` and links.
///
/// It never begins with `//`, nor with the `/\` that browsers take for it, so a redirect stays on its host. With a `.`
/// before it, it is relative to the directory that was asked for, which holds also where a router has cut a prefix off.
/// HTML attributes need `&` and `'` escaped.
pub(crate) fn encode(relative: &str) -> String {
    let relative = relative.trim_start_matches('/');
    format!("/{}", utf8_percent_encode(relative, ESCAPED))
}

#[cfg(test)]
mod tests {
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_are_read() {
        for (raw, relative, trailing_slash, hidden) in [
            ("/", "", true, false),
            ("//", "", true, false),
            ("/a", "a", false, false),
            ("/a/", "a", true, false),
            ("//a///b//", "a/b", true, false),
            ("/a%20b/%C3%A4", "a b/ä", false, false),
            ("/ä", "ä", false, false),
            ("/%41%5c%5C", "A\\\\", false, false),
            ("/%2541", "%41", false, false),
            ("/a+b", "a+b", false, false),
            ("/.git/config", ".git/config", false, true),
            ("/a/%2Egit", "a/.git", false, true),
            ("/...", "...", false, true),
            ("/a/..b", "a/..b", false, true),
            ("/a..", "a..", false, false),
            ("/%0A", "\n", false, false),
        ] {
            let expected = Decoded {
                relative: relative.into(),
                trailing_slash,
                hidden,
            };
            assert_eq!(decode(raw), Ok(expected), "{raw}");
        }
    }

    #[test]
    fn bad_paths_are_refused() {
        for (raw, why) in [
            ("", BadPath::NoSlash),
            ("*", BadPath::NoSlash),
            ("a/b", BadPath::NoSlash),
            ("%2Fa", BadPath::NoSlash),
            ("/%zz", BadPath::Escape),
            ("/%4", BadPath::Escape),
            ("/%", BadPath::Escape),
            ("/a%/b", BadPath::Escape),
            ("/%+4", BadPath::Escape),
            ("/%4é", BadPath::Escape),
            ("/a%00", BadPath::Nul),
            ("/a\0", BadPath::Nul),
            ("/a%2fb", BadPath::Slash),
            ("/%2F/etc", BadPath::Slash),
            ("/%ff", BadPath::Utf8),
            ("/%c3/%a4", BadPath::Utf8),
            ("/.", BadPath::Dots),
            ("/a/./b", BadPath::Dots),
            ("/..", BadPath::Dots),
            ("/a/../b", BadPath::Dots),
            ("/%2e%2e/etc/passwd", BadPath::Dots),
            ("/a/.%2E/", BadPath::Dots),
            ("//../", BadPath::Dots),
        ] {
            assert_eq!(decode(raw), Err(why), "{raw}");
            assert!(!why.to_string().contains('\n'));
        }
    }

    #[test]
    fn plain_paths_are_borrowed() {
        let borrowed = |raw| matches!(decode(raw).unwrap().relative, Cow::Borrowed(_));
        assert!(borrowed("/assets/app.js"));
        assert!(!borrowed("/assets/app%2Ejs"));
    }

    #[test]
    fn redirects_stay_on_their_host() {
        for (relative, encoded) in [
            ("", "/"),
            ("//evil.example", "/evil.example"),
            ("\\evil.example", "/%5Cevil.example"),
            ("\t/evil.example", "/%09/evil.example"),
            ("a b/c?d#e%", "/a%20b/c%3Fd%23e%25"),
            ("-._~!$&'()*+,;=:@", "/-._~!$&'()*+,;=:@"),
            ("<\">", "/%3C%22%3E"),
            ("ä\r\n", "/%C3%A4%0D%0A"),
        ] {
            assert_eq!(encode(relative), encoded);
        }
    }

    /// The rules one by one, slowly.
    fn model(raw: &str) -> Option<Vec<String>> {
        let mut components = Vec::new();
        for segment in raw
            .strip_prefix('/')?
            .split('/')
            .filter(|it| !it.is_empty())
        {
            let escapes = segment.split('%').skip(1);
            for escape in escapes {
                u8::from_str_radix(escape.get(..2)?, 16).ok()?;
                if escape.starts_with('+') {
                    return None;
                }
            }
            let component = percent_decode_str(segment).decode_utf8().ok()?;
            if component == "." || component == ".." || component.contains(['\0', '/']) {
                return None;
            }
            components.push(component.into_owned());
        }
        Some(components)
    }

    proptest! {
        #[test]
        fn agrees_with_the_model(raw in "/?([a.\\x00ä]|/|%(2[eEfF]|00|41|c3|a4|[0-9a-z]{0,2})){0,8}/?") {
            let expected = model(&raw);
            let decoded = decode(&raw).ok();
            prop_assert_eq!(decoded.as_ref().map(|it| it.relative.to_string()), expected.as_ref().map(|it| it.join("/")));
            if let (Some(decoded), Some(components)) = (decoded, expected) {
                prop_assert_eq!(decoded.hidden, components.iter().any(|it| it.starts_with('.')));
            }
        }

        #[test]
        fn anything_is_read_or_refused(rest: String) {
            let raw = format!("/{rest}");
            prop_assert_eq!(decode(&raw).ok().map(|it| it.relative.into_owned()), model(&raw).map(|it| it.join("/")));
        }

        #[test]
        fn what_is_encoded_is_decoded(components in prop::collection::vec("[^/\\x00]{1,6}", 0..4)) {
            prop_assume!(!components.iter().any(|it| it == "." || it == ".."));
            let relative = components.join("/");
            let encoded = encode(&relative);
            prop_assert!(encoded.is_ascii() && !encoded.starts_with("//"));
            let decoded = decode(&encoded).unwrap();
            prop_assert_eq!(decoded.relative, relative);
        }
    }
}
