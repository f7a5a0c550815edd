//! Lists whose members have weights: `Accept`, `Accept-Encoding` (RFC 9110 sections 5.6.1 and
//! 12.4.2).

use http::header::{HeaderMap, HeaderName};

/// One member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member<'a> {
    /// The value before the parameters.
    pub value: &'a str,
    /// Its weight in thousandths; 1000 if none is given.
    pub weight: u16,
}

/// The members of all lines of a field. Lines that are not ASCII, and members whose weight is
/// malformed, are left out.
pub(crate) fn members<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = Member<'a>> {
    let lines = headers
        .get_all(name)
        .iter()
        .filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| split(line, b',')).filter_map(member)
}

fn member(text: &str) -> Option<Member<'_>> {
    let mut parts = split(text, b';');
    let value = parts.next().filter(|value| !value.is_empty())?;
    let mut weight = 1000;
    for parameter in parts {
        match parameter.split_once('=') {
            Some((name, digits)) if name.eq_ignore_ascii_case("q") => weight = thousandths(digits)?,
            None if parameter.eq_ignore_ascii_case("q") => return None,
            _ => {}
        }
    }
    Some(Member { value, weight })
}

/// A qvalue: from 0 to 1, with at most three digits after the dot.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction: u16 = format!("{fraction:0<3}").parse().ok()?;
    match (whole, fraction) {
        ("0", fraction) => Some(fraction),
        ("1", 0) => Some(1000),
        _ => None,
    }
}

/// Splits at separators outside quoted strings, and trims the parts.
fn split(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = outside_quotes(text, separator);
        rest = end.map(|end| &text[end + 1..]);
        Some(text[..end.unwrap_or(text.len())].trim_matches([' ', '\t']))
    })
}

fn outside_quotes(text: &str, separator: u8) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    text.bytes().position(|byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
        byte == separator && !quoted
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::ACCEPT;
    use proptest::prelude::*;

    use super::*;

    fn read(lines: &[&[u8]]) -> Vec<(String, u16)> {
        let field = |line: &&[u8]| (ACCEPT, HeaderValue::from_bytes(line).unwrap());
        let headers: HeaderMap = lines.iter().map(field).collect();
        members(&headers, &ACCEPT)
            .map(|it| (it.value.to_owned(), it.weight))
            .collect()
    }

    #[test]
    fn members_are_read() {
        for (line, expected) in [
            // RFC 9110 section 12.5.1
            (
                "audio/*; q=0.2, audio/basic",
                &[("audio/*", 200), ("audio/basic", 1000)][..],
            ),
            (
                "text/plain; q=0.5, text/html,\ttext/x-dvi; q=0.8, text/x-c",
                &[
                    ("text/plain", 500),
                    ("text/html", 1000),
                    ("text/x-dvi", 800),
                    ("text/x-c", 1000),
                ],
            ),
            ("text/html;level=1;q=0.4", &[("text/html", 400)]),
            (" ,a,, b ;q=1.000,", &[("a", 1000), ("b", 1000)]),
            ("a;x=\",;q=0\\\"\";q=0.25", &[("a", 250)]),
            (
                "a;q=1.001, b;q=0.1234, c;q=, d;q, e;q=0.5x, f;Q=0.",
                &[("f", 0)],
            ),
            ("a;q=\"0.5\", b;q = 0.5, c", &[("b", 1000), ("c", 1000)]),
            (";q=1", &[]),
            ("a;b=\"", &[("a", 1000)]),
        ] {
            let expected: Vec<_> = expected
                .iter()
                .map(|(value, weight)| ((*value).to_owned(), *weight))
                .collect();
            assert_eq!(read(&[line.as_bytes()]), expected, "{line}");
        }
    }

    #[test]
    fn lines_are_one_list() {
        let one = |value: &str| (value.to_owned(), 1000);
        assert_eq!(
            read(&[b"a, b", b"\xff", b"c"]),
            [one("a"), one("b"), one("c")]
        );
    }

    proptest! {
        #[test]
        fn weights_are_read(weight in 0..=1000_u16) {
            let text = format!("{}.{:03}", weight / 1000, weight % 1000);
            prop_assert_eq!(thousandths(&text), Some(weight));
            let short = text.trim_end_matches('0');
            prop_assert_eq!(thousandths(short), Some(weight));
        }

        #[test]
        fn weights_are_from_0_to_1(text in "[0-9.+-]{0,6}") {
            if let Some(weight) = thousandths(&text) {
                prop_assert_eq!(text.parse::<f64>().map(|it| (it * 1000.0).round()), Ok(f64::from(weight)));
                prop_assert!(weight <= 1000);
            }
        }

        #[test]
        fn pieces_make_the_whole(text in "[a,;\"\\\\]{0,12}") {
            let pieces: Vec<_> = split(&text, b',').collect();
            prop_assert_eq!(pieces.join(","), text);
        }
    }
}
