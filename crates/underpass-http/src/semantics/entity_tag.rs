//! Entity tags (RFC 9110 section 8.8.3).

use super::negotiate::Encoding;
use crate::sys::Version;

const WEAK: &str = "W/";

/// The tag of a file. It is made from the file's size and modification time, so that copies on
/// other machines have the same tag (`rsync -t`, images). It also contains the content coding,
/// because a coded file is another representation of the same resource (RFC 9110 section 8.8.3.3).
///
/// Reproducible builds give all files the same time, [which says nothing](is_no_time). Then the tag
/// is made from the inode and its change time instead. Other machines then have other tags, but a
/// later version of the file has another tag too.
///
/// The tag is strong as far as the file system's clock allows. Two writes of the same size in one
/// tick of the clock (1 to 10 ms before Linux 6.13's fine-grained times) cannot be told apart, nor
/// can a write whose time was set back. If a tick is a second or two, the tag of a file that has
/// just changed is weak (RFC 9110 section 8.8.1), so that no range relies on it.
pub(crate) fn of(version: &Version, coding: Option<Encoding>) -> String {
    let (dash, coding) = coding.map_or(("", ""), |it| ("-", it.token()));
    let weak = if version.may_have_a_double() {
        WEAK
    } else {
        ""
    };
    let Version { len, inode, .. } = version;
    let (seconds, nanoseconds) = version.modified;
    if is_no_time(seconds) {
        let (seconds, nanoseconds) = version.changed;
        return format!("{weak}\"{len:x}-{inode:x}-{seconds:x}-{nanoseconds:x}{dash}{coding}\"");
    }
    format!("{weak}\"{len:x}-{seconds:x}-{nanoseconds:x}{dash}{coding}\"")
}

/// The tag of an object, as its store says it. Some stores leave the quotes out. Without one it is
/// weak, because what is left to tell versions apart is the time in seconds.
pub(crate) fn of_object(stored: Option<&str>, version: &Version) -> String {
    let is_quotable = |it: &&str| it.bytes().all(|it| it == b'!' || it > b'"' && it < 0x7f);
    match stored {
        Some(tag) if single(tag.as_bytes()).is_some() => tag.to_owned(),
        Some(bare) if !bare.is_empty() && is_quotable(&bare) => format!("\"{bare}\""),
        _ => format!("{WEAK}\"{:x}-{:x}\"", version.len, version.modified.0),
    }
}

/// Whether a tag made by [`of`] or [`of_object`] is weak.
pub(crate) fn is_weak(ours: &str) -> bool {
    ours.starts_with(WEAK)
}

/// Times that say nothing about when a file was changed: OSTree sets all times to 0, Nix to 1.
pub(crate) fn is_no_time(seconds: i64) -> bool {
    matches!(seconds, 0 | 1)
}

/// A tag in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag<'a> {
    weak: bool,
    /// The tag with its quotes.
    opaque: &'a [u8],
}

/// Whether both are strong and the same (RFC 9110 section 8.8.3.2).
pub(crate) fn strong(tag: &Tag<'_>, ours: &str) -> bool {
    !tag.weak && !is_weak(ours) && tag.opaque == ours.as_bytes()
}

/// Whether they are the same, weak or not (RFC 9110 section 8.8.3.2).
pub(crate) fn weak(tag: &Tag<'_>, ours: &str) -> bool {
    tag.opaque == ours.strip_prefix(WEAK).unwrap_or(ours).as_bytes()
}

/// Parses a field that is a single tag.
pub(crate) fn single(field: &[u8]) -> Option<Tag<'_>> {
    let (tag, rest) = split_tag(field.trim_ascii())?;
    rest.is_empty().then_some(tag)
}

/// The members of a list of tags, up to the first that is malformed.
pub(crate) struct Tags<'a>(&'a [u8]);

impl<'a> Tags<'a> {
    pub(crate) fn of(line: &'a [u8]) -> Self {
        Self(line)
    }
}

impl<'a> Iterator for Tags<'a> {
    type Item = Tag<'a>;

    fn next(&mut self) -> Option<Tag<'a>> {
        // Empty members are skipped too (RFC 9110 section 5.6.1.2).
        let start = self
            .0
            .iter()
            .position(|byte| !matches!(byte, b' ' | b'\t' | b','));
        let (tag, rest) = split_tag(&self.0[start?..])?;
        let rest = rest.trim_ascii_start();
        self.0 = rest;
        matches!(rest, [] | [b',', ..]).then_some(tag)
    }
}

/// Splits off a tag. Inside a tag, commas and backslashes are ordinary characters.
fn split_tag(text: &[u8]) -> Option<(Tag<'_>, &[u8])> {
    let (weak, text) = match text.strip_prefix(b"W/") {
        Some(text) => (true, text),
        None => (false, text),
    };
    let inside = text.strip_prefix(b"\"")?;
    let end = memchr::memchr(b'"', inside)?;
    // etagc: no spaces and no control characters.
    let allowed = inside[..end]
        .iter()
        .all(|byte| *byte > b' ' && *byte != 0x7F);
    let (opaque, rest) = text.split_at(end + 2);
    allowed.then_some((Tag { weak, opaque }, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tag(weak: bool, opaque: &str) -> Tag<'_> {
        Tag {
            weak,
            opaque: opaque.as_bytes(),
        }
    }

    /// The examples of RFC 9110 section 8.8.3.2.
    #[test]
    fn the_comparisons_of_the_rfc() {
        for (theirs, ours, is_strong, is_weak) in [
            (tag(true, "\"1\""), "\"2\"", false, false),
            (tag(true, "\"1\""), "\"1\"", false, true),
            (tag(true, "\"1\""), "W/\"1\"", false, true),
            (tag(false, "\"1\""), "W/\"1\"", false, true),
            (tag(false, "\"1\""), "\"1\"", true, true),
        ] {
            assert_eq!(
                (strong(&theirs, ours), weak(&theirs, ours)),
                (is_strong, is_weak)
            );
        }
    }

    #[test]
    fn lists_are_read() {
        for (line, expected) in [
            // RFC 9110 section 13.1.2
            ("\"xyzzy\"", vec![tag(false, "\"xyzzy\"")]),
            ("W/\"xyzzy\"", vec![tag(true, "\"xyzzy\"")]),
            (
                "\"xyzzy\", \"r2d2xxxx\", \"c3piozzzz\"",
                vec![
                    tag(false, "\"xyzzy\""),
                    tag(false, "\"r2d2xxxx\""),
                    tag(false, "\"c3piozzzz\""),
                ],
            ),
            (
                "W/\"xyzzy\", W/\"r2d2xxxx\"",
                vec![tag(true, "\"xyzzy\""), tag(true, "\"r2d2xxxx\"")],
            ),
            (
                " ,, \"a,b\\\"\t,\"\" ,",
                vec![tag(false, "\"a,b\\\""), tag(false, "\"\"")],
            ),
            ("", vec![]),
            ("*", vec![]),
            ("a", vec![]),
            ("w/\"a\"", vec![]),
            ("W/ \"a\"", vec![]),
            ("\"a", vec![]),
            ("\"a b\"", vec![]),
            ("\"a\"b, \"c\"", vec![]),
            ("\"a\", b, \"c\"", vec![tag(false, "\"a\"")]),
        ] {
            assert_eq!(
                Tags::of(line.as_bytes()).collect::<Vec<_>>(),
                expected,
                "{line}"
            );
        }
    }

    #[test]
    fn a_single_tag_is_alone() {
        assert_eq!(single(b" W/\"a\" "), Some(tag(true, "\"a\"")));
        for field in [
            "",
            "a",
            "\"a\", \"b\"",
            "\"a\",",
            "Sun, 06 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(single(field.as_bytes()), None, "{field}");
        }
    }

    fn version(len: u64, modified: (i64, i64), inode: u64, changed: (i64, i64)) -> Version {
        Version {
            device: 1,
            inode,
            len,
            modified,
            changed,
        }
    }

    #[test]
    fn each_fact_makes_another_tag() {
        let plain = |len, modified| of(&version(len, modified, 4, (5, 6)), None);
        let tags = [
            plain(1, (2, 3)),
            plain(0, (2, 3)),
            plain(1, (7, 3)),
            plain(1, (-2, 3)),
            plain(1, (2, 0)),
            of(&version(1, (2, 3), 4, (5, 6)), Some(Encoding::Brotli)),
            of(&version(1, (2, 3), 4, (5, 6)), Some(Encoding::Gzip)),
        ];
        for (index, tag) in tags.iter().enumerate() {
            assert!(!tags[..index].contains(tag), "{tag}");
        }
    }

    #[test]
    fn replicas_agree_unless_their_times_say_nothing() {
        for (modified, agree) in [
            ((2, 0), true),
            ((-1, 0), true),
            ((0, 0), false),
            ((1, 0), false),
        ] {
            let here = of(&version(1, modified, 4, (5, 6)), None);
            for (inode, changed) in [(9, (5, 6)), (4, (9, 6)), (4, (5, 9))] {
                let there = of(&version(1, modified, inode, changed), None);
                assert_eq!(here == there, agree, "{modified:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_line_is_read(line: Vec<u8>) {
            for tag in Tags::of(&line) {
                prop_assert!(tag.opaque.len() >= 2);
            }
            let _ = single(&line);
        }

        #[test]
        fn what_is_written_is_read(
            tags in prop::collection::vec((any::<bool>(), "\"[!#-~]{0,8}\""), 0..5),
            separator in "[ \t]{0,2}(,[ \t]{0,2}){1,3}",
        ) {
            let written = |(weak, opaque): &(bool, String)| format!("{}{opaque}", if *weak { "W/" } else { "" });
            let line = tags.iter().map(written).collect::<Vec<_>>().join(&separator);
            let read: Vec<_> = Tags::of(line.as_bytes()).collect();
            let expected: Vec<_> = tags.iter().map(|(weak, opaque)| tag(*weak, opaque)).collect();
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn our_tags_match_themselves(length: u64, seconds: i64, nanoseconds in 0..1_000_000_000_i64, inode: u64) {
            let version = version(length, (seconds, nanoseconds), inode, (3, 4));
            let ours = of(&version, Some(Encoding::Zstd));
            let tag = single(ours.as_bytes()).unwrap();
            prop_assert!(strong(&tag, &ours) && weak(&tag, &ours));
        }
    }
}
