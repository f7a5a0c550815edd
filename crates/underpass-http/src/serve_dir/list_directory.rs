//! The response to a directory: a list of its entries.

use std::io;
use std::sync::Arc;

use http::header::{CACHE_CONTROL, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue, Request, Response};

use super::lookup::{FileLookup, blocking};
use super::{ServeDirOptions, response};
use crate::body::FileBody;
use crate::file::{Root, Symlinks};
use crate::listing::{self, Beneath, Entry, Kind, Language, Order, Page, Which};
use crate::objects::{ObjectEntry, Objects, StoreError};
use crate::path_rules::{ActiveRules, Authenticated};
use crate::semantics::negotiate::prefers_json;
use crate::semantics::path;

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// A page of a listing ends with the first page of the store's that has this many objects or more:
/// what browsers still show well.
const MOST_OBJECTS: usize = 10_000;

/// Reads the directory, and responds with HTML or JSON, as the client prefers.
pub(super) fn list<B>(
    lookup: &Arc<FileLookup>,
    path: Vec<u8>,
    request: &Request<B>,
) -> impl Future<Output = Response<FileBody>> + Send + use<B> {
    let query = request.uri().query().unwrap_or_default();
    let wanted = Wanted {
        json: listing::wants_json(query) || prefers_json(request.headers()),
        order: Order::from_query(query),
        language: Language::of(request.headers()),
        authenticated: request.extensions().get::<Authenticated>().is_some(),
        after: listing::wanted_page(query),
        path,
    };
    let lookup = Arc::clone(lookup);
    async move {
        let listed = match lookup.source.objects().cloned() {
            None => {
                let lookup = Arc::clone(&lookup);
                blocking(move || wanted.read(&lookup)).await
            }
            Some(store) => wanted.ask(&lookup, &*store).await,
        };
        match listed {
            Ok(response) => response,
            Err(error) => {
                if let (Some(store), Some(error)) =
                    (lookup.source.objects(), StoreError::of(&error))
                {
                    store.failed(error);
                }
                response::failure(&error)
            }
        }
    }
}

/// What the client asks for.
struct Wanted {
    path: Vec<u8>,
    json: bool,
    order: Order,
    language: Language,
    authenticated: bool,
    /// The page of a listing that has several.
    after: Option<String>,
}

impl Wanted {
    /// Lists a directory of the file system. May wait.
    fn read(&self, lookup: &FileLookup) -> io::Result<Response<FileBody>> {
        let rules = lookup.options.rules();
        let entries = match lookup.source.root() {
            Some(root) => read(root, &lookup.options, &self.path, rules.as_ref())?,
            None => Vec::new(),
        };
        Ok(self.respond(lookup, entries, None, rules))
    }

    /// Lists what a store has below a name.
    async fn ask(
        &self,
        lookup: &FileLookup,
        store: &dyn Objects,
    ) -> io::Result<Response<FileBody>> {
        let directory = String::from_utf8_lossy(&self.path);
        let (mut entries, mut after) = (Vec::new(), self.after.clone());
        let rules = lookup.options.rules();
        loop {
            let page = store.list(&directory, after.as_deref()).await?;
            let shown = page.entries.into_iter().filter_map(entry);
            entries.extend(shown.filter(|it| self.is_shown(it, lookup, rules.as_ref())));
            match page.next {
                Some(next) if entries.len() < MOST_OBJECTS => after = Some(next),
                next => return Ok(self.respond(lookup, entries, next, rules)),
            }
        }
    }

    fn is_shown(&self, entry: &Entry, lookup: &FileLookup, rules: Option<&ActiveRules>) -> bool {
        let is_denied = |it: &ActiveRules| it.denies(&path::join(&self.path, &entry.name));
        listing::is_shown(&entry.name, lookup.options.hidden) && !rules.is_some_and(is_denied)
    }

    fn respond(
        &self,
        lookup: &FileLookup,
        entries: Vec<Entry>,
        next: Option<String>,
        rules: Option<ActiveRules>,
    ) -> Response<FileBody> {
        let has_archives = rules
            .as_ref()
            .is_none_or(|rules| rules.archives(&self.path, self.authenticated));
        let page = Page::new(&self.path, entries, self.order)
            .language(self.language)
            .archives(lookup.archives.is_some() && has_archives)
            .uploads(lookup.options.takes_forms())
            .next(next);
        let text = if self.json { page.json() } else { page.html() };
        let mut response = respond(text, self.json);
        if let Some(rules) = rules {
            rules
                .settings(&self.path)
                .add_fields(response.headers_mut());
        }
        response
    }
}

/// An entry of a store; `None` for one that no path leads to.
fn entry(listed: ObjectEntry) -> Option<Entry> {
    let name = listed.name.into_bytes();
    if name.is_empty() || name.contains(&b'/') || name.contains(&0) {
        return None;
    }
    Some(Entry {
        name,
        kind: match listed.size {
            Some(_) => Kind::File,
            None => Kind::Directory,
        },
        size: listed.size.unwrap_or(0),
        modified: listed.modified,
    })
}

fn read(
    root: &Root,
    options: &ServeDirOptions,
    path: &[u8],
    rules: Option<&ActiveRules>,
) -> io::Result<Vec<Entry>> {
    let symlinks = options.symlinks;
    let directory = root.open_parent(path, symlinks)?;
    let which = Which {
        hidden: options.hidden,
        rules: rules.map(|rules| (rules, path)),
        symlinks: (symlinks == Symlinks::Confine).then_some(Beneath { root, path }),
    };
    listing::read(rustix::fd::AsFd::as_fd(&directory), which)
}

fn respond(page: String, json: bool) -> Response<FileBody> {
    let mut response = Response::new(FileBody::full(page));
    let fields: &mut HeaderMap = response.headers_mut();
    fields.insert(VARY, HeaderValue::from_static("accept, accept-language"));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if json {
        fields.insert(CONTENT_TYPE, JSON);
    } else {
        response::set_html(fields);
    }
    response
}
