//! Uploads by a server.

use std::io;

use bytes::Bytes;
use tokio::runtime::Handle;
use underpass_http::{NewObject, ObjectFuture, Precondition};

use super::io_error;
use crate::{Condition, ErrorKind, PutSettings, Store, StoreError, Upload};

/// Begins to make an object. Nothing is sent yet.
pub(super) fn begin(
    store: &Store,
    name: &str,
    precondition: Precondition,
) -> io::Result<Box<dyn NewObject>> {
    let settings = PutSettings {
        condition: match precondition {
            Precondition::None => Condition::None,
            Precondition::Absent => Condition::Absent,
            Precondition::Is(tag) => Condition::Matches(tag),
        },
        ..PutSettings::default()
    };
    let upload = store.upload(name, settings);
    Ok(Box::new(Uploading {
        upload: Some(upload.map_err(|error| refused(&error))?),
        runtime: store.runtime().clone(),
    }))
}

/// Parts that were sent are removed if this is dropped before it is finished.
struct Uploading {
    upload: Option<Upload>,
    runtime: Handle,
}

impl Drop for Uploading {
    fn drop(&mut self) {
        if let Some(upload) = self.upload.take() {
            self.runtime.spawn(upload.abort());
        }
    }
}

/// Each step is a task of the store's runtime. If the client leaves, the step comes to its end, so
/// that a part that is on its way does not arrive after all parts were removed.
impl NewObject for Uploading {
    fn write(mut self: Box<Self>, bytes: Bytes) -> ObjectFuture<Box<dyn NewObject>> {
        let task = self.runtime.clone().spawn(async move {
            let Some(upload) = &mut self.upload else {
                return Err(stopped());
            };
            upload
                .write(&bytes)
                .await
                .map_err(|error| refused(&error))?;
            Ok(self as Box<dyn NewObject>)
        });
        Box::pin(async move { task.await.unwrap_or_else(|_| Err(stopped())) })
    }

    fn finish(mut self: Box<Self>) -> ObjectFuture<Option<String>> {
        let upload = self.upload.take();
        let task = self.runtime.spawn(async move {
            let upload = upload.ok_or_else(stopped)?;
            let stored = upload.finish().await.map_err(|error| refused(&error))?;
            Ok(stored.etag)
        });
        Box::pin(async move { task.await.unwrap_or_else(|_| Err(stopped())) })
    }
}

fn stopped() -> io::Error {
    underpass_http::StoreError::unavailable("the store's client was stopped").into()
}

fn refused(error: &StoreError) -> io::Error {
    let kind = match error.kind() {
        // The client's fault.
        ErrorKind::Invalid => {
            return io::Error::new(io::ErrorKind::InvalidInput, error.to_string());
        }
        ErrorKind::Unsupported => io::ErrorKind::Unsupported,
        ErrorKind::Denied => io::ErrorKind::PermissionDenied,
        _ => return io_error(error),
    };
    // Clients are answered by its kind; what the store said is for logs.
    io::Error::new(kind, underpass_http::StoreError::bad(error.to_string()))
}
