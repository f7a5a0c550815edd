//! Converts request paths to names below a root, and back (RFC 3986 section 2.1, RFC 9112 section
//! 3.2.1).

use std::borrow::Cow;
use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

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

/// The directory of RFC 8615. It is served although its name begins with a dot.
const WELL_KNOWN: &[u8] = b".well-known";

/// A request path that names something below a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decoded<'a> {
    /// The components, joined by `/`; empty for the root. Components are bytes, as in the file
    /// system; none is empty, `.` or `..`, and none contains NUL.
    pub relative: Cow<'a, [u8]>,
    /// The path names a directory: it ended in `/` or in a dot segment.
    pub trailing_slash: bool,
    /// A component starts with `.` and is not `.well-known`.
    pub hidden: bool,
}

/// Why a path is invalid. The response is 400 (Bad Request).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadPath {
    /// It is not an absolute path: `*`, or an authority.
    NoSlash,
    /// `%` without two hexadecimal digits.
    Escape,
    /// A NUL, which no file name has.
    Nul,
    /// `%2F`: no file name contains a slash, and reading it as a separator would let it pass the
    /// checks of a proxy.
    Slash,
}

impl fmt::Display for BadPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSlash => "the path does not begin with '/'",
            Self::Escape => "the path has a '%' that two hexadecimal digits do not follow",
            Self::Nul => "the path has a NUL byte",
            Self::Slash => "the path has an encoded '/'",
        })
    }
}

impl std::error::Error for BadPath {}

/// Reads the path of a request target as it was sent, not yet decoded.
///
/// Dot segments are removed as in RFC 3986 section 5.2.4, those written as `%2e` too, and never
/// lead above the root. Empty segments (`//`) are dropped after that. A path that has none of these
/// and no escapes is borrowed.
pub(crate) fn decode(raw: &str) -> Result<Decoded<'_>, BadPath> {
    if !raw.starts_with('/') {
        return Err(BadPath::NoSlash);
    }
    let is_plain = !raw.contains(['%', '\0']) && !raw.contains("//") && !raw.contains("/.");
    let (relative, trailing_slash) = if is_plain {
        (
            Cow::Borrowed(raw.trim_matches('/').as_bytes()),
            raw.ends_with('/'),
        )
    } else {
        let (relative, trailing_slash) = resolve(raw)?;
        (Cow::Owned(relative), trailing_slash)
    };
    let mut components = relative.split(|byte| *byte == b'/');
    let hidden = !is_plain && components.any(|it| it.starts_with(b".") && it != WELL_KNOWN);
    Ok(Decoded {
        relative,
        trailing_slash,
        hidden,
    })
}

/// Decodes escapes, then removes dot segments and empty ones. The flag says that the path names a
/// directory.
fn resolve(raw: &str) -> Result<(Vec<u8>, bool), BadPath> {
    let mut segments: Vec<Vec<u8>> = Vec::new();
    let mut trailing_slash = false;
    for segment in raw.split('/').skip(1) {
        let segment = unescape(segment)?;
        trailing_slash = matches!(&*segment, b"" | b"." | b"..");
        match &*segment {
            b"." => {}
            b".." => drop(segments.pop()),
            _ => segments.push(segment),
        }
    }
    segments.retain(|segment| !segment.is_empty());
    Ok((segments.join(&b'/'), trailing_slash))
}

fn unescape(segment: &str) -> Result<Vec<u8>, BadPath> {
    let mut decoded = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => match octet(bytes.next(), bytes.next())? {
                b'/' => return Err(BadPath::Slash),
                byte => byte,
            },
            byte => byte,
        };
        if byte == 0 {
            return Err(BadPath::Nul);
        }
        decoded.push(byte);
    }
    Ok(decoded)
}

fn octet(high: Option<u8>, low: Option<u8>) -> Result<u8, BadPath> {
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
    match (digit(high), digit(low)) {
        (Some(high), Some(low)) => Ok((high << 4 | low) as u8),
        _ => Err(BadPath::Escape),
    }
}

/// The last component.
pub(crate) fn file_name(relative: &[u8]) -> &[u8] {
    split(relative).1
}

/// The last component, and the path of the directory that it is in: empty for the root.
pub(crate) fn split(relative: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memrchr(b'/', relative) {
        Some(slash) => (&relative[..slash], &relative[slash + 1..]),
        None => (b"", relative),
    }
}

/// The path of a name in a directory, which is empty for the root; with an empty name, that of the
/// directory itself.
pub(crate) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    match (directory, name) {
        (b"", name) => name.to_owned(),
        (directory, b"") => directory.to_owned(),
        (directory, name) => [directory, b"/", name].concat(),
    }
}

/// The absolute path that [`decode`] reads as `relative`, for `Location` and links.
///
/// It never begins with `//`, nor with `/\`, which browsers treat like `//`; so a redirect stays on
/// its host. With a `.` before it, it is relative to the requested directory, and so it is right
/// even if a router has removed a prefix. HTML attributes need `&` and `'` escaped.
pub(crate) fn encode(relative: &[u8]) -> String {
    let start = relative.iter().position(|byte| *byte != b'/');
    let relative = &relative[start.unwrap_or(relative.len())..];
    format!("/{}", percent_encode(relative, ESCAPED))
}

/// Normalises a name below a root to the form of [`Decoded::relative`]. An invalid name is returned
/// as it is.
pub(crate) fn below_root(name: &[u8]) -> Vec<u8> {
    let path = encode(name);
    decode(&path).map_or_else(|_| name.to_owned(), |it| it.relative.into_owned())
}

#[cfg(test)]
mod tests {
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_are_read() {
        for (raw, relative, trailing_slash, hidden) in [
            ("/", &b""[..], true, false),
            ("//", b"", true, false),
            ("/a", b"a", false, false),
            ("/a/", b"a", true, false),
            ("//a///b//", b"a/b", true, false),
            ("/a%20b/%C3%A4", "a b/\u{e4}".as_bytes(), false, false),
            ("/\u{e4}", "\u{e4}".as_bytes(), false, false),
            ("/caf%E9.txt", b"caf\xe9.txt", false, false),
            ("/%41%5c%5C", b"A\\\\", false, false),
            ("/%2541", b"%41", false, false),
            ("/a+b", b"a+b", false, false),
            ("/.git/config", b".git/config", false, true),
            ("/a/%2Egit", b"a/.git", false, true),
            ("/.well-known/a", b".well-known/a", false, false),
            ("/...", b"...", false, true),
            ("/a/..b", b"a/..b", false, true),
            ("/a..", b"a..", false, false),
            ("/%0A", b"\n", false, false),
        ] {
            let expected = Decoded {
                relative: relative.into(),
                trailing_slash,
                hidden,
            };
            assert_eq!(decode(raw), Ok(expected), "{raw}");
        }
    }

    /// RFC 3986 sections 5.2.4 and 5.4.2.
    #[test]
    fn pitfall_34_dot_segments_are_removed() {
        for (raw, relative, trailing_slash) in [
            ("/a/b/c/./../../g", &b"a/g"[..], false),
            ("/./g", b"g", false),
            ("/../g", b"g", false),
            ("/../../../g", b"g", false),
            ("/b/c/.", b"b/c", true),
            ("/b/c/..", b"b", true),
            ("/b/c/./", b"b/c", true),
            ("/./Packages.gz", b"Packages.gz", false),
            ("/.", b"", true),
            ("/..", b"", true),
            ("/a/..", b"", true),
            ("/%2e%2E/etc/passwd", b"etc/passwd", false),
            ("/a/.%2E/", b"", true),
            ("/a//../b", b"a/b", false),
            ("//../", b"", true),
            ("/.git/../a", b"a", false),
        ] {
            let decoded = decode(raw).unwrap();
            assert_eq!(*decoded.relative, *relative, "{raw}");
            assert_eq!(decoded.trailing_slash, trailing_slash, "{raw}");
            assert!(!decoded.hidden, "{raw}");
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
            ("/%4\u{e9}", BadPath::Escape),
            ("/a%00", BadPath::Nul),
            ("/a\0", BadPath::Nul),
            ("/a%2fb", BadPath::Slash),
            ("/%2F/etc", BadPath::Slash),
            ("/..%2fsecret", BadPath::Slash),
            // The bad escape is in a segment that `..` removes. It is an error all the same.
            ("/%zz/..", BadPath::Escape),
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
            assert_eq!(encode(relative.as_bytes()), encoded);
        }
        assert_eq!(encode(b"caf\xe9"), "/caf%E9");
    }

    /// The algorithm of RFC 3986 section 5.2.4, step by step, for a path whose escaped dots are
    /// decoded.
    fn remove_dot_segments(path: &str) -> String {
        let mut input = path.to_owned();
        let mut output = String::new();
        while !input.is_empty() {
            if let Some(rest) = input.strip_prefix("/./") {
                input = format!("/{rest}");
            } else if input == "/." {
                input = "/".to_owned();
            } else if let Some(rest) = input.strip_prefix("/../") {
                input = format!("/{rest}");
                output.truncate(output.rfind('/').unwrap_or(0));
            } else if input == "/.." {
                input = "/".to_owned();
                output.truncate(output.rfind('/').unwrap_or(0));
            } else {
                let end = input[1..].find('/').map_or(input.len(), |it| it + 1);
                output.push_str(&input[..end]);
                input.drain(..end);
            }
        }
        output
    }

    /// The rules, applied one by one, in the simplest way.
    fn model(raw: &str) -> Option<(Vec<Vec<u8>>, bool)> {
        for escape in raw.strip_prefix('/')?.split('%').skip(1) {
            u8::from_str_radix(escape.get(..2)?, 16).ok()?;
            if escape.starts_with('+') || ["2f", "2F", "00"].contains(&&escape[..2]) {
                return None;
            }
        }
        if raw.contains('\0') {
            return None;
        }
        let path = remove_dot_segments(&raw.replace("%2e", ".").replace("%2E", "."));
        let segments = path.split('/').filter(|it| !it.is_empty());
        let components = segments.map(|it| percent_decode_str(it).collect());
        Some((components.collect(), path.ends_with('/')))
    }

    proptest! {
        #[test]
        fn agrees_with_the_model(raw in "/?([a.\\x00ä]|/|/\\.\\./|%(2[eEfF]|00|41|c3|a4|[0-9a-z]{0,2})){0,10}/?") {
            let expected = model(&raw);
            let decoded = decode(&raw).ok();
            prop_assert_eq!(decoded.is_some(), expected.is_some());
            if let (Some(decoded), Some((components, trailing_slash))) = (decoded, expected) {
                prop_assert_eq!(decoded.hidden, components.iter().any(|it| it.starts_with(b".")));
                prop_assert_eq!(decoded.relative.into_owned(), components.join(&b'/'));
                prop_assert_eq!(decoded.trailing_slash, trailing_slash);
            }
        }

        #[test]
        fn anything_is_read_or_refused(rest: String) {
            let raw = format!("/{rest}");
            let decoded = decode(&raw).ok().map(|it| it.relative.into_owned());
            prop_assert_eq!(decoded, model(&raw).map(|(it, _)| it.join(&b'/')));
        }

        #[test]
        fn what_is_encoded_is_decoded(
            components in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..6), 0..4),
        ) {
            prop_assume!(!components.iter().any(|it| it == b"." || it == b".." || it.contains(&b'/') || it.contains(&0)));
            let relative = components.join(&b'/');
            let encoded = encode(&relative);
            prop_assert!(encoded.is_ascii() && !encoded.starts_with("//"));
            let decoded = decode(&encoded).unwrap();
            prop_assert_eq!(decoded.relative.into_owned(), relative);
        }
    }
}
