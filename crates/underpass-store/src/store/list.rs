//! Names below a prefix, a page at a time.

use std::time::SystemTime;

use object_store::list::{PaginatedListOptions, PaginatedListResult, PaginatedListStore};

use super::Store;
use super::exchange::Exchange;
use crate::error::{ErrorKind, StoreError};

/// As many names as S3 returns at once.
const PAGE: usize = 1000;

/// Up to 1000 names below a prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListPage {
    /// Directories first; each kind in the store's order.
    pub entries: Vec<ListEntry>,
    /// Where the next page begins; `None` after the last one.
    pub next: Option<String>,
}

/// A name below a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListEntry {
    /// Something is below this name.
    Directory {
        /// Without the prefix that was asked for, and without `/`.
        name: String,
    },
    /// An object.
    Object {
        /// Without the prefix that was asked for.
        name: String,
        /// In bytes.
        len: u64,
        /// When it was made.
        modified: SystemTime,
        /// Its version, with quotes.
        etag: Option<String>,
    },
}

impl Store {
    /// The names directly below a directory, which is empty or ends with `/`, from the beginning or
    /// from the place that the previous page named.
    ///
    /// Memory is bounded by a page, however many names there are. Keys that cannot be asked for
    /// (see [`Store`]) are left out, so a page can be empty although there is a next one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`]: the directory does not end with `/`. Otherwise what the store said.
    pub async fn list(&self, directory: &str, from: Option<&str>) -> Result<ListPage, StoreError> {
        let answer = self.page(directory, from, PAGE).await?;
        let prefix = self.full_key(directory);
        let name = |path: &object_store::path::Path| {
            let name = path.as_ref().strip_prefix(&prefix)?;
            (!name.is_empty()).then(|| name.to_string())
        };
        let directories = answer.result.common_prefixes.iter().filter_map(|path| {
            let name = name(path)?;
            Some(ListEntry::Directory { name })
        });
        let objects = answer.result.objects.iter().filter_map(|object| {
            Some(ListEntry::Object {
                // The marker of the directory itself has no name.
                name: name(&object.location)?,
                len: object.size,
                modified: object.last_modified.into(),
                etag: object.e_tag.clone(),
            })
        });
        Ok(ListPage {
            entries: directories.chain(objects).collect(),
            next: answer.page_token,
        })
    }

    /// Whether anything is below a directory, which is empty or ends with `/`.
    ///
    /// # Errors
    ///
    /// As [`list`](Self::list).
    pub async fn any_below(&self, directory: &str) -> Result<bool, StoreError> {
        let (mut from, mut limit) = (None, 1);
        loop {
            let answer = self.page(directory, from.as_deref(), limit).await?;
            let found = &answer.result;
            if !found.objects.is_empty() || !found.common_prefixes.is_empty() {
                return Ok(true);
            }
            if answer.page_token.is_none() {
                return Ok(false);
            }
            // What is below begins with keys that cannot be asked for.
            (from, limit) = (answer.page_token, PAGE);
        }
    }

    async fn page(
        &self,
        directory: &str,
        from: Option<&str>,
        limit: usize,
    ) -> Result<PaginatedListResult, StoreError> {
        let on = self.name_of(directory);
        if !directory.is_empty() && !directory.ends_with('/') {
            let message = format!("cannot list {on}: it does not end with a slash");
            return Err(StoreError::new(ErrorKind::Invalid, message));
        }
        let prefix = self.full_key(directory);
        let ask = || {
            let options = PaginatedListOptions {
                delimiter: Some("/".into()),
                max_keys: Some(limit),
                page_token: from.map(Into::into),
                ..PaginatedListOptions::default()
            };
            let prefix = (!prefix.is_empty()).then_some(prefix.as_str());
            self.0.reader.list_paginated(prefix, options)
        };
        self.attempt("list", &on, Exchange::default, ask).await
    }
}
