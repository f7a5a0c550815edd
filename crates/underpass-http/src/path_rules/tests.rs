use http::header::{REFERRER_POLICY, X_FRAME_OPTIONS};
use proptest::prelude::*;

use super::*;

fn denying(pattern: &str) -> PathRules {
    PathRules::new([PathRule::new(pattern).access(Access::Deny)]).unwrap()
}

fn denies(pattern: &str, path: &str) -> bool {
    denying(pattern).access(path) == Some(Access::Deny)
}

#[test]
fn patterns_are_those_of_gitignore() {
    for (pattern, matching, others) in [
        (
            "secret",
            &["/secret", "/a/secret", "/secret/b", "/a/secret/b/c"][..],
            &["/", "/secrets", "/asecret"][..],
        ),
        ("secret/", &["/secret/", "/a/secret/b"], &["/secre"]),
        ("/secret", &["/secret", "/secret/b"], &["/a/secret"]),
        (
            "/secret/**",
            &["/secret", "/secret/", "/secret/b"],
            &["/a/secret/b", "/secret2"],
        ),
        ("a/b", &["/a/b", "/a/b/c"], &["/x/a/b", "/a", "/a/bc"]),
        ("a/*", &["/a/b", "/a/b/c"], &["/a", "/b"]),
        ("**/b", &["/b", "/a/b", "/a/c/b/d"], &["/ab"]),
        ("a/**/b", &["/a/b", "/a/x/y/b"], &["/a/x"]),
        (
            "*.key",
            &["/x.key", "/a/x.key", "/a/.key"],
            &["/x.key2", "/key"],
        ),
        ("/*.key", &["/x.key"], &["/a/x.key"]),
        ("*.{key,pem}", &["/a.key", "/b/a.pem"], &["/a.crt"]),
        ("[a-c]?", &["/ax", "/x/cz"], &["/dx", "/a"]),
        ("a\\*", &["/a*"], &["/ab"]),
        ("**", &["/", "/a", "/a/b"], &[]),
        ("/", &["/", "/a"], &[]),
        ("/**/", &["/", "/a/b"], &[]),
    ] {
        for path in matching {
            assert!(denies(pattern, path), "{pattern} matches {path}");
        }
        for path in others {
            assert!(!denies(pattern, path), "{pattern} does not match {path}");
        }
    }
}

#[test]
fn no_spelling_of_a_path_escapes() {
    for path in [
        "/secret/a",
        "//secret/a",
        "/./secret/a",
        "/secret//a",
        "/secret/./a",
        "/x/../secret/a",
        "/%73ecret/a",
        "/secre%74/a",
        "/SECRET/a",
        "/Secret/a",
        "/%53ECRET/A",
        "/secret/",
        "/secret/.",
        "/secret/..%2e",
        "/secret/a/",
        "/../secret/a",
        "/%2e%2e/secret/a",
        "/secret/%FF",
    ] {
        assert!(denies("/secret", path), "{path}");
    }
    // These are other paths, or none.
    for path in [
        "/secret/..",
        "/secret/%2e%2e/b",
        "/secre",
        "/secret%2fa",
        "secret",
        "/a/secret",
    ] {
        assert!(!denies("/secret", path), "{path}");
    }
}

#[test]
fn case_counts_where_something_is_allowed() {
    let rules = PathRules::new([
        PathRule::new("**").access(Access::Deny),
        PathRule::new("/Open").access(Access::Allow),
        PathRule::new("/Users").access(Access::Authenticated),
    ])
    .unwrap();
    for (path, access) in [
        ("/", Access::Deny),
        ("/Open/a", Access::Allow),
        ("/open/a", Access::Deny),
        ("/users", Access::Authenticated),
    ] {
        assert_eq!(rules.access(path), Some(access), "{path}");
    }
}

#[test]
fn the_last_rule_wins_for_each_thing() {
    let field = |value| HeaderValue::from_static(value);
    let rules = PathRules::new([
        PathRule::new("**")
            .header(X_FRAME_OPTIONS, field("DENY"))
            .header(REFERRER_POLICY, field("no-referrer"))
            .cache_control(field("no-cache")),
        PathRule::new("/a")
            .header(X_FRAME_OPTIONS, field("SAMEORIGIN"))
            .archive(false),
        PathRule::new("*.log")
            .media_type(field("text/x-log"))
            .archive(true),
    ])
    .unwrap();
    let rules = rules.current(std::iter::empty());
    let settings = rules.settings(b"a/b.log");
    let mut fields = HeaderMap::new();
    settings.add_fields(&mut fields);
    assert_eq!(fields[X_FRAME_OPTIONS], "SAMEORIGIN");
    assert_eq!(fields[REFERRER_POLICY], "no-referrer");
    assert_eq!(settings.cache_control.unwrap(), "no-cache");
    assert_eq!(settings.media_type.unwrap(), "text/x-log");
    assert_eq!((settings.archive, settings.access), (Some(true), None));
    assert!(rules.archives(b"a/b.log", false) && !rules.archives(b"a/b", false));
}

#[test]
fn another_form_of_a_file_is_denied_with_it() {
    let rules = denying("/secret.txt").current(["gz", "br"].into_iter());
    let access = |path: &[u8]| rules.access(path);
    assert_eq!(access(b"secret.txt.gz"), Some(Access::Deny));
    assert_eq!(access(b"Secret.txt.br"), Some(Access::Deny));
    assert_eq!(access(b"secret.txt.zip"), None);
    assert_eq!(access(b"secret.txtgz"), None);
}

#[test]
fn what_can_never_match_is_refused() {
    let error =
        |pattern: &str| PathRules::new([PathRule::new("a"), PathRule::new(pattern)]).unwrap_err();
    for (pattern, word) in [
        ("", "empty"),
        ("a//b", "matches nothing"),
        ("./a", "matches nothing"),
        ("a/../b", "matches nothing"),
        ("a[", "not a pattern"),
        ("a{b", "not a pattern"),
        ("[z-a]", "not a pattern"),
    ] {
        let error = error(pattern);
        assert!(error.is_pattern() && error.index() == 1, "{pattern}");
        assert!(error.to_string().contains(word), "{pattern}: {error}");
    }
    let rule = PathRule::new("a").header(CONTENT_LENGTH, HeaderValue::from_static("1"));
    let error = PathRules::new([rule]).unwrap_err();
    assert_eq!(error.field(), Some(&CONTENT_LENGTH));
}

#[test]
fn what_is_replaced_is_so_for_clones() {
    let rules = denying("a");
    let other = rules.clone();
    assert!(rules.replace([PathRule::new("[")]).is_err());
    assert_eq!(other.access("/a"), Some(Access::Deny));
    rules.replace([]).unwrap();
    assert_eq!(other.access("/a"), None);
}

proptest! {
    /// Whatever a name looks like, a rule for it denies it and all below it, however it is encoded.
    #[test]
    fn a_name_that_is_escaped_matches_itself(name in "[^/\0]{1,12}", all in any::<bool>()) {
        prop_assume!(name != "." && name != "..");
        let escaped: String = name.chars().flat_map(|c| {
            let special = "*?[]{}\\,!".contains(c).then_some('\\');
            special.into_iter().chain([c])
        }).collect();
        let encoded: String = if all {
            percent_encoding::percent_encode(name.as_bytes(), percent_encoding::NON_ALPHANUMERIC).to_string()
        } else {
            path::encode(name.as_bytes())[1..].to_owned()
        };
        let (itself, below) = (format!("/{encoded}"), format!("/{encoded}/x"));
        let pattern = format!("/{escaped}");
        prop_assert!(denies(&pattern, &itself), "{} {}", pattern, itself);
        prop_assert!(denies(&pattern, &below));
    }
}
