//! Rules that are ready to be matched.

use std::sync::Arc;

use globset::{Candidate, GlobSet, GlobSetBuilder};
use http::{HeaderMap, HeaderValue};

use super::pattern::Pattern;
use super::{Access, Kind, PathRule, PathRuleError};

/// Rules in their order.
#[derive(Debug)]
pub(crate) struct RuleSet {
    rules: Vec<PathRule>,
    /// The rules that match everything.
    all: Vec<usize>,
    /// For each of the others its number.
    numbers: Vec<usize>,
    exact: GlobSet,
    any_case: GlobSet,
}

/// What the rules say about one path.
#[derive(Debug, Default)]
pub(crate) struct Settings<'a> {
    pub(crate) access: Option<Access>,
    pub(crate) archive: Option<bool>,
    pub(crate) cache_control: Option<&'a HeaderValue>,
    pub(crate) media_type: Option<&'a HeaderValue>,
    fields: Vec<&'a HeaderMap>,
}

impl RuleSet {
    pub(super) fn new(rules: Vec<PathRule>) -> Result<Self, PathRuleError> {
        let (mut all, mut numbers) = (Vec::new(), Vec::new());
        let (mut exact, mut any_case) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        for (index, rule) in rules.iter().enumerate() {
            let wrong = |why| PathRuleError {
                index,
                kind: Kind::Pattern(why),
            };
            let pattern = Pattern::read(&rule.pattern).map_err(wrong)?;
            let globs = (
                pattern.glob(false).map_err(wrong)?,
                pattern.glob(true).map_err(wrong)?,
            );
            if let (Some(glob), Some(other)) = globs {
                exact.add(glob);
                any_case.add(other);
                numbers.push(index);
            } else {
                all.push(index);
            }
        }
        let wrong = |error: globset::Error| PathRuleError {
            index: 0,
            kind: Kind::Pattern(format!("all patterns together: {}", error.kind())),
        };
        Ok(Self {
            exact: exact.build().map_err(wrong)?,
            any_case: any_case.build().map_err(wrong)?,
            rules,
            all,
            numbers,
        })
    }

    /// What applies to a path below the root, as [`decode`](crate::semantics::path::decode) gives
    /// it.
    pub(crate) fn settings(&self, relative: &[u8]) -> Settings<'_> {
        let exact = self.matching(&self.exact, relative);
        let mut settings = Settings::default();
        let any_case = self.matching(&self.any_case, relative);
        for (index, rule) in self.rules.iter().enumerate() {
            let is_exact = exact.contains(&index);
            match rule.access {
                Some(Access::Allow) if !is_exact => {}
                Some(access) if any_case.contains(&index) => settings.access = Some(access),
                _ => {}
            }
            if is_exact {
                settings.archive = rule.archive.or(settings.archive);
                settings.cache_control = rule.cache_control.as_ref().or(settings.cache_control);
                settings.media_type = rule.media_type.as_ref().or(settings.media_type);
                settings.fields.push(&rule.fields);
            }
        }
        settings
    }

    pub(super) fn need_authentication(&self) -> bool {
        let mut rules = self.rules.iter();
        rules.any(|rule| rule.access == Some(Access::Authenticated))
    }

    /// The rules that match a path, or a directory that it is in.
    fn matching(&self, globs: &GlobSet, relative: &[u8]) -> Vec<usize> {
        let mut found = self.all.clone();
        if globs.is_empty() {
            return found;
        }
        let ends = memchr::memchr_iter(b'/', relative).chain([relative.len()]);
        for end in ends {
            let names = Candidate::from_bytes(&relative[..end]);
            let matches = globs.matches_candidate(&names);
            found.extend(matches.into_iter().map(|glob| self.numbers[glob]));
        }
        found
    }
}

/// The rules of one moment, for files with certain precompressed siblings.
#[derive(Clone, Debug)]
pub(crate) struct ActiveRules {
    pub(super) rules: Arc<RuleSet>,
    /// The extensions of precompressed siblings: a name with one of them is another form of the
    /// file without it.
    pub(super) siblings: Vec<&'static str>,
}

impl ActiveRules {
    /// What applies to a path below the root, but for who has [access](Self::access).
    pub(crate) fn settings(&self, relative: &[u8]) -> Settings<'_> {
        self.rules.settings(relative)
    }

    /// Who has access to a path.
    pub(crate) fn access(&self, relative: &[u8]) -> Option<Access> {
        let own = self.rules.settings(relative).access;
        let whole = self.siblings.iter().find_map(|extension| {
            let name = relative.strip_suffix(extension.as_bytes())?;
            name.strip_suffix(b".")
        });
        let whole = whole.and_then(|name| self.rules.settings(name).access);
        match (own, whole) {
            (Some(Access::Deny), _) | (_, Some(Access::Deny)) => Some(Access::Deny),
            (_, Some(Access::Authenticated)) => Some(Access::Authenticated),
            (own, _) => own,
        }
    }

    /// Whether nothing is to be seen there.
    pub(crate) fn denies(&self, relative: &[u8]) -> bool {
        self.access(relative) == Some(Access::Deny)
    }

    /// Whether only authenticated requests may have it.
    pub(crate) fn restricts(&self, relative: &[u8]) -> bool {
        self.access(relative) == Some(Access::Authenticated)
    }

    /// Whether a path can be in an archive for a request that is `authenticated` or not.
    pub(crate) fn archives(&self, relative: &[u8], authenticated: bool) -> bool {
        let is_open = match self.access(relative) {
            Some(Access::Deny) => false,
            Some(Access::Authenticated) => authenticated,
            Some(Access::Allow) | None => true,
        };
        is_open && self.settings(relative).archive != Some(false)
    }

    /// Whether these are the same rules as `other`, so that fields that were made by them are still
    /// right.
    pub(crate) fn are(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.rules, &other.rules)
    }
}

impl Settings<'_> {
    /// Adds the fields of the rules to those of a response.
    pub(crate) fn add_fields(&self, to: &mut HeaderMap) {
        for (name, value) in self.fields.iter().flat_map(|fields| fields.iter()) {
            to.insert(name, value.clone());
        }
    }
}
