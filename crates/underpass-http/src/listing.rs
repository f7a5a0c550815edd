//! Lists of a directory's entries, as HTML or JSON.

use std::time::SystemTime;

use http::StatusCode;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

mod html;
mod json;
mod language;
mod natural;
mod order;
mod read;
mod utc;

pub(crate) use language::Language;
pub(crate) use order::{By, Order};
pub(crate) use read::{Beneath, Which, is_shown, read};

/// The `Content-Security-Policy` for pages: allows their own style and script, icons in `data:`
/// URLs, requests and forms to this server, and nothing else. The hash is that of the script
/// (a test says what it should be).
pub(crate) const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; \
     script-src 'sha256-k66d1FAFnRfyekWwjYCcKUaT/5JBoialUfbN8dyohiw='; connect-src 'self'; \
     base-uri 'none'; form-action 'self'";

/// Characters that are escaped in names and paths: all except the slash and those that RFC 3986
/// calls unreserved.
const IN_URL: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// Characters that are escaped in the values of a query string.
const IN_QUERY: &AsciiSet = NON_ALPHANUMERIC;

/// The type of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The name: any bytes except NUL and `/`; not necessarily UTF-8.
    pub(crate) name: Vec<u8>,
    pub(crate) kind: Kind,
    /// Size in bytes; 0 for a directory.
    pub(crate) size: u64,
    /// `None` for a directory of a store, which is nothing but names.
    pub(crate) modified: Option<SystemTime>,
}

/// A directory, ready to be shown.
#[derive(Debug)]
pub(crate) struct Page<'a> {
    path: &'a [u8],
    entries: Vec<Entry>,
    order: Order,
    archives: bool,
    language: Language,
    uploads: bool,
    next: Option<String>,
}

impl<'a> Page<'a> {
    /// `path` is decoded and starts at the served root: empty for the root itself, or `a/b`.
    pub(crate) fn new(path: &'a [u8], mut entries: Vec<Entry>, order: Order) -> Self {
        order.sort(&mut entries);
        Self {
            path,
            entries,
            order,
            archives: false,
            language: Language::default(),
            uploads: false,
            next: None,
        }
    }

    /// The language of the HTML. Default: English.
    pub(crate) fn language(self, language: Language) -> Self {
        Self { language, ..self }
    }

    /// Whether the HTML has a form to upload files. Default: false.
    pub(crate) fn uploads(self, uploads: bool) -> Self {
        Self { uploads, ..self }
    }

    /// What asks for the next page, if this is not all. Default: it is all.
    pub(crate) fn next(self, next: Option<String>) -> Self {
        Self { next, ..self }
    }

    /// The link to the next page.
    fn next_query(&self) -> Option<String> {
        let after = percent_encode(self.next.as_ref()?.as_bytes(), IN_QUERY);
        Some(format!("{}&after={after}", self.order.to_query()))
    }

    /// Whether it has links to the directory as an archive, which only the HTML has.
    pub(crate) fn archives(self, archives: bool) -> Self {
        Self { archives, ..self }
    }

    /// The listing as a self-contained page, which works without its script, too. Its links are
    /// relative, so the directory's URL has to end in `/`.
    pub(crate) fn html(&self) -> String {
        html::Document(self).to_string()
    }

    /// `{"path":"/a/b/","entries":[{"name":…,"type":"file"|"directory","size":…,"modified":…}]}`,
    /// in the page's order; sizes in bytes, and only of files; times as RFC 3339 has them, in UTC,
    /// where there are any. If there are more entries, `next` is the query of the next page.
    ///
    /// A name that is not UTF-8 has U+FFFD in `name` in place of invalid bytes. Its entry also has
    /// `encoded`, the whole name percent-encoded as in a URL. The same goes for the path of the
    /// directory.
    pub(crate) fn json(&self) -> String {
        json::document(self)
    }

    /// The path with slashes: `/`, or `/a/b/`.
    fn full_path(&self) -> Vec<u8> {
        match self.path {
            b"" => b"/".to_vec(),
            path => [b"/", path, b"/"].concat(),
        }
    }
}

/// The page of an error: what its status means, and the reason.
pub(crate) fn error_page(language: Language, status: StatusCode, reason: &str) -> String {
    let title = status.canonical_reason().unwrap_or_default();
    let message = html::Message {
        language,
        title: &format!("{} {title}", status.as_u16()),
        lines: &[(
            language.describe(status.as_u16()).to_owned(),
            reason.to_owned(),
        )],
        back: false,
    };
    message.to_string()
}

/// The page that says what became of uploads: each file's name, and the outcome.
pub(crate) fn upload_page(language: Language, outcomes: &[(String, String)]) -> String {
    let message = html::Message {
        language,
        title: language.texts().uploads,
        lines: outcomes,
        back: true,
    };
    message.to_string()
}

/// Whether a query string asks for JSON, with `format=json`.
pub(crate) fn wants_json(query: &str) -> bool {
    value_of(query, "format") == Some("json")
}

/// The format of archive that a query string asks for, with `archive=…`.
pub(crate) fn wanted_archive(query: &str) -> Option<&str> {
    value_of(query, "archive")
}

/// The page of a listing that a query string asks for, with `after=…`.
pub(crate) fn wanted_page(query: &str) -> Option<String> {
    let after = percent_decode_str(value_of(query, "after")?);
    after.decode_utf8().ok().map(Into::into)
}

/// The first value of `key`, not decoded. Few values that have a meaning here need that.
fn value_of<'q>(query: &'q str, key: &str) -> Option<&'q str> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find_map(|(name, value)| (name == key).then_some(value))
}

#[cfg(test)]
mod tests;
