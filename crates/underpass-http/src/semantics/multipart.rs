//! Several ranges in one body: `multipart/byteranges` (RFC 9110 section 14.6, RFC 2046 section
//! 5.1).

use std::ops::Range;

/// A body of several ranges, without the file's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Multipart {
    /// The parts, in the order in which they are sent.
    pub parts: Vec<Part>,
    /// The text that ends the body.
    pub closing: String,
    boundary: String,
}

/// One range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// The boundary and the header that are sent before the bytes.
    pub head: String,
    /// The bytes of the file.
    pub range: Range<u64>,
}

impl Multipart {
    /// A body of these ranges of a file of `total` bytes. No range may be empty.
    ///
    /// The boundary has at most 70 letters and digits. It must be random, because the file's bytes
    /// must not contain it, and they are not searched for it.
    pub(crate) fn new(
        ranges: Vec<Range<u64>>,
        total: u64,
        content_type: Option<&str>,
        boundary: &str,
    ) -> Self {
        let content_type =
            content_type.map_or_else(String::new, |it| format!("Content-Type: {it}\r\n"));
        let part = |range: Range<u64>| {
            let (first, last) = (range.start, range.end - 1);
            // The line end before a boundary belongs to the boundary, not to the bytes before it.
            // The first boundary may have one too (RFC 9110 section 14.6): nginx and Apache send
            // it, and zsync relies on it.
            let head = format!(
                "\r\n--{boundary}\r\n{content_type}Content-Range: bytes {first}-{last}/{total}\r\n\r\n"
            );
            Part { head, range }
        };
        Self {
            parts: ranges.into_iter().map(part).collect(),
            closing: format!("\r\n--{boundary}--\r\n"),
            boundary: boundary.to_owned(),
        }
    }

    /// The length of the body.
    pub(crate) fn content_length(&self) -> u64 {
        let part = |part: &Part| part.head.len() as u64 + (part.range.end - part.range.start);
        self.parts.iter().map(part).sum::<u64>() + self.closing.len() as u64
    }

    /// The value of the response's `Content-Type`.
    pub(crate) fn content_type(&self) -> String {
        format!("multipart/byteranges; boundary={}", self.boundary)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn body(multipart: &Multipart, file: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        for part in &multipart.parts {
            body.extend_from_slice(part.head.as_bytes());
            body.extend_from_slice(&file[part.range.start as usize..part.range.end as usize]);
        }
        body.extend_from_slice(multipart.closing.as_bytes());
        body
    }

    /// The example of RFC 9110 section 15.3.7.2 is a PDF; this one is shorter.
    #[test]
    fn parts_stand_between_boundaries() {
        let file = b"0123456789";
        let multipart = Multipart::new(vec![5..10, 0..1], 10, Some("text/plain"), "THIS");
        let expected = "\r\n--THIS\r\nContent-Type: text/plain\r\nContent-Range: bytes 5-9/10\r\n\r\n56789\
            \r\n--THIS\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-0/10\r\n\r\n0\
            \r\n--THIS--\r\n";
        assert_eq!(body(&multipart, file), expected.as_bytes());
        assert_eq!(
            multipart.content_type(),
            "multipart/byteranges; boundary=THIS"
        );
    }

    #[test]
    fn a_type_that_is_not_known_is_left_out() {
        let multipart = Multipart::new(vec![0..2, 4..5], 10, None, "B");
        assert_eq!(
            multipart.parts[0].head,
            "\r\n--B\r\nContent-Range: bytes 0-1/10\r\n\r\n"
        );
    }

    proptest! {
        #[test]
        fn the_length_is_that_of_the_body(
            ranges in prop::collection::vec((0..500_usize, 1..500_usize), 1..6),
            content_type in prop::option::of("[a-z]{1,9}/[a-z]{1,9}"),
            boundary in "[0-9a-zA-Z]{1,70}",
        ) {
            let file = vec![b'.'; 1000];
            let ranges: Vec<_> = ranges.into_iter().map(|(start, more)| start as u64..(start + more) as u64).collect();
            let multipart = Multipart::new(ranges.clone(), 1000, content_type.as_deref(), &boundary);
            let body = body(&multipart, &file);
            prop_assert_eq!(multipart.content_length(), body.len() as u64);

            // A reader that splits at the boundary finds each part's bytes again.
            let text = String::from_utf8(body).unwrap();
            let delimiter = format!("\r\n--{boundary}");
            let mut pieces: Vec<_> = text.split(delimiter.as_str()).collect();
            prop_assert_eq!(pieces.pop(), Some("--\r\n"));
            prop_assert_eq!(pieces.remove(0), "");
            prop_assert_eq!(pieces.len(), ranges.len());
            for (piece, range) in pieces.iter().zip(&ranges) {
                let (head, bytes) = piece.split_once("\r\n\r\n").unwrap();
                let content_range = format!("Content-Range: bytes {}-{}/1000", range.start, range.end - 1);
                prop_assert!(head.ends_with(&content_range));
                prop_assert_eq!(bytes.len() as u64, range.end - range.start);
            }
        }
    }
}
