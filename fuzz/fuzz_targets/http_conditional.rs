//! Any request fields lead to a status that is possible for the method and the state of the file.
#![no_main]

use std::time::{Duration, SystemTime};

use arbitrary::Arbitrary;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, HeaderMap, HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    IF_RANGE, IF_UNMODIFIED_SINCE,
};
use http::{HeaderValue, Method};
use httpdate::fmt_http_date;
use libfuzzer_sys::fuzz_target;
use underpass_http::fuzzing::{negotiate, preconditions};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    reads: bool,
    seconds: Option<u32>,
    lines: Vec<(u8, Vec<Piece<'a>>)>,
}

#[derive(Arbitrary, Debug)]
enum Piece<'a> {
    Tag,
    Other,
    Weak,
    Quote,
    Comma,
    Star,
    Date(u32),
    Coding(u8),
    Weight(u8),
    Text(&'a [u8]),
}

impl Piece<'_> {
    fn written(&self) -> Vec<u8> {
        match *self {
            Self::Tag => TAG.into(),
            Self::Other => "\"2\"".into(),
            Self::Weak => "W/".into(),
            Self::Quote => "\"".into(),
            Self::Comma => ", ".into(),
            Self::Star => "*".into(),
            Self::Date(seconds) => fmt_http_date(time(seconds)).into(),
            Self::Coding(which) => CODINGS[usize::from(which) % CODINGS.len()].into(),
            Self::Weight(tenths) => format!(";q={}.{}", tenths / 10 % 2, tenths % 10).into(),
            Self::Text(text) => text.to_vec(),
        }
    }
}

fn time(seconds: u32) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into())
}

const NAMES: [HeaderName; 7] = [
    IF_MATCH,
    IF_NONE_MATCH,
    IF_UNMODIFIED_SINCE,
    IF_MODIFIED_SINCE,
    IF_RANGE,
    ACCEPT_ENCODING,
    ACCEPT,
];
const CODINGS: [&str; 6] = [
    "br",
    "gzip",
    "identity",
    "text/html",
    "application/json",
    "*/*",
];
const TAG: &str = "\"1\"";

fuzz_target!(|input: Input| {
    let field = |(name, pieces): &(u8, Vec<Piece>)| {
        let value = pieces
            .iter()
            .map(Piece::written)
            .collect::<Vec<_>>()
            .concat();
        let name = NAMES[usize::from(*name) % NAMES.len()].clone();
        Some((name, HeaderValue::from_bytes(&value).ok()?))
    };
    let headers: HeaderMap = input.lines.iter().filter_map(field).collect();
    let has = |name| headers.contains_key(name);
    // A tag that was parsed must occur in the text too.
    let named = |line: &HeaderValue| {
        let line = line.as_bytes().trim_ascii();
        line == b"*" || line.windows(TAG.len()).any(|it| it == TAG.as_bytes())
    };
    let mentions = |name| headers.get_all(name).iter().any(named);

    let method = if input.reads {
        Method::GET
    } else {
        Method::PUT
    };
    let modified = input.seconds.map(time);
    let (status, applies) = preconditions(&method, &headers, TAG, modified);
    match status {
        200 => assert!(!has(IF_MATCH) || mentions(IF_MATCH)),
        304 => assert!(
            input.reads
                && (mentions(IF_NONE_MATCH) || (has(IF_MODIFIED_SINCE) && !has(IF_NONE_MATCH)))
        ),
        412 => assert!(
            has(IF_MATCH) || has(IF_UNMODIFIED_SINCE) || (mentions(IF_NONE_MATCH) && !input.reads)
        ),
        status => panic!("{status}"),
    }
    assert!(applies || has(IF_RANGE));

    let (coding, json) = negotiate(&headers);
    assert!(coding.is_none() || has(ACCEPT_ENCODING));
    assert!(!json || has(ACCEPT));
});
