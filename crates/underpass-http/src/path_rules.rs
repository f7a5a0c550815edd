//! Rules for paths: who may have what is there, and the fields that are sent with it.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, DATE, ETAG, LAST_MODIFIED, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::changes;
use crate::semantics::path;

mod pattern;
mod rule_set;

pub(crate) use rule_set::ActiveRules;

use rule_set::RuleSet;

/// Who may read, list and write what a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access {
    /// Everybody, as without a rule. A layer in front may ask for a password only without this.
    Allow,
    /// Nobody: it is as if nothing were there. It is in no listing and in no archive, and cannot be
    /// uploaded.
    Deny,
    /// Requests with the extension [`Authenticated`]. Others get 401. Listings show it to
    /// everybody, archives contain it for those who may read it.
    Authenticated,
}

/// An extension of requests whose sender is known: a layer in front of
/// [`ServeDir`](crate::ServeDir) has checked a password, for example. [`Access::Authenticated`]
/// asks for it.
///
/// ```
/// use http::Request;
/// use underpass_http::Authenticated;
///
/// let mut request = Request::new(());
/// request.extensions_mut().insert(Authenticated);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Authenticated;

/// What is special about the paths that match a pattern.
///
/// Patterns are those of `.gitignore`, without its `!`: `*` and `?` match within one name, `**`
/// matches any number of names, and `[a-z]` and `{a,b}` are known. A pattern without a slash, other
/// than one at its end, matches at any depth; with one it begins at the root. What matches a
/// directory is also for everything below it, and `DIR/**` means the same as `/DIR`. Patterns are
/// compared with paths as files have them: decoded, without `.`, `..` and empty names. A symbolic
/// link is a path of its own.
///
/// ```
/// use http::HeaderValue;
/// use http::header::X_CONTENT_TYPE_OPTIONS;
/// use underpass_http::{Access, PathRule};
///
/// let assets = PathRule::new("/assets/**")
///     .cache_control(HeaderValue::from_static("public, max-age=31536000, immutable"))
///     .header(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
/// let keys = PathRule::new("*.key").access(Access::Deny);
/// ```
#[derive(Clone, Debug)]
pub struct PathRule {
    pattern: String,
    access: Option<Access>,
    archive: Option<bool>,
    cache_control: Option<HeaderValue>,
    media_type: Option<HeaderValue>,
    fields: HeaderMap,
}

impl PathRule {
    /// A rule for the paths that match a pattern. It changes nothing yet.
    pub fn new(pattern: impl Into<String>) -> Self {
        Self {
            pattern: pattern.into(),
            access: None,
            archive: None,
            cache_control: None,
            media_type: None,
            fields: HeaderMap::new(),
        }
    }

    /// Says who may have it. Case does not count where a pattern denies something or asks for
    /// authentication, because there are file systems for which it does not; only ASCII letters
    /// have a case here.
    ///
    /// With [precompressed](crate::ServeDir::precompressed_gzip) files, what such a pattern says
    /// about `FILE` is also true of `FILE.gz`.
    #[must_use]
    pub fn access(self, access: Access) -> Self {
        let access = Some(access);
        Self { access, ..self }
    }

    /// Whether it can be in an archive, and a directory can be sent as one, if
    /// [`ServeDir::archives`](crate::ServeDir::archives) are.
    #[must_use]
    pub fn archive(self, archive: bool) -> Self {
        let archive = Some(archive);
        Self { archive, ..self }
    }

    /// Sends files with this `Cache-Control`. Listings and archives have their own.
    #[must_use]
    pub fn cache_control(self, value: HeaderValue) -> Self {
        let cache_control = Some(value);
        Self {
            cache_control,
            ..self
        }
    }

    /// Sends files with this `Content-Type`. The value is not checked.
    #[must_use]
    pub fn media_type(self, value: HeaderValue) -> Self {
        let media_type = Some(value);
        Self { media_type, ..self }
    }

    /// Sends files, listings and archives with this field. It replaces one of the same name.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.fields.insert(name, value);
        self
    }
}

/// Why rules cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathRuleError {
    index: usize,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Pattern(String),
    Field(HeaderName),
}

impl PathRuleError {
    /// Which rule it is, counted from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Whether its pattern is wrong.
    pub fn is_pattern(&self) -> bool {
        matches!(self.kind, Kind::Pattern(_))
    }

    /// The header field that a rule cannot set, if that is what is wrong.
    pub fn field(&self) -> Option<&HeaderName> {
        match &self.kind {
            Kind::Field(name) => Some(name),
            Kind::Pattern(_) => None,
        }
    }
}

impl fmt::Display for PathRuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Pattern(why) => f.write_str(why),
            Kind::Field(name) if *name == CONTENT_TYPE || *name == CACHE_CONTROL => {
                write!(f, "{name} has a setting of its own")
            }
            Kind::Field(name) => write!(f, "{name} is the server's own to send"),
        }
    }
}

impl std::error::Error for PathRuleError {}

/// Rules for paths, see [`ServeDir::path_rules`](crate::ServeDir::path_rules).
///
/// All rules whose pattern matches a path apply to it. If several say something about the same
/// thing (who has access, one header field), the last one of them wins, as in `.gitattributes`.
///
/// Clones are the same rules: those that are [replaced](Self::replace) are so for all of them.
///
/// ```
/// use underpass_http::{Access, PathRule, PathRules, ServeDir};
///
/// let rules = PathRules::new([
///     PathRule::new("/internal").access(Access::Deny),
///     PathRule::new("/internal/logo.svg").access(Access::Allow),
/// ])?;
/// assert_eq!(rules.access("/internal/%70lan.pdf"), Some(Access::Deny));
/// let files = ServeDir::new("site").path_rules(rules);
/// # Ok::<(), underpass_http::PathRuleError>(())
/// ```
#[derive(Clone, Debug)]
pub struct PathRules(Arc<RwLock<Arc<RuleSet>>>);

impl PathRules {
    /// Checks rules.
    ///
    /// # Errors
    /// The first rule that is wrong: its pattern, or a header field that only the server can know.
    pub fn new(rules: impl IntoIterator<Item = PathRule>) -> Result<Self, PathRuleError> {
        Ok(Self(Arc::new(RwLock::new(compiled(rules)?))))
    }

    /// Uses other rules from now on. Responses that have begun end by the old ones.
    ///
    /// # Errors
    /// As those of [`new`](Self::new). The old rules stay.
    pub fn replace(&self, rules: impl IntoIterator<Item = PathRule>) -> Result<(), PathRuleError> {
        let rules = compiled(rules)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = rules;
        // Files that are open have fields by the old rules. This comes after the new rules are
        // there: what is looked up in between counts as old.
        changes::changed();
        Ok(())
    }

    /// Who may have what is at the path of a request, as it was sent; `None` if no rule says so, or
    /// if the path is invalid.
    pub fn access(&self, path: &str) -> Option<Access> {
        let decoded = path::decode(path).ok()?;
        self.current(std::iter::empty()).access(&decoded.relative)
    }

    /// Whether one of the rules is [`Access::Authenticated`]. Without a layer that checks who sends
    /// a request, nobody could have what it is for.
    pub fn need_authentication(&self) -> bool {
        let rules = self.0.read().unwrap_or_else(PoisonError::into_inner);
        rules.need_authentication()
    }

    /// The rules as they are now, where files have precompressed siblings with these extensions.
    pub(crate) fn current(&self, siblings: impl Iterator<Item = &'static str>) -> ActiveRules {
        let rules = self.0.read().unwrap_or_else(PoisonError::into_inner);
        ActiveRules {
            rules: Arc::clone(&rules),
            siblings: siblings.collect(),
        }
    }
}

fn compiled(rules: impl IntoIterator<Item = PathRule>) -> Result<Arc<RuleSet>, PathRuleError> {
    let rules: Vec<_> = rules.into_iter().collect();
    for (index, rule) in rules.iter().enumerate() {
        if let Some(name) = rule.fields.keys().find(|name| OWN.contains(name)) {
            let kind = Kind::Field(name.clone());
            return Err(PathRuleError { index, kind });
        }
    }
    RuleSet::new(rules).map(Arc::new)
}

/// Fields that say how the response is sent or what its content is.
const OWN: [HeaderName; 15] = [
    ACCEPT_RANGES,
    CACHE_CONTROL,
    CONNECTION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    DATE,
    ETAG,
    LAST_MODIFIED,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    VARY,
];

#[cfg(test)]
mod tests;
