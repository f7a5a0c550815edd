//! Which representation a client prefers (RFC 9110 section 12.5).

use http::header::{ACCEPT, ACCEPT_ENCODING, HeaderMap};

use super::list::{Member, members};

/// A content coding in which a file may be stored beside the plain file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Brotli,
    Zstd,
    Gzip,
    Deflate,
}

impl Encoding {
    /// All codings; the one with the smallest bodies first. If a client prefers several equally,
    /// the first is sent.
    pub(crate) const ALL: [Self; 4] = [Self::Brotli, Self::Zstd, Self::Gzip, Self::Deflate];

    /// Its name in `Content-Encoding`.
    pub(crate) const fn token(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }

    /// The extension that is added to a file's name, after a dot.
    pub(crate) const fn extension(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zst",
            Self::Gzip => "gz",
            // As in tower-http.
            Self::Deflate => "zz",
        }
    }
}

/// The `available` coding that `Accept-Encoding` prefers; None is the plain file. `available` is
/// called only for acceptable codings, the preferred first.
///
/// Without a plain file, `has_plain` is false, and every acceptable coding will do.
///
/// The plain file is also sent if the client refuses it: RFC 9110 section 12.5.3 leaves open what
/// to send then, and a body is more useful than an error. It is sent if there is no field, too.
pub(crate) fn choose(
    headers: &HeaderMap,
    has_plain: bool,
    mut available: impl FnMut(Encoding) -> bool,
) -> Option<Encoding> {
    if !headers.contains_key(ACCEPT_ENCODING) {
        return None;
    }
    let mut weights = Weights::default();
    for member in members(headers, &ACCEPT_ENCODING) {
        weights.note(&member);
    }
    let plain = if has_plain { weights.plain() } else { 0 };
    let mut liked = Encoding::ALL.map(|coding| (weights.of(coding), coding));
    // The sort is stable: codings with the same weight stay in the order of `ALL`.
    liked.sort_by_key(|&(weight, _)| std::cmp::Reverse(weight));
    liked
        .into_iter()
        .filter(|&(weight, _)| weight > 0 && weight >= plain)
        .map(|(_, coding)| coding)
        .find(|coding| available(*coding))
}

/// The weights of `Accept-Encoding`, in thousandths. If a coding is repeated, its last weight
/// counts.
#[derive(Default)]
struct Weights {
    codings: [Option<u16>; 4],
    identity: Option<u16>,
    others: Option<u16>,
}

impl Weights {
    fn note(&mut self, member: &Member<'_>) {
        let named = |name: &str| member.value.eq_ignore_ascii_case(name);
        let weight = Some(member.weight);
        if member.value == "*" {
            self.others = weight;
        } else if named("identity") {
            self.identity = weight;
        } else if named("x-gzip") {
            // Equivalent names by RFC 9110 section 8.4.1.3.
            self.codings[Encoding::Gzip as usize] = weight;
        } else if let Some(coding) = Encoding::ALL.into_iter().find(|it| named(it.token())) {
            self.codings[coding as usize] = weight;
        }
    }

    /// The weight of a coding. 0 means "not acceptable".
    fn of(&self, coding: Encoding) -> u16 {
        self.codings[coding as usize].or(self.others).unwrap_or(0)
    }

    /// The weight of the plain file. If it is not named, it is acceptable, but everything that is
    /// named is preferred.
    fn plain(&self) -> u16 {
        self.identity.or(self.others).unwrap_or(0)
    }
}

/// Whether `Accept` prefers JSON to HTML: by weight, and with the same weight by the more specific
/// range.
///
/// `*/*` and no field at all prefer neither, which is false. A range's parameters are not looked
/// at: clients that send `application/json; charset=utf-8` mean any JSON.
pub(crate) fn prefers_json(headers: &HeaderMap) -> bool {
    let (json, html) = (
        liking(headers, "application", "json"),
        liking(headers, "text", "html"),
    );
    json.is_some_and(|(weight, _)| weight > 0) && json > html
}

/// Whether `Accept` names HTML, as browsers do when they navigate to a page. Scripts send `*/*`
/// alone.
pub(crate) fn accepts_html(headers: &HeaderMap) -> bool {
    liking(headers, "text", "html").is_some_and(|(weight, specific)| weight > 0 && specific == 2)
}

/// The weight of the most specific media range for a type, and how specific that is (RFC 9110
/// section 12.5.1).
fn liking(headers: &HeaderMap, kind: &str, subtype: &str) -> Option<(u16, u8)> {
    let matching = members(headers, &ACCEPT).filter_map(|member| {
        let (its_kind, its_subtype) = member.value.split_once('/')?;
        let specific = match (its_kind, its_subtype) {
            ("*", "*") => 0,
            (_, "*") if its_kind.eq_ignore_ascii_case(kind) => 1,
            _ if its_kind.eq_ignore_ascii_case(kind)
                && its_subtype.eq_ignore_ascii_case(subtype) =>
            {
                2
            }
            _ => return None,
        };
        Some((member.weight, specific))
    });
    matching.max_by_key(|&(weight, specific)| (specific, weight))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::HeaderName;
    use proptest::prelude::*;

    use super::*;

    use Encoding::{Brotli, Deflate, Gzip, Zstd};

    fn headers(name: &HeaderName, lines: &[&str]) -> HeaderMap {
        lines
            .iter()
            .map(|line| (name.clone(), HeaderValue::from_str(line).unwrap()))
            .collect()
    }

    #[test]
    fn the_best_liked_coding_is_chosen() {
        for (lines, expected) in [
            (&[][..], None),
            // RFC 9110 section 12.5.3
            (&["compress, gzip"], Some(Gzip)),
            (&[""], None),
            (&["*"], Some(Brotli)),
            (&["compress;q=0.5, gzip;q=1.0"], Some(Gzip)),
            (&["gzip;q=1.0, identity; q=0.5, *;q=0"], Some(Gzip)),
            // As browsers send it.
            (&["gzip, deflate, br, zstd"], Some(Brotli)),
            (&["gzip, deflate, zstd"], Some(Zstd)),
            (&["deflate"], Some(Deflate)),
            (&["gzip, deflate"], Some(Gzip)),
            (&["gzip;q=0.5, deflate"], Some(Deflate)),
            (&["gzip", "br"], Some(Brotli)),
            (&["x-gzip"], Some(Gzip)),
            (&["GZIP;Q=0.5"], Some(Gzip)),
            (&["br;q=0.9, gzip"], Some(Gzip)),
            (&["br;q=0.999,gzip;q=0.998,zstd;q=1"], Some(Zstd)),
            (&["br;q=0, *"], Some(Zstd)),
            (&["br;q=0"], None),
            (&["gzip;q=0.000"], None),
            (&["gzip;q=0.001"], Some(Gzip)),
            (&["identity"], None),
            (&["identity, gzip"], Some(Gzip)),
            (&["identity, gzip;q=0.9"], None),
            (&["identity;q=0.5, gzip;q=0.9"], Some(Gzip)),
            (&["gzip;q=0.5, identity;q=0"], Some(Gzip)),
            (&["identity;q=0"], None),
            (&["gzip;q=2"], None),
            (&["gzip;q=0.1234, br;q=-1, zstd;q=.5"], None),
            (&["gzip;q"], None),
            (&["gzip br"], None),
        ] {
            assert_eq!(
                choose(&headers(&ACCEPT_ENCODING, lines), true, |_| true),
                expected,
                "{lines:?}"
            );
        }
    }

    #[test]
    fn extensions_are_those_of_the_tools() {
        assert_eq!(
            Encoding::ALL.map(Encoding::extension),
            ["br", "zst", "gz", "zz"]
        );
    }

    #[test]
    fn what_is_not_there_is_not_chosen() {
        let only =
            |line, coding| choose(&headers(&ACCEPT_ENCODING, &[line]), true, |it| it == coding);
        assert_eq!(only("br, gzip", Gzip), Some(Gzip));
        assert_eq!(only("br, gzip", Zstd), None);
        assert_eq!(only("gzip;q=0.5, *;q=0.8", Brotli), Some(Brotli));
        // The star applies to the plain file too.
        assert_eq!(only("gzip;q=0.5, *;q=0.8", Gzip), None);
    }

    #[test]
    fn without_a_plain_file_every_acceptable_coding_will_do() {
        let without = |line| choose(&headers(&ACCEPT_ENCODING, &[line]), false, |it| it == Gzip);
        assert_eq!(without("identity, gzip;q=0.1"), Some(Gzip));
        assert_eq!(without("identity, gzip;q=0"), None);
        assert_eq!(without("identity"), None);
    }

    #[test]
    fn only_what_comes_into_question_is_asked_for() {
        let mut asked = Vec::new();
        let headers = headers(&ACCEPT_ENCODING, &["gzip, br;q=0.5, identity;q=0.4"]);
        choose(&headers, true, |coding| {
            asked.push(coding);
            false
        });
        assert_eq!(asked, [Gzip, Brotli]);
    }

    #[test]
    fn json_is_sent_to_those_who_prefer_it() {
        for (lines, expected) in [
            (&[][..], false),
            (&[""], false),
            (&["*/*"], false),
            (&["application/json"], true),
            (&["Application/JSON; charset=utf-8"], true),
            (&["application/*"], true),
            (&["application/json, text/plain, */*"], true),
            (&["application/json, text/html"], false),
            (&["text/html, application/json;q=0.9"], false),
            (&["text/html;q=0.8, application/json;q=0.9"], true),
            (&["text/html;q=0.8", "application/json;q=0.9"], true),
            (&["application/json;q=0.5, */*"], false),
            (&["application/json;q=0"], false),
            (&["application/json;q=0, */*"], false),
            (&["text/html;q=0, */*"], true),
            (&["text/html;q=0, */*;q=0"], false),
            (&["text/*, application/*"], false),
            (&["text/*, application/json"], true),
            (
                &["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"],
                false,
            ),
            (&["text/plain;a=\"x, application/json\""], false),
            (&["application/problem+json"], false),
            (&["json"], false),
        ] {
            assert_eq!(
                prefers_json(&headers(&ACCEPT, lines)),
                expected,
                "{lines:?}"
            );
        }
    }

    fn thousandths() -> impl Strategy<Value = u16> {
        prop_oneof![Just(0), Just(1000), Just(500), 0..=1000_u16]
    }

    proptest! {
        /// The chosen coding is preferred to every other one that is available.
        #[test]
        fn no_other_is_liked_better(
            weights in prop::collection::vec((prop::sample::select(vec!["br", "zstd", "gzip", "deflate", "identity", "*"]), thousandths()), 0..6),
            there in prop::array::uniform4(any::<bool>()),
        ) {
            let members: Vec<_> = weights.iter().map(|(name, weight)| format!("{name};q={}.{:03}", weight / 1000, weight % 1000)).collect();
            let headers = headers(&ACCEPT_ENCODING, &[&members.join(",")]);
            let said = |name: &str| weights.iter().rev().find(|it| it.0 == name).map(|it| it.1);
            let weight = |name: &str| said(name).or(said("*")).unwrap_or(0);
            let mut best = (weight("identity"), None);
            for coding in [Deflate, Gzip, Zstd, Brotli] {
                let weight = weight(coding.token());
                if there[coding as usize] && weight > 0 && weight >= best.0 {
                    best = (weight, Some(coding));
                }
            }
            prop_assert_eq!(choose(&headers, true, |it| there[it as usize]), best.1);
        }

        #[test]
        fn any_bytes_are_answered(line: Vec<u8>) {
            let Ok(line) = HeaderValue::from_bytes(&line) else { return Ok(()) };
            let headers = HeaderMap::from_iter([(ACCEPT, line.clone()), (ACCEPT_ENCODING, line)]);
            let _ = (choose(&headers, true, |_| true), prefers_json(&headers));
        }
    }
}
