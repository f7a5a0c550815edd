//! A resource: the file of a path and its precompressed siblings, which are its representations.

use std::io;
use std::sync::Arc;

use http::HeaderMap;
use rustix::io::Errno;

use super::ServeDirOptions;
use super::names::{Names, must_wait};
use super::representation::{Representation, RepresentationBuilder};
use crate::clock;
use crate::file::Wait;
use crate::path_rules::ActiveRules;
use crate::prepared::PreparedResponse;
use crate::semantics::negotiate::{self, Encoding};
use crate::sys::OpenFile;

pub(super) struct Resource {
    /// `None` if only precompressed files are there.
    plain: Option<Arc<Representation>>,
    coded: Vec<(Encoding, Arc<Representation>)>,
    /// The response to a plain GET, if it does not depend on the request's fields.
    pub(super) prepared: Option<PreparedResponse>,
    /// Only authenticated requests may have it.
    pub(super) is_restricted: bool,
    /// The files are on a remote file system, so only a thread that may wait can check them.
    is_remote: bool,
    /// When it was looked up: milliseconds of [`clock`], and the number of
    /// [changes](crate::changes) before.
    looked_up: u64,
    changes: u64,
}

/// Where and how a resource is looked up.
#[derive(Clone, Copy)]
pub(super) struct LookupContext<'a> {
    pub(super) names: &'a dyn Names,
    pub(super) options: &'a ServeDirOptions,
    /// The path of the request, and that of the file, below the root.
    pub(super) asked: &'a [u8],
    pub(super) relative: &'a [u8],
    /// The number of changes before `relative` was opened.
    pub(super) changes: u64,
    pub(super) rules: Option<&'a ActiveRules>,
    /// What the lookup may wait for.
    pub(super) wait: Wait,
}

impl Resource {
    /// Makes a resource of an open file, or of its precompressed siblings alone; `None` if there
    /// are none of these either. Representations of `before`, the previous resource of the
    /// path, are kept if their files have not changed.
    ///
    /// # Errors
    /// Those of opening and reading; see [`Wait::needed`].
    pub(super) fn new(
        context: &LookupContext<'_>,
        file: Option<OpenFile>,
        before: Option<&Self>,
    ) -> io::Result<Option<Self>> {
        let siblings = context.siblings(file.as_ref())?;
        let Some(one) = file.as_ref().or(siblings.first().map(|(_, file)| file)) else {
            return Ok(None);
        };
        let is_remote = context.names.is_remote(one);
        let builder = RepresentationBuilder {
            options: context.options,
            relative: context.relative,
            rules: context.rules,
            may_wait: context.wait > Wait::Nothing,
            varies: !siblings.is_empty(),
        };
        let before_plain = before.and_then(|it| it.plain.as_ref());
        let plain = match file {
            Some(file) => Some(builder.make(file, None, before_plain)?),
            None => None,
        };
        let media_type = match &plain {
            Some(plain) => plain.media_type.clone(),
            None => builder.media_type_by_name()?,
        };
        let mut coded = Vec::new();
        for (encoding, file) in siblings {
            let before = before.and_then(|it| it.coded(encoding));
            let coding = Some((encoding, &media_type));
            coded.push((encoding, builder.make(file, coding, before)?));
        }
        let is_restricted = context.is_restricted();
        let is_plain = coded.is_empty() && !is_remote && !is_restricted;
        let simple = plain.as_ref().filter(|_| is_plain);
        Ok(Some(Self {
            prepared: simple.and_then(|it| it.prepare()),
            plain,
            coded,
            is_restricted,
            is_remote,
            looked_up: clock::now(),
            changes: context.changes,
        }))
    }

    fn coded(&self, encoding: Encoding) -> Option<&Arc<Representation>> {
        let found = self.coded.iter().find(|(one, _)| *one == encoding);
        found.map(|(_, representation)| representation)
    }

    /// The plain file, if there is one.
    pub(super) fn plain(&self) -> Option<&Arc<Representation>> {
        self.plain.as_ref()
    }

    /// The representation that suits a request; `None` if the client accepts none that is there.
    pub(super) fn choose(&self, headers: &HeaderMap) -> Option<&Arc<Representation>> {
        if self.coded.is_empty() {
            return self.plain();
        }
        let is_there = |encoding| self.coded(encoding).is_some();
        negotiate::choose(headers, self.plain.is_some(), is_there)
            .and_then(|encoding| self.coded(encoding))
            .or(self.plain())
    }

    /// Whether the path still counts as leading to this resource. Its files have to be checked all
    /// the same. `changes` is the number of changes so far.
    pub(super) fn is_fresh(&self, valid_for: u64, changes: u64) -> bool {
        let age = clock::now().saturating_sub(self.looked_up);
        age < valid_for && self.changes == changes
    }

    pub(super) fn is_remote(&self) -> bool {
        self.is_remote
    }

    /// Whether a file is the local one of an object.
    pub(super) fn is_of_a_store(&self) -> bool {
        self.representations().any(|it| it.object().is_some())
    }

    /// Whether an object has left its store's cache, so that its room is free once it is closed.
    pub(super) fn has_left(&self) -> bool {
        let mut objects = self.representations().filter_map(|it| it.object());
        objects.any(|object| object.has_left())
    }

    pub(super) fn representations(&self) -> impl Iterator<Item = &Arc<Representation>> {
        let coded = self.coded.iter().map(|(_, representation)| representation);
        self.plain.iter().chain(coded)
    }

    /// The number of open files: one per representation.
    pub(super) fn descriptors(&self) -> u64 {
        u64::from(self.plain.is_some()) + self.coded.len() as u64
    }
}

impl LookupContext<'_> {
    /// Opens another file for the same request, if it is not denied. Its error is then that of a
    /// file that is not there.
    pub(super) fn open(&self, relative: &[u8]) -> io::Result<OpenFile> {
        if self.rules.is_some_and(|rules| rules.denies(relative)) {
            return Err(Errno::NOENT.into());
        }
        self.names.open(relative, self.wait)
    }

    fn is_restricted(&self) -> bool {
        let restricts = |rules: &ActiveRules| {
            let names = [self.asked, self.relative];
            names.iter().any(|name| rules.restricts(name))
        };
        self.rules.is_some_and(restricts)
    }

    /// The precompressed siblings that are not older than their file, if that is there.
    fn siblings(&self, plain: Option<&OpenFile>) -> io::Result<Vec<(Encoding, OpenFile)>> {
        let mut siblings = Vec::new();
        let encodings = &self.options.encodings;
        let sibling = |it: &Encoding| [self.relative, b".", it.extension().as_bytes()].concat();
        let names: Vec<_> = encodings.iter().map(sibling).collect();
        self.names.expect(&names)?;
        for (encoding, name) in encodings.iter().zip(names) {
            match self.open(&name) {
                Ok(file) => {
                    if file.is_regular() && !plain.is_some_and(|plain| is_older(&file, plain)) {
                        siblings.push((*encoding, file));
                    }
                }
                Err(error) if must_wait(&error) => return Err(error),
                Err(_) => {}
            }
        }
        Ok(siblings)
    }
}

/// Whether a sibling is older than its file. Compressors give it the file's time, some of them in
/// whole seconds.
fn is_older(sibling: &OpenFile, plain: &OpenFile) -> bool {
    let (sibling, plain) = (sibling.version().modified, plain.version().modified);
    sibling.0 < plain.0 || sibling.0 == plain.0 && sibling.1 != 0 && sibling.1 < plain.1
}
