//! A resource: the file of a path and its precompressed siblings, which are its representations.

use std::io;
use std::sync::Arc;

use http::HeaderMap;

use super::ServeDirOptions;
use super::representation::{Representation, RepresentationBuilder};
use crate::clock;
use crate::file::{Root, Wait};
use crate::prepared::PreparedResponse;
use crate::semantics::negotiate::{self, Encoding};
use crate::sys::OpenFile;

pub(super) struct Resource {
    pub(super) plain: Arc<Representation>,
    pub(super) coded: Vec<(Encoding, Arc<Representation>)>,
    /// The response to a plain GET, if it does not depend on the request's fields.
    pub(super) prepared: Option<PreparedResponse>,
    /// The files are on a remote file system, so only a thread that may wait can check them.
    is_remote: bool,
    /// When it was looked up: milliseconds of [`clock`], and the number of uploads before.
    looked_up: u64,
    uploads: u64,
}

/// Where and how a resource is looked up.
pub(super) struct LookupContext<'a> {
    pub(super) root: &'a Root,
    pub(super) options: &'a ServeDirOptions,
    /// The path below the root.
    pub(super) relative: &'a [u8],
    /// The number of uploads before `relative` was opened.
    pub(super) uploads: u64,
    /// What the lookup may wait for.
    pub(super) wait: Wait,
}

impl Resource {
    /// Makes a resource of an open file. Representations of `before`, the previous resource of the
    /// path, are kept if their files have not changed.
    ///
    /// # Errors
    /// Those of opening and reading; see [`Wait::needed`].
    pub(super) fn new(
        context: &LookupContext<'_>,
        file: OpenFile,
        before: Option<&Self>,
    ) -> io::Result<Self> {
        let is_remote = context.root.is_remote(&file);
        let siblings = context.siblings(&file)?;
        let builder = RepresentationBuilder {
            options: context.options,
            relative: context.relative,
            may_wait: context.wait > Wait::Nothing,
            varies: !siblings.is_empty(),
        };
        let plain = builder.make(file, None, before.map(|it| &it.plain))?;
        let mut coded = Vec::new();
        for (encoding, file) in siblings {
            let before = before.and_then(|it| it.coded(encoding));
            let coding = Some((encoding, &plain.media_type));
            coded.push((encoding, builder.make(file, coding, before)?));
        }
        let is_simple = coded.is_empty() && !is_remote;
        Ok(Self {
            prepared: is_simple.then(|| plain.prepare()).flatten(),
            plain,
            coded,
            is_remote,
            looked_up: clock::now(),
            uploads: context.uploads,
        })
    }

    fn coded(&self, encoding: Encoding) -> Option<&Arc<Representation>> {
        let found = self.coded.iter().find(|(one, _)| *one == encoding);
        found.map(|(_, representation)| representation)
    }

    /// The representation that suits a request.
    pub(super) fn choose(&self, headers: &HeaderMap) -> &Arc<Representation> {
        if self.coded.is_empty() {
            return &self.plain;
        }
        negotiate::choose(headers, |encoding| self.coded(encoding).is_some())
            .and_then(|encoding| self.coded(encoding))
            .unwrap_or(&self.plain)
    }

    /// Whether the path still counts as leading to this resource. Its files have to be checked all
    /// the same. `uploads` is the number of uploads so far.
    pub(super) fn is_fresh(&self, valid_for: u64, uploads: u64) -> bool {
        let age = clock::now().saturating_sub(self.looked_up);
        age < valid_for && self.uploads == uploads
    }

    pub(super) fn is_remote(&self) -> bool {
        self.is_remote
    }

    pub(super) fn representations(&self) -> impl Iterator<Item = &Arc<Representation>> {
        let coded = self.coded.iter().map(|(_, representation)| representation);
        std::iter::once(&self.plain).chain(coded)
    }

    /// The number of open files: one per representation.
    pub(super) fn descriptors(&self) -> u64 {
        1 + self.coded.len() as u64
    }
}

impl LookupContext<'_> {
    /// The precompressed siblings that are not older than their file.
    fn siblings(&self, plain: &OpenFile) -> io::Result<Vec<(Encoding, OpenFile)>> {
        let mut siblings = Vec::new();
        for encoding in &self.options.encodings {
            let name = [self.relative, b".", encoding.extension().as_bytes()].concat();
            match self.root.open(&name, self.options.symlinks, self.wait) {
                Ok(file) => {
                    let file = OpenFile::new(file)?;
                    if file.is_regular() && !is_older(&file, plain) {
                        siblings.push((*encoding, file));
                    }
                }
                Err(error) if Wait::needed(&error).is_some() => return Err(error),
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
