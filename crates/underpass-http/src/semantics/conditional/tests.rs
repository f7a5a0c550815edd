use proptest::prelude::*;

use super::*;

use Outcome::{NotModified, PreconditionFailed, Proceed};

const OURS: &str = "\"ours\"";
const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

fn current() -> Validators<'static> {
    Validators {
        etag: OURS,
        modified: last_modified(784_111_777),
    }
}

fn headers(lines: &[(HeaderName, &str)]) -> HeaderMap {
    lines
        .iter()
        .map(|(name, value)| (name.clone(), value.parse().unwrap()))
        .collect()
}

/// The outcomes of GET and of PUT.
fn outcomes(lines: &[(HeaderName, &str)], current: Option<&Validators<'_>>) -> [Outcome; 2] {
    let headers = headers(lines);
    let [get, head, put, delete] = [Method::GET, Method::HEAD, Method::PUT, Method::DELETE]
        .map(|method| evaluate(&method, &headers, current));
    assert_eq!((get, put), (head, delete));
    [get, put]
}

#[test]
fn one_precondition() {
    for (name, value, get, put) in [
        (IF_MATCH, "*", Proceed, Proceed),
        (IF_MATCH, OURS, Proceed, Proceed),
        (
            IF_MATCH,
            "\"other\"",
            PreconditionFailed,
            PreconditionFailed,
        ),
        (IF_MATCH, "\"other\", \"ours\"", Proceed, Proceed),
        (IF_MATCH, "\"other,\", \"ours\"", Proceed, Proceed),
        (
            IF_MATCH,
            "\"other, \"ours\"",
            PreconditionFailed,
            PreconditionFailed,
        ),
        (
            IF_MATCH,
            "W/\"ours\"",
            PreconditionFailed,
            PreconditionFailed,
        ),
        (IF_MATCH, "ours", PreconditionFailed, PreconditionFailed),
        (IF_MATCH, "", PreconditionFailed, PreconditionFailed),
        (IF_NONE_MATCH, "*", NotModified, PreconditionFailed),
        (IF_NONE_MATCH, OURS, NotModified, PreconditionFailed),
        (IF_NONE_MATCH, "W/\"ours\"", NotModified, PreconditionFailed),
        (
            IF_NONE_MATCH,
            "\"other\" , W/\"ours\"",
            NotModified,
            PreconditionFailed,
        ),
        (IF_NONE_MATCH, "\"other\"", Proceed, Proceed),
        (IF_NONE_MATCH, "ours", Proceed, Proceed),
        (IF_NONE_MATCH, "", Proceed, Proceed),
        (
            IF_UNMODIFIED_SINCE,
            BEFORE,
            PreconditionFailed,
            PreconditionFailed,
        ),
        (IF_UNMODIFIED_SINCE, SAME, Proceed, Proceed),
        (IF_UNMODIFIED_SINCE, AFTER, Proceed, Proceed),
        (IF_UNMODIFIED_SINCE, "yesterday", Proceed, Proceed),
        (IF_MODIFIED_SINCE, BEFORE, Proceed, Proceed),
        (IF_MODIFIED_SINCE, SAME, NotModified, Proceed),
        (IF_MODIFIED_SINCE, AFTER, NotModified, Proceed),
        (IF_MODIFIED_SINCE, "", Proceed, Proceed),
        // The obsolete formats (section 5.6.7).
        (
            IF_MODIFIED_SINCE,
            "Sunday, 06-Nov-94 08:49:37 GMT",
            NotModified,
            Proceed,
        ),
        (
            IF_MODIFIED_SINCE,
            "Sun Nov  6 08:49:37 1994",
            NotModified,
            Proceed,
        ),
    ] {
        let got = outcomes(&[(name.clone(), value)], Some(&current()));
        assert_eq!(got, [get, put], "{name}: {value}");
    }
}

#[test]
fn preconditions_have_an_order() {
    let other = "\"other\"";
    for (lines, get, put) in [
        // Dates are ignored beside tags.
        (
            vec![(IF_MATCH, OURS), (IF_UNMODIFIED_SINCE, BEFORE)],
            Proceed,
            Proceed,
        ),
        (
            vec![(IF_MATCH, other), (IF_UNMODIFIED_SINCE, AFTER)],
            PreconditionFailed,
            PreconditionFailed,
        ),
        (
            vec![(IF_NONE_MATCH, other), (IF_MODIFIED_SINCE, SAME)],
            Proceed,
            Proceed,
        ),
        (
            vec![(IF_NONE_MATCH, OURS), (IF_MODIFIED_SINCE, BEFORE)],
            NotModified,
            PreconditionFailed,
        ),
        (
            vec![(IF_NONE_MATCH, "ours"), (IF_MODIFIED_SINCE, SAME)],
            Proceed,
            Proceed,
        ),
        // Conditions on the current version come before conditions on the client's copy.
        (
            vec![(IF_NONE_MATCH, OURS), (IF_MATCH, other)],
            PreconditionFailed,
            PreconditionFailed,
        ),
        (
            vec![(IF_NONE_MATCH, OURS), (IF_MATCH, OURS)],
            NotModified,
            PreconditionFailed,
        ),
        (
            vec![(IF_MODIFIED_SINCE, SAME), (IF_UNMODIFIED_SINCE, BEFORE)],
            PreconditionFailed,
            PreconditionFailed,
        ),
        (
            vec![(IF_MODIFIED_SINCE, SAME), (IF_UNMODIFIED_SINCE, SAME)],
            NotModified,
            Proceed,
        ),
        // A list may be spread over several lines; a date may not.
        (
            vec![(IF_NONE_MATCH, other), (IF_NONE_MATCH, OURS)],
            NotModified,
            PreconditionFailed,
        ),
        (vec![(IF_MATCH, other), (IF_MATCH, OURS)], Proceed, Proceed),
        (
            vec![(IF_MODIFIED_SINCE, SAME), (IF_MODIFIED_SINCE, SAME)],
            Proceed,
            Proceed,
        ),
        (
            vec![(IF_UNMODIFIED_SINCE, BEFORE), (IF_UNMODIFIED_SINCE, BEFORE)],
            Proceed,
            Proceed,
        ),
        (vec![], Proceed, Proceed),
    ] {
        assert_eq!(outcomes(&lines, Some(&current())), [get, put], "{lines:?}");
    }
}

#[test]
fn what_does_not_exist_has_no_tag_and_no_date() {
    for (name, value, outcome) in [
        (IF_MATCH, "*", PreconditionFailed),
        (IF_MATCH, OURS, PreconditionFailed),
        (IF_NONE_MATCH, "*", Proceed),
        (IF_NONE_MATCH, OURS, Proceed),
        (IF_UNMODIFIED_SINCE, BEFORE, Proceed),
        (IF_MODIFIED_SINCE, AFTER, Proceed),
    ] {
        assert_eq!(
            outcomes(&[(name.clone(), value)], None),
            [outcome; 2],
            "{name}: {value}"
        );
    }
}

#[test]
fn a_file_without_a_date_has_no_condition_on_it() {
    let undated = Validators {
        modified: last_modified(-1),
        ..current()
    };
    for name in [IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE] {
        for value in [BEFORE, AFTER] {
            assert_eq!(
                outcomes(&[(name.clone(), value)], Some(&undated)),
                [Proceed; 2]
            );
        }
    }
    assert!(!range_applies(&headers(&[(IF_RANGE, SAME)]), &undated));
    assert!(!range_applies(
        &headers(&[(IF_RANGE, "yesterday")]),
        &undated
    ));
}

#[test]
fn dates_that_http_can_write_are_kept() {
    for (seconds, written) in [
        (2, Some("Thu, 01 Jan 1970 00:00:02 GMT")),
        // OSTree and Nix.
        (0, None),
        (1, None),
        (784_111_777, Some(SAME)),
        (253_402_300_799, Some("Fri, 31 Dec 9999 23:59:59 GMT")),
        (253_402_300_800, None),
        (-1, None),
        (i64::MAX, None),
        (i64::MIN, None),
    ] {
        let got = last_modified(seconds).map(httpdate::fmt_http_date);
        assert_eq!(got.as_deref(), written);
    }
}

#[test]
fn a_range_applies_to_what_the_client_has() {
    for (lines, applies) in [
        (vec![], true),
        (vec![(IF_RANGE, OURS)], true),
        (vec![(IF_RANGE, "W/\"ours\"")], false),
        (vec![(IF_RANGE, "\"other\"")], false),
        (vec![(IF_RANGE, "\"other\", \"ours\"")], false),
        (vec![(IF_RANGE, "*")], false),
        (vec![(IF_RANGE, "")], false),
        (vec![(IF_RANGE, BEFORE)], false),
        (vec![(IF_RANGE, SAME)], true),
        (vec![(IF_RANGE, AFTER)], false),
        (vec![(IF_RANGE, OURS), (IF_RANGE, OURS)], false),
    ] {
        assert_eq!(
            range_applies(&headers(&lines), &current()),
            applies,
            "{lines:?}"
        );
    }
}

/// The file can still change within the second that its date names.
#[test]
fn a_date_of_now_applies_to_no_range() {
    let now = std::time::SystemTime::now();
    for (modified, applies) in [
        (now + Duration::from_secs(3600), false),
        (now - Duration::from_secs(2), true),
    ] {
        let date = httpdate::fmt_http_date(modified);
        let modified = httpdate::parse_http_date(&date).ok();
        let current = Validators {
            modified,
            ..current()
        };
        let lines = headers(&[(IF_RANGE, &date)]);
        assert_eq!(range_applies(&lines, &current), applies, "{date}");
    }
}

/// A line of a precondition, with what it says about the current file.
#[derive(Clone, Debug)]
struct Line {
    name: HeaderName,
    value: String,
}

fn line() -> impl Strategy<Value = Line> {
    let tags = prop_oneof![
        Just("*".to_owned()),
        prop::collection::vec(
            prop::sample::select(vec![OURS, "W/\"ours\"", "\"other\"", "W/\"a,b\""]),
            1..3
        )
        .prop_map(|tags| tags.join(", ")),
    ];
    let dates = prop::sample::select(vec![BEFORE, SAME, AFTER, "never"]).prop_map(str::to_owned);
    prop_oneof![
        (prop::sample::select(vec![IF_MATCH, IF_NONE_MATCH]), tags),
        (
            prop::sample::select(vec![IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE]),
            dates
        ),
    ]
    .prop_map(|(name, value)| Line { name, value })
}

/// Section 13.2.2, sentence by sentence, for the values that [`line`] makes.
fn model(read: bool, lines: &[Line], exists: bool) -> Outcome {
    let of = |name: HeaderName| -> Vec<&str> {
        lines
            .iter()
            .filter(|it| it.name == name)
            .map(|it| it.value.as_str())
            .collect()
    };
    let tags = |name| of(name).join(", ");
    let age = |name| match of(name)[..] {
        [BEFORE] if exists => Some(1),
        [SAME] if exists => Some(0),
        [AFTER] if exists => Some(-1),
        _ => None,
    };
    let if_match = tags(IF_MATCH);
    if if_match.is_empty() {
        if age(IF_UNMODIFIED_SINCE) == Some(1) {
            return PreconditionFailed;
        }
    } else {
        let strong = if_match.split(", ").any(|tag| tag == "*" || tag == OURS);
        if !(exists && strong) {
            return PreconditionFailed;
        }
    }
    let if_none_match = tags(IF_NONE_MATCH);
    if if_none_match.is_empty() {
        if read && age(IF_MODIFIED_SINCE).is_some_and(|age| age <= 0) {
            return NotModified;
        }
    } else if exists && (if_none_match.contains('*') || if_none_match.contains(OURS)) {
        return if read {
            NotModified
        } else {
            PreconditionFailed
        };
    }
    Proceed
}

proptest! {
    #[test]
    fn agrees_with_the_model(lines in prop::collection::vec(line(), 0..4), exists: bool) {
        let pairs: Vec<_> = lines.iter().map(|it| (it.name.clone(), it.value.as_str())).collect();
        let current = current();
        let got = outcomes(&pairs, exists.then_some(&current));
        prop_assert_eq!(got, [model(true, &lines, exists), model(false, &lines, exists)]);
    }

    #[test]
    fn any_bytes_have_an_outcome(values in prop::array::uniform5(prop::collection::vec(any::<u8>(), 0..40))) {
        let names = [IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE, IF_RANGE];
        let fields = names.into_iter().zip(&values);
        let headers: HeaderMap =
            fields.filter_map(|(name, value)| Some((name, HeaderValue::from_bytes(value).ok()?))).collect();
        for method in [Method::GET, Method::PUT] {
            let _ = evaluate(&method, &headers, Some(&current()));
        }
        let _ = range_applies(&headers, &current());
    }
}
