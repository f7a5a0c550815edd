//! An upload that becomes an object of a store.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{IF_MATCH, IF_NONE_MATCH, IF_UNMODIFIED_SINCE};
use http::{HeaderMap, StatusCode};

use super::temporary_file::Outcome;
use super::{METHOD, UploadError};
use crate::file::is_missing;
use crate::objects::{NewObject, Object, Objects, Precondition, StoreError};
use crate::semantics::conditional::{self, Validators, last_modified};
use crate::semantics::entity_tag;
use crate::serve_dir::response;
use crate::sys::OpenFile;

pub(super) struct ObjectUpload {
    store: Arc<dyn Objects>,
    name: String,
    existed: bool,
    precondition: Precondition,
    new: Box<dyn NewObject>,
}

impl ObjectUpload {
    /// Begins to make an object, if the request's preconditions hold.
    pub(super) async fn begin(
        store: &Arc<dyn Objects>,
        relative: &[u8],
        headers: &HeaderMap,
    ) -> Result<Self, UploadError> {
        let Ok(name) = str::from_utf8(relative) else {
            let reason = "the name of an object is UTF-8, and this one is not";
            return Err(UploadError::new(StatusCode::BAD_REQUEST, reason));
        };
        let current = current(&**store, name).await?;
        let below = match &current {
            Some(_) => Ok(false),
            None => store.is_directory(name).await,
        };
        if below.map_err(|error| refused(&**store, &error))? {
            return Err(UploadError::no_file());
        }
        let precondition = judge(current.as_ref(), headers)?;
        let new = store.create(name, precondition.clone()).await;
        Ok(Self {
            new: new.map_err(|error| refused(&**store, &error))?,
            store: Arc::clone(store),
            name: name.to_owned(),
            existed: current.is_some(),
            precondition,
        })
    }

    pub(super) async fn write(self, bytes: Bytes) -> Result<Self, UploadError> {
        let written = self.new.write(bytes).await;
        Ok(Self {
            new: written.map_err(|error| refused(&*self.store, &error))?,
            ..self
        })
    }

    /// Makes the object, if the preconditions still hold. The store has it when this returns.
    pub(super) async fn publish(self) -> Result<Outcome, UploadError> {
        // The store decides. But some stores ignore what they are told, and an upload can take
        // long: so what was made meanwhile is at least looked for.
        if self.precondition != Precondition::None {
            let current = current(&*self.store, &self.name).await?;
            if !holds(&self.precondition, current.as_ref()) {
                return Err(UploadError::precondition_failed());
            }
        }
        let finished = self.new.finish().await;
        // Also after a failure, because it may have been made all the same.
        self.store.forget(&self.name);
        let etag = finished.map_err(|error| refused(&*self.store, &error))?;
        let etag = etag.unwrap_or_default();
        Ok(if self.existed {
            Outcome::Replaced(etag)
        } else {
            Outcome::Created(etag)
        })
    }
}

/// The object of a name as the store has it now, if there is one.
async fn current(store: &dyn Objects, name: &str) -> Result<Option<Arc<dyn Object>>, UploadError> {
    // What is remembered may be of another version.
    store.forget(name);
    match store.find(name).await {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.kind() == io::ErrorKind::NotFound || is_missing(&error) => Ok(None),
        Err(error) => Err(refused(store, &error)),
    }
}

fn holds(precondition: &Precondition, current: Option<&Arc<dyn Object>>) -> bool {
    match precondition {
        Precondition::None => true,
        Precondition::Absent => current.is_none(),
        Precondition::Is(tag) => current.is_some_and(|it| it.etag() == Some(tag.as_str())),
    }
}

/// Evaluates the request's preconditions. If there are any, they hold for one version, so the store
/// is to replace only that one.
fn judge(
    current: Option<&Arc<dyn Object>>,
    headers: &HeaderMap,
) -> Result<Precondition, UploadError> {
    let opened = current.map(|object| OpenFile::of_object(Arc::clone(object)));
    let version = opened.transpose()?.map(|file| *file.version());
    let stored = current.and_then(|object| object.etag());
    let etag = version.map(|version| entity_tag::of_object(stored, &version));
    let validators = version
        .zip(etag.as_deref())
        .map(|(version, etag)| Validators {
            etag,
            modified: last_modified(version.modified.0),
        });
    match conditional::evaluate(&METHOD, headers, validators.as_ref()) {
        conditional::Outcome::Proceed => {}
        _ => return Err(UploadError::precondition_failed()),
    }
    let conditions = [IF_MATCH, IF_NONE_MATCH, IF_UNMODIFIED_SINCE];
    if !conditions.iter().any(|it| headers.contains_key(it)) {
        return Ok(Precondition::None);
    }
    match (current, stored.filter(|tag| !entity_tag::is_weak(tag))) {
        (None, _) => Ok(Precondition::Absent),
        (Some(_), Some(tag)) => Ok(Precondition::Is(tag.to_owned())),
        (Some(_), None) => {
            let reason = "the store has no strong entity tag of it, so no condition can be kept";
            Err(UploadError::new(StatusCode::NOT_IMPLEMENTED, reason))
        }
    }
}

/// Why the store does not take it. What the store said is for logs.
fn refused(store: &dyn Objects, error: &io::Error) -> UploadError {
    if let Some(error) = StoreError::of(error) {
        store.failed(error);
    }
    let (status, reason) = match error.kind() {
        io::ErrorKind::InvalidData => return UploadError::precondition_failed(),
        io::ErrorKind::Unsupported => (
            StatusCode::NOT_IMPLEMENTED,
            "uploads like this one to this store are not supported",
        ),
        io::ErrorKind::InvalidInput => (
            StatusCode::BAD_REQUEST,
            "the store can have no object of that name",
        ),
        io::ErrorKind::PermissionDenied => (StatusCode::FORBIDDEN, "the store did not take it"),
        _ => (
            response::failure(error).status(),
            "the store did not take it",
        ),
    };
    UploadError::new(status, reason)
}
