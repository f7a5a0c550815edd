//! The response to a directory: a list of its entries.

use std::sync::Arc;

use http::header::{CACHE_CONTROL, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue, Request, Response};

use super::lookup::{FileLookup, blocking};
use super::response;
use crate::body::FileBody;
use crate::file::Symlinks;
use crate::listing::{self, Beneath, Entry, Language, Order, Page, Which};
use crate::path_rules::{ActiveRules, Authenticated};
use crate::semantics::negotiate::prefers_json;

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// Reads the directory on a blocking thread, and responds with HTML or JSON, as the client prefers.
pub(super) fn list<B>(
    lookup: &Arc<FileLookup>,
    path: Vec<u8>,
    request: &Request<B>,
) -> impl Future<Output = Response<FileBody>> + Send + use<B> {
    let query = request.uri().query().unwrap_or_default();
    let json = listing::wants_json(query) || prefers_json(request.headers());
    let order = Order::from_query(query);
    let language = Language::of(request.headers());
    let authenticated = request.extensions().get::<Authenticated>().is_some();
    let lookup = Arc::clone(lookup);
    let listed = blocking(move || {
        let rules = lookup.options.rules();
        let entries = read(&lookup, &path, rules.as_ref())?;
        let has_archives = rules
            .as_ref()
            .is_none_or(|rules| rules.archives(&path, authenticated));
        let page = Page::new(&path, entries, order)
            .language(language)
            .archives(lookup.archives.is_some() && has_archives)
            .uploads(lookup.options.takes_forms());
        let mut response = respond(if json { page.json() } else { page.html() }, json);
        if let Some(rules) = rules {
            rules.settings(&path).add_fields(response.headers_mut());
        }
        Ok(response)
    });
    async move {
        match listed.await {
            Ok(response) => response,
            Err(error) => response::failure(&error),
        }
    }
}

fn read(
    lookup: &FileLookup,
    path: &[u8],
    rules: Option<&ActiveRules>,
) -> std::io::Result<Vec<Entry>> {
    let symlinks = lookup.options.symlinks;
    let directory = lookup.root.open_parent(path, symlinks)?;
    let beneath = Beneath {
        root: &lookup.root,
        path,
    };
    let which = Which {
        hidden: lookup.options.hidden,
        rules: rules.map(|rules| (rules, path)),
        symlinks: (symlinks == Symlinks::Confine).then_some(beneath),
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
