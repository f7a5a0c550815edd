//! The `Range` request field (RFC 9110 section 14.2).

use std::ops::Range;

use http::header::{HeaderMap, IF_MODIFIED_SINCE, IF_NONE_MATCH, RANGE};
use http::{HeaderValue, Method};

/// Requests for more ranges than this get the whole file, because many small ranges can be an
/// attack (RFC 9110 section 17.15). Viewers of PDF and video files request the most: about a dozen.
const MOST_RANGES: usize = 64;

/// Ranges that are closer than this are sent as one, because a part's head takes more bytes (RFC
/// 9110 section 15.3.7.2).
const PART_OVERHEAD: u64 = 80;

/// What a `Range` field asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ranges {
    /// The whole representation: the field is ignored.
    Whole,
    /// One range: 206 (Partial Content) with a `Content-Range`.
    One(Range<u64>),
    /// At least two: 206 with `multipart/byteranges`. None is empty, their gaps are larger than a
    /// part's head, and they are in the order of the request.
    Many(Vec<Range<u64>>),
    /// No range lies within the length: 416 (Range Not Satisfiable).
    Unsatisfiable,
}

/// Reads a `Range` field for a representation of `length` bytes.
///
/// The whole representation is sent for other units and malformed fields, as RFC 9110 section 14.2
/// allows, and for requests that are an attack or a mistake (section 17.15): more than 64 ranges,
/// or ranges that add up to more than twice the length.
///
/// It is also sent if the representation is empty, because a `Content-Range` cannot express an
/// empty range. A request for its beginning (`bytes=0-`) or end (`bytes=-1`) gets all of it.
pub(crate) fn parse(field: &HeaderValue, length: u64) -> Ranges {
    let specs = field.to_str().ok().and_then(specs);
    let Some(specs) = specs.filter(|_| length > 0) else {
        return Ranges::Whole;
    };
    let wanted: Vec<_> = specs
        .iter()
        .filter_map(|spec| spec.within(length))
        .collect();
    let total: u128 = wanted.iter().map(|it| u128::from(it.end - it.start)).sum();
    if total > 2 * u128::from(length) {
        return Ranges::Whole;
    }
    let mut merged = merge(wanted);
    match merged.len() {
        0 => Ranges::Unsatisfiable,
        1 => Ranges::One(merged.swap_remove(0)),
        _ => Ranges::Many(merged),
    }
}

/// Whether the response to a request will probably have the first byte of the representation: it
/// is a GET of all of it or of its beginning, by somebody who has no copy of it.
pub(crate) fn wants_first_byte(method: &Method, headers: &HeaderMap) -> bool {
    let has_copy = [IF_NONE_MATCH, IF_MODIFIED_SINCE]
        .iter()
        .any(|field| headers.contains_key(field));
    if method != Method::GET || has_copy {
        return false;
    }
    let field = headers.get(RANGE).and_then(|field| field.to_str().ok());
    field.and_then(specs).is_none_or(|specs| {
        let is_first = |spec: &Spec| matches!(spec, Spec::Between(0, _) | Spec::From(0));
        specs.iter().any(is_first)
    })
}

/// A range-spec (RFC 9110 section 14.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spec {
    /// From the first to the last position, both included.
    Between(u64, u64),
    /// From this position on.
    From(u64),
    /// This many bytes at the end.
    Last(u64),
}

/// The requested ranges, in bytes. None if the unit is not bytes, a range is malformed, or there
/// are too many.
fn specs(field: &str) -> Option<Vec<Spec>> {
    let (unit, set) = field.split_once('=')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let mut specs = Vec::new();
    // A recipient of a list must accept empty members (RFC 9110 section 5.6.1.2).
    for member in set
        .split(',')
        .map(|member| member.trim_matches([' ', '\t']))
    {
        if !member.is_empty() {
            specs.push(Spec::parse(member)?);
        }
        if specs.len() > MOST_RANGES {
            return None;
        }
    }
    (!specs.is_empty()).then_some(specs)
}

impl Spec {
    fn parse(text: &str) -> Option<Self> {
        match text.split_once('-')? {
            ("", last) => Some(Self::Last(position(last)?)),
            (first, "") => Some(Self::From(position(first)?)),
            (first, last) => {
                let (first, last) = (position(first)?, position(last)?);
                (first <= last).then_some(Self::Between(first, last))
            }
        }
    }

    /// The bytes that it selects from a representation of this length, if any.
    fn within(self, length: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::Between(first, last) => first..last.saturating_add(1).min(length),
            Self::From(first) => first..length,
            Self::Last(count) => length.saturating_sub(count)..length,
        };
        (!range.is_empty()).then_some(range)
    }
}

/// A number of any length. One that a `u64` cannot hold is beyond the end of every file, and so is
/// `u64::MAX`.
fn position(digits: &str) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.bytes().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        Some(number.saturating_mul(10).saturating_add(digit))
    })
}

/// Joins ranges that overlap or nearly touch. A joined range takes the place of its first part.
fn merge(wanted: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let mut merged: Vec<Range<u64>> = Vec::with_capacity(wanted.len());
    for mut range in wanted {
        let mut at = merged.len();
        // A range that has grown may now touch another one.
        while let Some(index) = merged.iter().position(|other| near(other, &range)) {
            let other = merged.remove(index);
            range = range.start.min(other.start)..range.end.max(other.end);
            at = at.min(index);
        }
        merged.insert(at, range);
    }
    merged
}

fn near(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.start < other.end.saturating_add(PART_OVERHEAD)
        && other.start < one.end.saturating_add(PART_OVERHEAD)
}

#[cfg(test)]
mod tests {
    use std::iter;

    use proptest::prelude::*;

    use super::*;

    fn read(field: &str, length: u64) -> Ranges {
        parse(&HeaderValue::from_str(field).unwrap(), length)
    }

    fn one(range: Range<u64>) -> Ranges {
        Ranges::One(range)
    }

    fn many<const N: usize>(ranges: [Range<u64>; N]) -> Ranges {
        Ranges::Many(Vec::from(ranges))
    }

    #[test]
    fn who_wants_the_first_byte() {
        for (method, fields, expected) in [
            (Method::GET, &[][..], true),
            (Method::HEAD, &[], false),
            (Method::GET, &[(RANGE, "bytes=0-")], true),
            (Method::GET, &[(RANGE, "bytes=9-, 0-0")], true),
            (Method::GET, &[(RANGE, "bytes=1-")], false),
            (Method::GET, &[(RANGE, "bytes=-5")], false),
            // All of it is sent.
            (Method::GET, &[(RANGE, "lines=5-")], true),
            (Method::GET, &[(RANGE, "bytes=5")], true),
            (Method::GET, &[(IF_NONE_MATCH, "\"a\"")], false),
            (Method::GET, &[(IF_MODIFIED_SINCE, "today")], false),
        ] {
            let fields = fields.iter().cloned();
            let fields = fields.map(|(name, value)| (name, HeaderValue::from_static(value)));
            let headers: HeaderMap = fields.collect();
            assert_eq!(wants_first_byte(&method, &headers), expected, "{headers:?}");
        }
    }

    /// RFC 9110 section 14.1.2, for its representation of 10000 bytes.
    #[test]
    fn the_examples_of_the_rfc() {
        for (field, expected) in [
            ("bytes=0-499", one(0..500)),
            ("bytes=500-999", one(500..1000)),
            ("bytes=-500", one(9500..10_000)),
            ("bytes=9500-", one(9500..10_000)),
            ("bytes=0-0,-1", many([0..1, 9999..10_000])),
            (
                "bytes= 0-999, 4500-5499, -1000",
                many([0..1000, 4500..5500, 9000..10_000]),
            ),
            ("bytes=500-600,601-999", one(500..1000)),
            ("bytes=500-700,601-999", one(500..1000)),
        ] {
            assert_eq!(read(field, 10_000), expected, "{field}");
        }
    }

    #[test]
    fn ranges_are_cut_to_the_length() {
        let max = u64::MAX;
        for (field, length, expected) in [
            ("bytes=0-", 1, one(0..1)),
            ("bytes=0-999", 10, one(0..10)),
            ("bytes=-999", 10, one(0..10)),
            ("bytes=9-9", 10, one(9..10)),
            ("BYTES=1-2", 10, one(1..3)),
            ("bytes=,\t1-2 , ,", 10, one(1..3)),
            ("bytes=3-5,10-,-0", 10, one(3..6)),
            ("bytes=0-18446744073709551615", max, one(0..max)),
            ("bytes=5-99999999999999999999999", max, one(5..max)),
            ("bytes=-99999999999999999999999", max, one(0..max)),
        ] {
            assert_eq!(read(field, length), expected, "{field}");
        }
    }

    #[test]
    fn ranges_outside_are_unsatisfiable() {
        for (field, length) in [
            ("bytes=10-", 10),
            ("bytes=10-20", 10),
            ("bytes=-0", 10),
            ("bytes=99999999999999999999999-", u64::MAX),
        ] {
            assert_eq!(read(field, length), Ranges::Unsatisfiable, "{field}");
        }
    }

    #[test]
    fn nothing_is_whole() {
        for field in [
            "bytes=0-",
            "bytes=0-0",
            "bytes=-1",
            "bytes=5-",
            "bytes=0-1,5-",
        ] {
            assert_eq!(read(field, 0), Ranges::Whole, "{field}");
        }
    }

    #[test]
    fn what_is_malformed_is_ignored() {
        for field in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes 0-5",
            "bytes =0-5",
            "lines=0-5",
            "bytes=5",
            "bytes=-",
            "bytes=--5",
            "bytes=5-4",
            "bytes=a-5",
            "bytes=0-5a",
            "bytes=0 - 5",
            "bytes=+0-5",
            "bytes=0-5;1-2",
            "bytes=0x0-5",
            "bytes=0-5,a",
            "bytes=0-1-2",
        ] {
            assert_eq!(read(field, 10), Ranges::Whole, "{field}");
        }
        let not_text = HeaderValue::from_bytes(b"bytes=0-\xff").unwrap();
        assert_eq!(parse(&not_text, 10), Ranges::Whole);
    }

    #[test]
    fn too_much_is_ignored() {
        let far = |count: usize| {
            let members: Vec<_> = (0..count).map(|it| format!("{0}-{0}", it * 1000)).collect();
            read(&format!("bytes={}", members.join(",")), 1 << 20)
        };
        assert!(matches!(far(MOST_RANGES), Ranges::Many(ranges) if ranges.len() == MOST_RANGES));
        assert_eq!(far(MOST_RANGES + 1), Ranges::Whole);
        assert_eq!(read("bytes=0-,0-", 10), one(0..10));
        assert_eq!(read("bytes=0-,0-,0-0", 10), Ranges::Whole);
        assert_eq!(read("bytes=0-,0-,0-", u64::MAX), Ranges::Whole);
    }

    #[test]
    fn near_ranges_are_joined_where_the_first_stood() {
        for (field, expected) in [
            ("bytes=0-9,89-99", one(0..100)),
            ("bytes=0-9,90-99", many([0..10, 90..100])),
            ("bytes=90-99,0-9", many([90..100, 0..10])),
            ("bytes=89-99,0-9", one(0..100)),
            (
                "bytes=900-909,500-509,0-9,450-460",
                many([900..910, 450..510, 0..10]),
            ),
            (
                "bytes=0-9,500-509,200-209,100-199,10-99",
                many([0..210, 500..510]),
            ),
        ] {
            assert_eq!(read(field, 1000), expected, "{field}");
        }
    }

    /// Which bytes are asked for, byte by byte, with gaps filled that are smaller than a part's
    /// head.
    fn model(specs: &[Spec], length: u64) -> Vec<bool> {
        let mut asked = vec![false; length as usize];
        for (position, asked) in (0..length).zip(&mut asked) {
            *asked = specs.iter().any(|spec| match *spec {
                Spec::Between(first, last) => first <= position && position <= last,
                Spec::From(first) => first <= position,
                Spec::Last(count) => length - position <= count,
            });
        }
        let edges: Vec<_> = (0..asked.len()).filter(|&it| asked[it]).collect();
        for pair in edges.windows(2) {
            if pair[1] - pair[0] - 1 < PART_OVERHEAD as usize {
                asked[pair[0]..pair[1]].fill(true);
            }
        }
        asked
    }

    fn spec() -> impl Strategy<Value = Spec> {
        prop_oneof![
            (0..2000_u64, 0..60_u64).prop_map(|(first, more)| Spec::Between(first, first + more)),
            (0..2000_u64).prop_map(Spec::From),
            (0..300_u64).prop_map(Spec::Last),
        ]
    }

    fn written(specs: &[Spec]) -> String {
        let members = specs.iter().map(|spec| match spec {
            Spec::Between(first, last) => format!("{first}-{last}"),
            Spec::From(first) => format!("{first}-"),
            Spec::Last(count) => format!("-{count}"),
        });
        format!("bytes={}", members.collect::<Vec<_>>().join(" ,"))
    }

    proptest! {
        #[test]
        fn any_field_is_answered_within_the_length(
            bytes in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..40),
                "bytes=([0-9]{0,21}-[0-9]{0,21},? ?){1,5}".prop_map(String::into_bytes),
            ],
            length: u64,
        ) {
            let Ok(field) = HeaderValue::from_bytes(&bytes) else { return Ok(()) };
            let ranges = match parse(&field, length) {
                Ranges::Whole | Ranges::Unsatisfiable => return Ok(()),
                Ranges::One(range) => vec![range],
                Ranges::Many(ranges) => {
                    prop_assert!(ranges.len() > 1);
                    ranges
                }
            };
            for (index, range) in ranges.iter().enumerate() {
                prop_assert!(range.start < range.end && range.end <= length);
                prop_assert!(!ranges[..index].iter().any(|other| near(other, range)));
            }
        }

        #[test]
        fn agrees_with_the_model(specs in prop::collection::vec(spec(), 1..8), length in 1..2000_u64) {
            let asked = model(&specs, length);
            let ranges = match read(&written(&specs), length) {
                Ranges::Whole => {
                    let bytes = |spec: &Spec| model(&[*spec], length).iter().filter(|it| **it).count();
                    prop_assert!(specs.iter().map(bytes).sum::<usize>() > 2 * length as usize);
                    return Ok(());
                }
                Ranges::Unsatisfiable => Vec::new(),
                Ranges::One(range) => vec![range],
                Ranges::Many(ranges) => ranges,
            };
            let mut got = vec![false; length as usize];
            for range in &ranges {
                got[range.start as usize..range.end as usize].fill(true);
            }
            prop_assert_eq!(got, asked);
            // Each range is in the place of its first spec.
            let first = |range: &Range<u64>| {
                specs.iter().position(|spec| {
                    spec.within(length).is_some_and(|it| range.contains(&it.start))
                })
            };
            prop_assert!(ranges.is_sorted_by_key(first));
        }
    }

    #[test]
    fn positions_of_any_length_are_read() {
        let long: String = iter::repeat_n('0', 4000).chain(['7']).collect();
        assert_eq!(position(&long), Some(7));
        assert_eq!(position("18446744073709551615"), Some(u64::MAX));
        assert_eq!(position("18446744073709551616"), Some(u64::MAX));
        assert_eq!(position("12345678901234567890123"), Some(u64::MAX));
    }
}
