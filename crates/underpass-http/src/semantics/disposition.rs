//! `Content-Disposition`: whether a file is shown or saved, and its name (RFC 6266).

use std::fmt::Write as _;

use http::HeaderValue;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What a browser does with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disposition {
    Inline,
    Attachment,
}

/// Everything but attr-char (RFC 8187 section 3.2.1).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

impl Disposition {
    /// The field's value.
    ///
    /// A name that `filename` cannot hold is sent twice: in `filename*` as it is, and in `filename`
    /// with `_` for what is not ASCII, for old clients. Such are names that are not ASCII, and
    /// those with `%`, which some clients decode. Slashes, backslashes and control characters
    /// become `_` in both, because no client may use them.
    pub(crate) fn field(self, name: &str) -> HeaderValue {
        let kind = match self {
            Self::Inline => "inline",
            Self::Attachment => "attachment",
        };
        let is_unusable = |char: char| matches!(char, '/' | '\\') || char.is_control();
        let name = name.replace(is_unusable, "_");
        let is_plain = |char: char| char.is_ascii() && char != '%';
        let mut value = format!("{kind}; filename=\"");
        for char in name.chars() {
            match char {
                '"' => value.push_str("\\\""),
                char if is_plain(char) => value.push(char),
                _ => value.push('_'),
            }
        }
        value.push('"');
        if !name.chars().all(is_plain) {
            let name = utf8_percent_encode(&name, ESCAPED);
            // Writing to a string does not fail.
            _ = write!(value, "; filename*=UTF-8''{name}");
        }
        // All of it is printable ASCII.
        HeaderValue::try_from(value).unwrap_or(HeaderValue::from_static(kind))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_written_as_clients_read_them() {
        for (name, expected) in [
            ("report.pdf", r#"attachment; filename="report.pdf""#),
            ("a b;c,d=.txt", r#"attachment; filename="a b;c,d=.txt""#),
            (
                r#"say "hi".txt"#,
                r#"attachment; filename="say \"hi\".txt""#,
            ),
            (r"..\..\a/b", r#"attachment; filename=".._.._a_b""#),
            (
                "a\r\nSet-Cookie: b",
                r#"attachment; filename="a__Set-Cookie: b""#,
            ),
            // RFC 6266 section 5.
            (
                "\u{20ac} rates",
                "attachment; filename=\"_ rates\"; filename*=UTF-8''%E2%82%AC%20rates",
            ),
            (
                "50%25.txt",
                "attachment; filename=\"50_25.txt\"; filename*=UTF-8''50%2525.txt",
            ),
            (
                "it's (ä).txt",
                "attachment; filename=\"it's (_).txt\"; filename*=UTF-8''it%27s%20%28%C3%A4%29.txt",
            ),
            ("", "attachment; filename=\"\""),
        ] {
            assert_eq!(Disposition::Attachment.field(name), expected, "{name:?}");
        }
        assert_eq!(
            Disposition::Inline.field("a.png"),
            "inline; filename=\"a.png\""
        );
    }

    proptest! {
        #[test]
        fn any_name_is_printable_and_found_again(name: String) {
            let value = Disposition::Inline.field(&name);
            let value = value.to_str().unwrap();
            let usable = name.replace(|c: char| matches!(c, '/' | '\\') || c.is_control(), "_");
            if let Some((_, coded)) = value.split_once("; filename*=UTF-8''") {
                let decoded = percent_encoding::percent_decode_str(coded);
                prop_assert_eq!(decoded.decode_utf8().unwrap(), usable);
            } else {
                let quoted = value.strip_prefix("inline; filename=\"").unwrap();
                let quoted = quoted.strip_suffix('"').unwrap();
                prop_assert_eq!(quoted.replace("\\\"", "\""), usable);
            }
        }
    }
}
